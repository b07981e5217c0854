"""What the ESPs' accounts say of a domain's records: stored answers, the simulator, and faults."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from socket import socket
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from config.domain_setup import EspRecords, Record
from config.esp_config import ESPS, EspName, PostmarkConfig
from services.adapters import build_domain_records
from services.amazon_ses_domains import SesDomains
from services.base import EspError, OutcomeUnknown, Throttled
from services.domain_records import DomainRecords, told_record
from services.postmark_domains import NO_TOKEN, PostmarkDomains
from services.sendgrid_domains import SendGridDomains
from services.simulator import postmark_domains
from services.simulator.modes import Mode, Scope
from services.simulator.server import Simulator
from tests.canned_esp import (
    KEYS,
    CannedEsp,
    answer,
    close,
    cut,
    postmark_config,
    sendgrid_config,
    ses_config,
)
from tests.conftest import NOW, Clock
from tests.rig import configs_at
from tests.simulator_calls import EVERY_FAILURE
from tests.test_simulator_control import ask

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
ACCOUNT_TOKEN = "0000-an-account-token-of-tests"
PAYLOADS = Path(__file__).parent / "payloads"
FILES = [path for esp in ESPS for path in sorted((PAYLOADS / esp / "domains").glob("*"))]

MAKERS: dict[EspName, Callable[[str], DomainRecords]] = {
    SENDGRID: lambda url: SendGridDomains(sendgrid_config(url), read_timeout_s=5.0),
    SES: lambda url: SesDomains(ses_config(url), read_timeout_s=5.0),
    POSTMARK: lambda url: PostmarkDomains(
        replace(postmark_config(url), account_token=ACCOUNT_TOKEN), read_timeout_s=5.0
    ),
}
EVERY_ESP = pytest.mark.parametrize("esp", list(MAKERS))


@pytest.fixture
def canned() -> Iterator[CannedEsp]:
    with CannedEsp() as esp:
        yield esp


@pytest.fixture
def simulator(clock: Clock) -> Iterator[Simulator]:
    with Simulator(clock=clock) as simulator:
        yield simulator


def at(simulator: Simulator, esp: EspName) -> DomainRecords:
    config = configs_at(simulator.base_urls)[esp]
    if isinstance(config, PostmarkConfig):
        config = replace(config, account_token=ACCOUNT_TOKEN)
    return build_domain_records(config)


def by_path(canned: CannedEsp, answers: Mapping[str, Any]) -> Callable[[socket], bool]:
    return lambda sock: answer(200, answers[canned.requests[-1].path])(sock)


def records(told: Mapping[str, Any] | None) -> EspRecords | None:
    """As a file of the corpus has them."""
    if told is None:
        return None
    return EspRecords(
        **{
            purpose: tuple(Record(host=host, type=kind, value=value) for host, kind, value in some)
            for purpose, some in told.items()
        }
    )


# what is read


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_a_stored_answer(canned: CannedEsp, path: Path) -> None:
    told = json.loads(path.read_text())
    canned.act = by_path(canned, told["answers"])
    esp = EspName(path.parts[-3])
    assert MAKERS[esp](canned.url).records_of("example.com") == records(told["expect"])
    # Each answer was asked for, once.
    assert [(one.method, one.path) for one in canned.requests] == [
        ("GET", asked) for asked in told["answers"]
    ]


def test_which_key_goes_along(canned: CannedEsp) -> None:
    canned.act = answer(200, [])
    MAKERS[SENDGRID](canned.url).records_of("example.com")
    canned.act = answer(200, {"Domains": []})
    MAKERS[POSTMARK](canned.url).records_of("example.com")
    of_sendgrid, of_postmark = (request.headers for request in canned.requests)
    assert of_sendgrid["authorization"] == f"Bearer {KEYS[SENDGRID]}"
    assert of_postmark["x-postmark-account-token"] == ACCOUNT_TOKEN
    assert "x-postmark-server-token" not in of_postmark


def test_without_the_accounts_token_postmark_is_not_asked_and_says_why(canned: CannedEsp) -> None:
    found = PostmarkDomains(postmark_config(canned.url))
    assert (found.records_of("example.com"), found.cannot) == (None, NO_TOKEN)
    assert canned.requests == []
    assert MAKERS[POSTMARK](canned.url).cannot is None


def test_postmarks_list_is_read_to_its_end(canned: CannedEsp) -> None:
    pages = {
        f"/domains?count=500&offset={start}": {
            "Domains": [{"Name": f"d{start + n}.example", "ID": start + n} for n in range(size)]
        }
        for start, size in ((0, 500), (500, 500), (1000, 3))
    }
    canned.act = by_path(canned, pages | {"/domains/1002": {"Name": "d1002.example"}})
    assert MAKERS[POSTMARK](canned.url).records_of("d1002.example") == EspRecords()
    assert len(canned.requests) == 4


def record(host: str, kind: str, value: str | None) -> Record:
    return Record(host=host, type=kind, value=value)


def test_a_domain_known_at_the_simulator(simulator: Simulator) -> None:
    found = {esp: at(simulator, esp).records_of("example.com") for esp in MAKERS}
    tokens = [one.host.partition(".")[0] for one in (found[SES] or EspRecords()).dkim]
    assert len(set(tokens)) == 3
    assert found == {
        SENDGRID: EspRecords(
            dkim=tuple(
                record(f"{s}._domainkey", "CNAME", f"{s}.domainkey.u7.wl001.sendgrid.net")
                for s in ("s1", "s2")
            ),
            return_path=(record("em1234", "CNAME", "u7.wl001.sendgrid.net"),),
            tracking=(
                record("url1234", "CNAME", "sendgrid.net"),
                record("7", "CNAME", "sendgrid.net"),
            ),
        ),
        SES: EspRecords(
            dkim=tuple(
                record(f"{token}._domainkey", "CNAME", f"{token}.dkim.amazonses.com")
                for token in tokens
            ),
            return_path=(
                record("bounce", "MX", "10 feedback-smtp.eu-west-1.amazonses.com"),
                record("bounce", "TXT", "v=spf1 include:amazonses.com ~all"),
            ),
        ),
        POSTMARK: EspRecords(
            dkim=(record("20260101000000pm._domainkey", "TXT", f"k=rsa;p={postmark_domains.KEY}"),),
            return_path=(record("pm-bounces", "CNAME", "pm.mtasv.net"),),
        ),
    }


@EVERY_ESP
def test_the_simulators_accounts_know_what_they_are_told(
    simulator: Simulator, esp: EspName
) -> None:
    found = at(simulator, esp)
    assert found.records_of("a.example.com") is found.records_of("example.org") is None
    simulator.know("Example.org", "a.example.com")
    assert found.records_of("example.org") is not None
    assert found.records_of("example.com") is None
    simulator.reset()
    assert ask(simulator.control_url, "/domains", {"domains": ["b.org"]}).status == 200
    assert (found.records_of("b.org") is None, found.records_of("example.org")) == (False, None)
    assert ask(simulator.control_url, "/domains", {"domains": [1]}).status == 400


# what goes wrong


@EVERY_FAILURE
@EVERY_ESP
def test_no_answer_is_never_an_unknown_domain(
    simulator: Simulator, esp: EspName, mode: Mode, kind: type[EspError]
) -> None:
    simulator.behave(esp, mode, scope=Scope.LOOKUP)
    with pytest.raises(EspError) as raised:
        at(simulator, esp).records_of("example.com")
    assert isinstance(raised.value, kind), raised.value


@pytest.mark.parametrize("act", [cut(200), close])
@EVERY_ESP
def test_half_an_answer_is_none(canned: CannedEsp, esp: EspName, act: Any) -> None:
    canned.act = act
    with pytest.raises(OutcomeUnknown):
        MAKERS[esp](canned.url).records_of("example.com")


@pytest.mark.parametrize(
    ("esp", "body"),
    [
        (SENDGRID, {}),
        (SENDGRID, {"result": []}),
        (SENDGRID, ["example.com"]),
        (SENDGRID, [{"domain": "example.com"}]),
        (SENDGRID, [{"domain": "example.com", "dns": []}]),
        (SES, {}),
        (SES, []),
        (SES, {"IdentityType": "EMAIL_ADDRESS"}),
        (SES, {"IdentityType": "DOMAIN", "DkimAttributes": []}),
        (POSTMARK, {}),
        (POSTMARK, {"Domains": None}),
        (POSTMARK, {"Domains": ["example.com"]}),
        (POSTMARK, {"Domains": [{"Name": "a.org", "ID": 1}] * 500}),
        (POSTMARK, {"Domains": [{"Name": "example.com", "ID": 1}]}),
    ],
)
def test_an_answer_of_another_shape_tells_nothing(
    canned: CannedEsp, esp: EspName, body: Any
) -> None:
    canned.act = answer(200, body)
    with pytest.raises(OutcomeUnknown):
        MAKERS[esp](canned.url).records_of("example.com")
    assert len(canned.requests) <= 2


@EVERY_ESP
def test_an_answer_without_end_is_left(canned: CannedEsp, esp: EspName) -> None:
    canned.act = answer(200, b"[" + b" " * 1_100_000)
    with pytest.raises(OutcomeUnknown):
        MAKERS[esp](canned.url).records_of("example.com")


def test_sendgrid_says_how_long_to_wait(canned: CannedEsp) -> None:
    reset = {"X-RateLimit-Reset": str(int(NOW.timestamp()) + 7)}
    canned.act = answer(429, {"errors": [{"message": "too many requests"}]}, reset)
    found = SendGridDomains(sendgrid_config(canned.url), clock=NOW.timestamp)
    with pytest.raises(Throttled) as raised:
        found.records_of("example.com")
    assert raised.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("host", "kind", "value", "expected"),
    [
        ("A.Example.com.", "cname", "B.net.", record("a", "CNAME", "b.net")),
        ("example.com", "TXT", "x", record("@", "TXT", "x")),
        ("a.example.com", "TXT", "", record("a", "TXT", None)),
        ("a.example.org", "TXT", "x", None),
        ("aexample.com", "TXT", "x", None),
        (".example.com", "TXT", "x", None),
        ("a b.example.com", "TXT", "x", None),
        ("a.example.com", "SPF", "x", None),
        ("a.example.com", "TXT", "x\ny", None),
        ("a.example.com", "CNAME", "<b>", None),
        ("a.example.com", None, "x", None),
        (None, "TXT", "x", None),
        ("a.example.com", "TXT", None, None),
        ("a.example.com", "TXT", {}, None),
    ],
)
def test_only_what_could_be_in_the_zone_is_taken(
    host: object, kind: object, value: object, expected: Record | None
) -> None:
    assert told_record("example.com", host, kind, value) == expected


@pytest.mark.parametrize(
    ("esp", "secret"), [*((esp, KEYS[esp]) for esp in MAKERS), (POSTMARK, ACCOUNT_TOKEN)]
)
def test_no_key_is_shown(canned: CannedEsp, esp: EspName, secret: str) -> None:
    canned.act = answer(
        401, {"message": secret, "Message": secret, "errors": [{"message": secret}]}
    )
    found = MAKERS[esp](canned.url)
    with pytest.raises(EspError) as raised:
        found.records_of("example.com")
    assert secret not in f"{raised.value}{vars(found)}"


def test_ses_takes_what_its_service_model_describes() -> None:
    """No parameter of ours is checked on the way (see `aws_client`): here it is."""
    model = botocore.session.get_session().get_service_model("sesv2")
    shape = model.operation_model("GetEmailIdentity").input_shape
    assert not ParamValidator().validate({"EmailIdentity": "example.com"}, shape).has_errors()
