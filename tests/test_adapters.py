"""What holds for each ESP alike: the transport under its SDK, secrets, the same bytes."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from config.esp_config import ESPS, EspConfig, EspName
from config.settings import ROOT
from services.adapters import adapter_class, build_adapter
from services.amazon_ses import SesAdapter
from services.base import (
    REASON_CHARS,
    Batch,
    EspAdapter,
    EspError,
    EspUnavailable,
    Message,
    MessageRejected,
    Outcome,
    OutcomeUnknown,
    Recipient,
    Skeleton,
)
from services.postmark import PostmarkAdapter
from services.sendgrid import SendGridAdapter
from services.simulator.modes import Mode, modes_of
from services.simulator.server import SIMULATED, Simulator
from tests.canned_esp import (
    AWS_SECRET,
    CONCURRENCY,
    KEYS,
    MAKERS,
    MESSAGE,
    Act,
    CannedEsp,
    answer,
    batch,
    close,
    cut,
    drip,
    endless,
    garbage_line,
    hang,
    head,
    people,
    postmark_config,
    reset,
    sendgrid_config,
    ses_config,
)

SECRETS = (*KEYS.values(), AWS_SECRET)
every_esp = pytest.mark.parametrize("name", EspName)
simulated = pytest.mark.parametrize("name", SIMULATED)


# One of each for all tests: botocore takes long to make a client.
@pytest.fixture(scope="module")
def server() -> Iterator[CannedEsp]:
    with CannedEsp() as server:
        yield server


@pytest.fixture(scope="module")
def canned(server: CannedEsp) -> dict[EspName, EspAdapter]:
    """The adapter of each ESP, speaking to `esp`."""
    return {name: make(server.url, read_timeout_s=0.3) for name, make in MAKERS.items()}


@pytest.fixture
def esp(server: CannedEsp) -> CannedEsp:
    server.requests.clear()
    return server


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture(scope="module")
def real(simulator: Simulator) -> dict[EspName, EspAdapter]:
    """The adapters of simulated ESPs, speaking to the simulator."""
    urls = simulator.base_urls
    return {name: MAKERS[name](urls[name], read_timeout_s=0.5) for name in SIMULATED}


@pytest.fixture(scope="module")
def offline() -> dict[EspName, EspAdapter]:
    """Adapters that must not get as far as the network."""
    return {name: make("http://127.0.0.1:9") for name, make in MAKERS.items()}


@pytest.fixture
def fresh(simulator: Simulator) -> Simulator:
    simulator.reset()
    return simulator


# the registry


def test_every_esp_has_an_adapter() -> None:
    assert set(ESPS) == set(EspName)
    for name, config in ESPS.items():
        adapter = adapter_class(name)
        assert isinstance(adapter, type)
        assert issubclass(adapter, EspAdapter)
        assert (adapter.name, adapter.max_batch) == (name, config.largest_batch)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (sendgrid_config("http://127.0.0.1:9"), SendGridAdapter),
        (ses_config("http://127.0.0.1:9"), SesAdapter),
        (postmark_config("http://127.0.0.1:9"), PostmarkAdapter),
    ],
)
def test_a_configuration_builds_its_adapter(config: EspConfig, kind: type[EspAdapter]) -> None:
    adapter = build_adapter(config)
    assert (type(adapter), adapter.name) == (kind, config.name)


def test_an_sdk_is_imported_when_its_esp_is_configured() -> None:
    code = "import sys, services.adapters; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"boto3", "sendgrid", "postmarker"} & set(run.stdout.split())


# the transport

WITHOUT_A_WHOLE_ANSWER: dict[str, Act] = {
    "close": close,
    "reset": reset,
    "hang": hang,
    "not HTTP": garbage_line,
    "drip in a header": drip(b"HTTP/1.1 200 OK\r\nX: "),
    "cut": cut(200),
    "endless": endless,
    "drip": drip(head(200)),
    "chunk": answer(200, b"zz\r\nok", {"Transfer-Encoding": "chunked"}),
}


@every_esp
@pytest.mark.parametrize("act", WITHOUT_A_WHOLE_ANSWER.values(), ids=WITHOUT_A_WHOLE_ANSWER)
def test_without_a_whole_answer_the_outcome_is_unknown_after_one_request(
    canned: dict[EspName, EspAdapter], esp: CannedEsp, name: EspName, act: Act
) -> None:
    esp.act = act
    adapter = canned[name]
    with pytest.raises(OutcomeUnknown):
        adapter.send(batch(2))
    assert len(esp.requests) == 1


@every_esp
@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 502, 503, 504])
def test_a_refusal_is_not_asked_for_twice(
    canned: dict[EspName, EspAdapter], esp: CannedEsp, name: EspName, status: int
) -> None:
    esp.act = answer(status, {"message": "no"}, {"Retry-After": "0"})
    with pytest.raises(EspError):
        canned[name].send(batch(2))
    assert len(esp.requests) == 1


@every_esp
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", ["send", "account"])
def test_no_redirect_carries_the_key_along(
    canned: dict[EspName, EspAdapter], esp: CannedEsp, name: EspName, status: int, call: str
) -> None:
    adapter = canned[name]
    with CannedEsp() as elsewhere:
        elsewhere.act = answer(202, [{"MessageID": "1"}], {"X-Message-Id": "1"})
        esp.act = answer(status, [{"MessageID": "1"}], {"Location": f"{elsewhere.url}/x"})
        with pytest.raises(EspUnavailable) as raised:
            adapter.send(batch()) if call == "send" else adapter.account()
        assert raised.value.http_status == status
        assert (len(esp.requests), elsewhere.connections) == (1, 0)


@every_esp
def test_a_refused_connection_sent_nothing(esp: CannedEsp, name: EspName) -> None:
    with CannedEsp() as gone:
        url = gone.url
    with pytest.raises(EspUnavailable, match="cannot connect"):
        MAKERS[name](url).send(batch())


@simulated
def test_connections_are_kept_alive(fresh: Simulator, name: EspName) -> None:
    adapter = MAKERS[name](fresh.base_urls[name])
    before = fresh.connections(name)
    for _ in range(5):
        adapter.send(batch(3))
    assert fresh.connections(name) - before == 1


@simulated
@pytest.mark.parametrize("count", [2, 8])
def test_threads_share_an_adapter(fresh: Simulator, name: EspName, count: int) -> None:
    adapter = MAKERS[name](fresh.base_urls[name])
    before, failures = fresh.connections(name), []

    def work(thread: int) -> None:
        for call in range(5):
            mark = f"{thread}-{call}"
            own = [
                one._replace(send_ref=f"{mark}-{one.send_ref}", address=f"{mark}-{one.address}")
                for one in people(4)
            ]
            answered = adapter.send(Batch(message=MESSAGE, recipients=tuple(own)))
            if any(one.outcome is not Outcome.ACCEPTED for one in answered.results):
                failures.append(answered)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert fresh.accepted()[name] == count * 5 * 4
    assert fresh.duplicates() == {}
    if count <= CONCURRENCY:
        assert fresh.connections(name) - before <= CONCURRENCY


# secrets


@every_esp
def test_no_secret_is_shown(
    canned: dict[EspName, EspAdapter],
    esp: CannedEsp,
    name: EspName,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = " ".join(SECRETS)
    adapter = canned[name]
    shown = [repr(adapter), str(vars(adapter))]
    for status in (200, 302, 400, 401, 403, 422, 429, 500):
        body = {"errors": [{"message": echo}], "message": echo, "Message": echo, "ErrorCode": 10}
        esp.act = answer(status, body, {"Location": f"http://127.0.0.1:9/{echo}"})
        with pytest.raises(EspError) as raised:
            adapter.send(batch())
        error = raised.value
        shown += [str(error), repr(error), error.reason, repr(error.__cause__)]
    shown.append(caplog.text)
    sent = {KEYS[name], AWS_SECRET} if name is EspName.SES else {KEYS[name]}
    assert not [text for text in shown for secret in sent if secret in text]


# headers

BREAKS = ["a\r\nBcc: all@example.com", "a\nb", "a\rb", "a\0b"]


@every_esp
@pytest.mark.parametrize("text", BREAKS)
@pytest.mark.parametrize(
    "place",
    ["from_email", "from_name", "reply_to", "tags", "headers", "header name", "subject"],
)
def test_no_line_break_reaches_a_header_of_the_message(
    offline: dict[EspName, EspAdapter], name: EspName, place: str, text: str
) -> None:
    message = {
        "from_email": lambda: replace(MESSAGE, from_email=text),
        "from_name": lambda: replace(MESSAGE, from_name=text),
        "reply_to": lambda: replace(MESSAGE, reply_to=text),
        "tags": lambda: replace(MESSAGE, tags=(text,)),
        "headers": lambda: replace(MESSAGE, headers={"X-A": text}),
        "header name": lambda: replace(MESSAGE, headers={text: "a"}),
        "subject": lambda: replace(MESSAGE, subject=Skeleton((text, ""))),
    }[place]()
    with pytest.raises(MessageRejected, match="line break"):
        offline[name].send(batch(1, message))


@every_esp
@pytest.mark.parametrize("text", BREAKS)
@pytest.mark.parametrize("place", ["address", "send_ref", "subject", "headers", "header name"])
def test_no_line_break_reaches_a_header_of_a_recipient(
    offline: dict[EspName, EspAdapter], name: EspName, place: str, text: str
) -> None:
    one = people(1)[0]
    recipient = {
        "address": lambda: one._replace(address=text),
        "send_ref": lambda: one._replace(send_ref=text),
        "subject": lambda: one._replace(subject=(text,)),
        "headers": lambda: one._replace(headers={"X-A": text}),
        "header name": lambda: one._replace(headers={text: "a"}),
    }[place]()
    with pytest.raises(MessageRejected, match="line break"):
        offline[name].send(Batch(message=MESSAGE, recipients=(*people(3), recipient)))


@every_esp
def test_a_reason_is_one_short_line(
    canned: dict[EspName, EspAdapter], esp: CannedEsp, name: EspName
) -> None:
    words = "no\r\n" * 1000
    body = {"errors": [{"message": words}], "message": words, "Message": words, "ErrorCode": 10}
    esp.act = answer(403, body)
    with pytest.raises(EspError) as raised:
        canned[name].send(batch())
    assert len(raised.value.reason) == REASON_CHARS
    assert raised.value.reason.isprintable()


# against the simulator


@pytest.mark.parametrize(
    ("name", "mode"), [(name, mode) for name in SIMULATED for mode in modes_of(name)]
)
@pytest.mark.parametrize("count", [1, 4])
def test_no_outcome_contradicts_what_was_taken(
    fresh: Simulator, real: dict[EspName, EspAdapter], name: EspName, mode: Mode, count: int
) -> None:
    """Accepted: it was. Anything but accepted or unknown: it was not."""
    fresh.behave(name, mode)
    try:
        outcomes = [result.outcome for result in real[name].send(batch(count)).results]
    except EspError as error:
        outcomes = [error.outcome] * count
    fresh.behave(name)
    taken = {ref for _, _, ref in fresh.accepted_sends()}
    for one, outcome in zip(people(count), outcomes, strict=True):
        if outcome is not Outcome.UNKNOWN:
            assert (one.send_ref in taken) is (outcome is Outcome.ACCEPTED), one.send_ref
    assert fresh.requests(name) <= 1
    assert fresh.followed_redirects == 0


@simulated
def test_the_account_is_looked_up(
    fresh: Simulator, real: dict[EspName, EspAdapter], name: EspName
) -> None:
    fresh.limit(name, per_second=20.0, daily_limit=500)
    account = real[name].account()
    expected = {EspName.SENDGRID: (None, 500), EspName.SES: (20.0, 500)}.get(name, (None, None))
    assert (account.per_second, account.daily_limit) == expected
    fresh.limit(name)


SHOP = Message(
    from_email="news@example.com",
    from_name='Müller "& Söhne", Co; a very long name that needs more than one encoded word',
    reply_to="reply@example.com",
    subject=Skeleton(("Grüße, ", " und ", "")),
    html=Skeleton(
        ("<style>@media x{p{a:b}}</style>\r\n<p>", "", " {", "} <a href='", "'>ж</a></p>\n")
    ),
    text=Skeleton(("Hi ", "\n\t-", "!\n")),
    headers={"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
    tags=("spring sale",),
)
VALUES = [
    "",
    "Ann",
    "Ann &amp; <b>Co</b>",
    "😀 ж \u2028 \x7f \x01",
    "-h0- {{h0}} {{{x}}}",
    "} {",
    "\\n \\u0041 \" ' / %s $1",
    "line\nbreak\r\n\ttab",
    "x" * 12_000,
]


def test_the_same_bytes_reach_everybody_through_each_esp(
    fresh: Simulator, real: dict[EspName, EspAdapter]
) -> None:
    readers = tuple(
        Recipient(
            send_ref=f"s_{n}",
            address=f"reader{n}@example.net",
            subject=(" ".join(value.split())[:50], "b"),
            html=(value, "b", value, "d"),
            text=(value, "b"),
            headers={"List-Unsubscribe": f"<https://u.example.com/{n}>"},
        )
        for n, value in enumerate(VALUES)
    )
    for name, adapter in real.items():
        left = readers
        while left:
            count = adapter.fit(Batch(message=SHOP, recipients=left))
            answered = adapter.send(Batch(message=SHOP, recipients=left[:count]))
            assert {one.outcome for one in answered.results} == {Outcome.ACCEPTED}, name
            left = left[count:]
    assert fresh.rendering_failures() == dict.fromkeys(SIMULATED, 0)
    assert not any(fresh.limit_violations.values())
    for one in readers:
        mails = fresh.mails(to=one.address)
        assert {mail.esp for mail in mails} == set(SIMULATED)
        for mail in mails:
            assert (mail.subject, mail.html, mail.text) == (
                SHOP.subject.fill(one.subject),
                SHOP.html and SHOP.html.fill(one.html),
                SHOP.text and SHOP.text.fill(one.text),
            )
            assert mail.headers == {**SHOP.headers, **one.headers}
            assert mail.send_ref == one.send_ref
