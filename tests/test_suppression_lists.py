"""The ESPs' own suppression lists: what the real clients read and write, over HTTP."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from config.esp_config import ESPS, EspName, PostmarkConfig
from services.adapters import build_adapter, build_suppression_list
from services.amazon_ses_suppressions import SesSuppressions
from services.base import (
    EspError,
    MessageRejected,
    OutcomeUnknown,
    Throttled,
)
from services.events import SuppressionReason
from services.postmark_suppressions import PostmarkSuppressions, _spans
from services.sendgrid_suppressions import SendGridSuppressions
from services.simulator.modes import Mode, Scope
from services.simulator.server import Simulator
from services.suppression_calls import WAITS_S, patiently
from services.suppression_lists import (
    A_COMPLAINT,
    EspSuppression,
    NotPushed,
    PushResult,
    Released,
    SuppressionList,
)
from tests.canned_esp import (
    CannedEsp,
    answer,
    batch,
    close,
    cut,
    postmark_config,
    sendgrid_config,
    ses_config,
)
from tests.conftest import NOW, Clock
from tests.rig import configs_at
from tests.simulator_calls import EVERY_FAILURE

CLASSES: dict[EspName, Callable[..., Any]] = {
    EspName.SENDGRID: SendGridSuppressions,
    EspName.SES: SesSuppressions,
    EspName.POSTMARK: PostmarkSuppressions,
}
CONFIGS: dict[EspName, Callable[..., Any]] = {
    EspName.SENDGRID: sendgrid_config,
    EspName.SES: ses_config,
    EspName.POSTMARK: postmark_config,
}
EVERY_ESP = pytest.mark.parametrize("esp", list(CLASSES))
HARD, UNSUBSCRIBED = SuppressionReason.HARD_BOUNCE, SuppressionReason.UNSUBSCRIBED
COMPLAINT, INACTIVE = SuppressionReason.COMPLAINT, SuppressionReason.ESP_INACTIVE


@pytest.fixture
def simulator(clock: Clock) -> Iterator[Simulator]:
    with Simulator(clock=clock) as simulator:
        yield simulator


@pytest.fixture
def canned() -> Iterator[CannedEsp]:
    with CannedEsp() as esp:
        yield esp


def list_at(simulator: Simulator, esp: EspName, **options: Any) -> SuppressionList:
    if esp is EspName.SENDGRID:
        options["clock"] = NOW.timestamp  # what it says of waiting is a time of the day
    made: SuppressionList = CLASSES[esp](configs_at(simulator.base_urls)[esp], **options)
    return made


def canned_list(esp: EspName, url: str, **options: Any) -> SuppressionList:
    options = {"read_timeout_s": 5.0, "sleep": lambda _: None, **options}
    made: SuppressionList = CLASSES[esp](CONFIGS[esp](url), **options)
    return made


def pulled(own_list: SuppressionList, since: datetime | None = None) -> list[EspSuppression]:
    return [entry for page in own_list.pull(since) for entry in page]


def told(entries: list[EspSuppression]) -> dict[str, tuple[str, SuppressionReason]]:
    return {entry.address: (entry.list_name, entry.reason) for entry in entries}


def mail(simulator: Simulator, esp: EspName, *addresses: str) -> None:
    adapter = build_adapter(configs_at(simulator.base_urls)[esp])
    for address in addresses:
        one = batch(1)
        adapter.send(replace(one, recipients=(one.recipients[0]._replace(address=address),)))


def test_every_esp_names_the_class_of_its_list() -> None:
    assert {name: CLASSES[name] for name in ESPS if ESPS[name].suppressions} == {
        name: type(build_suppression_list(CONFIGS[name]("http://127.0.0.1:1"))) for name in ESPS
    }


FATED = ("bounce@example.net", "complaint@example.net", "unsubscribe@example.net")


@pytest.mark.parametrize(
    ("esp", "expected"),
    [
        (
            EspName.SENDGRID,
            {
                "bounce@example.net": ("bounces", HARD),
                "complaint@example.net": ("spam_reports", COMPLAINT),
                "unsubscribe@example.net": ("unsubscribes", UNSUBSCRIBED),
                "inactive@example.net": ("invalid_emails", HARD),
            },
        ),
        (
            EspName.SES,
            {
                "bounce@example.net": ("BOUNCE", HARD),
                "complaint@example.net": ("COMPLAINT", COMPLAINT),
                "inactive@example.net": ("BOUNCE", HARD),
            },
        ),
        (
            EspName.POSTMARK,
            {
                "bounce@example.net": ("HardBounce", HARD),
                "complaint@example.net": ("SpamComplaint", COMPLAINT),
                "unsubscribe@example.net": ("ManualSuppression", UNSUBSCRIBED),
                "inactive@example.net": ("ManualSuppression", INACTIVE),
            },
        ),
    ],
)
def test_what_mails_brought_on_a_list_is_read_with_its_reason_and_time(
    simulator: Simulator, esp: EspName, expected: dict[str, tuple[str, SuppressionReason]]
) -> None:
    mail(simulator, esp, "reader@example.net", *FATED, "inactive@example.net")
    entries = pulled(list_at(simulator, esp))
    assert told(entries) == expected
    assert {entry.at for entry in entries} == {NOW}


@EVERY_ESP
def test_a_list_of_many_pages_is_read_whole(simulator: Simulator, esp: EspName) -> None:
    addresses = {f"person{number}@example.net" for number in range(1_201)}
    own_list = list_at(simulator, esp)
    assert own_list.push([(one, HARD) for one in sorted(addresses)]) == PushResult(pushed=1_201)
    entries = pulled(own_list)
    assert len(entries) == 1_201
    assert {entry.address for entry in entries} == addresses


@EVERY_ESP
def test_an_entry_says_again_what_it_said_when_it_is_pushed_again(
    simulator: Simulator, esp: EspName
) -> None:
    own_list = list_at(simulator, esp)
    for _ in range(2):
        assert own_list.push([("ann@example.net", COMPLAINT)]) == PushResult(pushed=1)
    assert [entry.address for entry in pulled(own_list)] == ["ann@example.net"]


@EVERY_ESP
def test_only_what_is_new_is_asked_for(simulator: Simulator, esp: EspName, clock: Clock) -> None:
    own_list = list_at(simulator, esp)
    own_list.push([("old@example.net", HARD)])
    clock.forward(days=40)
    own_list.push([("new@example.net", HARD)])
    entries = pulled(own_list, NOW + timedelta(days=39))
    assert [entry.address for entry in entries] == ["new@example.net"]


@EVERY_ESP
def test_an_address_that_is_refused_keeps_no_other_from_the_list(
    simulator: Simulator, esp: EspName
) -> None:
    result = list_at(simulator, esp).push(
        [("ann@example.net", HARD), ("no address", HARD), ("bob@example.net", UNSUBSCRIBED)]
    )
    assert result.pushed == 2
    assert [failed.address for failed in result.failed] == ["no address"]
    assert {entry.address for entry in pulled(list_at(simulator, esp))} == {
        "ann@example.net",
        "bob@example.net",
    }


@pytest.mark.parametrize(
    ("esp", "outcomes"),
    [
        (EspName.SENDGRID, ["accepted", "accepted"]),
        (EspName.SES, ["accepted", "accepted"]),
        (EspName.POSTMARK, ["recipient_rejected", "accepted"]),
    ],
)
def test_mail_to_who_is_on_the_list_is_dropped_or_refused(
    simulator: Simulator, esp: EspName, outcomes: list[str]
) -> None:
    list_at(simulator, esp).push([("reader0@example.net", HARD)])
    results = build_adapter(configs_at(simulator.base_urls)[esp]).send(batch(2)).results
    assert [result.outcome.value for result in results] == outcomes
    assert [result.suppress for result in results] == [esp is EspName.POSTMARK, False]


def test_each_postmark_stream_has_its_own_list(simulator: Simulator) -> None:
    config = configs_at(simulator.base_urls)[EspName.POSTMARK]
    assert isinstance(config, PostmarkConfig)
    other = PostmarkSuppressions(replace(config, message_stream="outbound"))
    other.push([("reader0@example.net", HARD)])
    assert pulled(PostmarkSuppressions(config)) == []
    assert build_adapter(config).send(batch(1)).results[0].outcome.value == "accepted"


# taken off again


HELD = (*FATED, "inactive@example.net", "pushed@example.net", "reader@example.net")


@pytest.mark.parametrize(
    ("esp", "expected"),
    [
        (
            EspName.SENDGRID,
            {
                "bounce@example.net": Released(off=("bounces",)),
                "complaint@example.net": Released(kept=A_COMPLAINT),
                "unsubscribe@example.net": Released(off=("unsubscribes",)),
                "inactive@example.net": Released(off=("invalid_emails",)),
                "pushed@example.net": Released(off=("unsubscribes",)),
                "reader@example.net": Released(),
            },
        ),
        (
            EspName.SES,
            {
                "bounce@example.net": Released(off=("BOUNCE",)),
                "complaint@example.net": Released(kept=A_COMPLAINT),
                "unsubscribe@example.net": Released(),
                "inactive@example.net": Released(off=("BOUNCE",)),
                "pushed@example.net": Released(off=("BOUNCE",)),
                "reader@example.net": Released(),
            },
        ),
        (
            EspName.POSTMARK,
            {
                "bounce@example.net": Released(off=("broadcast",)),
                "complaint@example.net": Released(
                    kept="You do not have the required authority to change it."
                ),
                "unsubscribe@example.net": Released(off=("broadcast",)),
                "inactive@example.net": Released(off=("broadcast",)),
                "pushed@example.net": Released(off=("broadcast",)),
                # Postmark does not tell whether it was there.
                "reader@example.net": Released(off=("broadcast",)),
            },
        ),
    ],
)
def test_who_is_released_is_on_no_list_any_more_but_for_a_complaint(
    simulator: Simulator, esp: EspName, expected: dict[str, Released]
) -> None:
    mail(simulator, esp, "reader@example.net", *FATED, "inactive@example.net")
    own_list = list_at(simulator, esp)
    own_list.push([("pushed@example.net", HARD)])
    assert {one: own_list.release(one) for one in HELD} == expected
    assert [entry.address for entry in pulled(own_list)] == ["complaint@example.net"]


@EVERY_ESP
def test_a_release_may_be_repeated_and_moves_nobody_else(
    simulator: Simulator, esp: EspName
) -> None:
    own_list = list_at(simulator, esp)
    own_list.push([("ann+news@example.net", HARD), ("ann@example.net", HARD)])
    for _ in range(2):
        assert own_list.release("ann+news@example.net").kept is None
    assert [entry.address for entry in pulled(own_list)] == ["ann@example.net"]


@pytest.mark.parametrize(
    ("esp", "paths"),
    [
        (
            EspName.SENDGRID,
            [
                "/v3/suppression/bounces/a%2Bb%25%3F%23@example.net",
                "/v3/suppression/invalid_emails/a%2Bb%25%3F%23@example.net",
                "/v3/suppression/spam_reports/a%2Bb%25%3F%23@example.net",
                "/v3/asm/suppressions/global/a%2Bb%25%3F%23@example.net",
            ],
        ),
        (
            EspName.SES,
            ["/v2/email/suppression/addresses/a%2Bb%25%3F%23@example.net"],
        ),
    ],
)
def test_an_address_in_a_path_says_nothing_but_itself(
    canned: CannedEsp, esp: EspName, paths: list[str]
) -> None:
    canned.act = (
        answer(404, {"message": "gone"}, {"x-amzn-ErrorType": "NotFoundException"})
        if esp is EspName.SES
        else answer(200, [])
    )
    assert canned_list(esp, canned.url).release("a+b%?#@example.net") == Released()
    assert [request.path.replace("%40", "@") for request in canned.requests] == paths


@pytest.mark.parametrize(
    ("esp", "status", "body"),
    [
        (EspName.SENDGRID, 200, 7),
        (EspName.SES, 200, {"SuppressedDestination": []}),
        (EspName.POSTMARK, 200, {"Suppressions": []}),
        (EspName.POSTMARK, 200, {"Suppressions": [{"Status": "Whatever"}]}),
        (EspName.POSTMARK, 200, {"Suppressions": [{"Status": "Deleted"}] * 2}),
    ],
)
def test_an_answer_of_another_shape_releases_nobody(
    canned: CannedEsp, esp: EspName, status: int, body: Any
) -> None:
    canned.act = answer(status, body)
    with pytest.raises(OutcomeUnknown):
        canned_list(esp, canned.url).release("a@example.net")


@pytest.mark.parametrize(
    ("esp", "status", "body"),
    [
        (EspName.SENDGRID, 400, {"errors": [{"message": "invalid email", "field": None}]}),
        (EspName.SES, 400, {"__type": "BadRequestException", "message": "invalid email"}),
        (
            EspName.POSTMARK,
            200,
            {"Suppressions": [{"Status": "Failed", "Message": "invalid email"}]},
        ),
    ],
)
def test_an_address_that_cannot_be_released_is_told_with_the_reason(
    canned: CannedEsp, esp: EspName, status: int, body: Any
) -> None:
    canned.act = answer(status, body)
    released = canned_list(esp, canned.url).release("a@nowhere")
    assert (released.off, str(released.kept).endswith("invalid email")) == ((), True)


# what an answer says


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {
                "created": 1443651125,
                "email": "a@example.net",
                "reason": "550 5.1.1 The email account that you tried to reach does not exist.",
                "status": "5.1.1",
            },
            EspSuppression(
                address="a@example.net",
                reason=HARD,
                list_name="bounces",
                at=datetime(2015, 9, 30, 22, 12, 5, tzinfo=UTC),
                detail="550 5.1.1 The email account that you tried to reach does not exist.",
            ),
        ),
        (
            {"created": 1443651125, "email": "a@example.net", "reason": "", "status": "4.2.2"},
            EspSuppression(
                address="a@example.net",
                reason=INACTIVE,
                list_name="bounces",
                at=datetime(2015, 9, 30, 22, 12, 5, tzinfo=UTC),
                detail="4.2.2",
            ),
        ),
        (
            {"created": "yesterday", "email": None},
            EspSuppression(address="", reason=HARD, list_name="bounces"),
        ),
        ({"created": 1e30}, EspSuppression(address="", reason=HARD, list_name="bounces")),
        (["a@example.net"], EspSuppression(address="", reason=HARD, list_name="bounces")),
    ],
)
def test_an_entry_of_sendgrid_is_read(
    canned: CannedEsp, item: Any, expected: EspSuppression
) -> None:
    canned.act = answer(200, [item])
    assert next(iter(canned_list(EspName.SENDGRID, canned.url).pull(None))) == [expected]


@pytest.mark.parametrize(
    ("word", "origin", "reason"),
    [
        ("HardBounce", "Recipient", HARD),
        ("HardBounce", "Admin", HARD),
        ("SpamComplaint", "Recipient", COMPLAINT),
        ("ManualSuppression", "Recipient", UNSUBSCRIBED),
        ("ManualSuppression", "Customer", INACTIVE),
        ("ManualSuppression", "Admin", INACTIVE),
        ("Whatever", "Recipient", INACTIVE),
    ],
)
def test_an_entry_of_postmark_is_read(
    canned: CannedEsp, word: str, origin: str, reason: SuppressionReason
) -> None:
    item = {
        "EmailAddress": "a@example.net",
        "SuppressionReason": word,
        "Origin": origin,
        "CreatedAt": "2019-12-17T08:58:33-05:00",
    }
    canned.act = answer(200, {"Suppressions": [item]})
    assert pulled(canned_list(EspName.POSTMARK, canned.url))[0] == EspSuppression(
        address="a@example.net",
        reason=reason,
        list_name=word,
        at=datetime(2019, 12, 17, 13, 58, 33, tzinfo=UTC),
        detail=f"by {origin}",
    )


@pytest.mark.parametrize(
    ("word", "reason"), [("BOUNCE", HARD), ("COMPLAINT", COMPLAINT), ("OTHER", INACTIVE)]
)
def test_an_entry_of_ses_is_read(canned: CannedEsp, word: str, reason: SuppressionReason) -> None:
    item = {"EmailAddress": "a@example.net", "Reason": word, "LastUpdateTime": 1443651125}
    canned.act = answer(200, {"SuppressedDestinationSummaries": [item]})
    [entry] = pulled(canned_list(EspName.SES, canned.url))
    assert entry == EspSuppression(
        address="a@example.net",
        reason=reason,
        list_name=word,
        at=datetime(2015, 9, 30, 22, 12, 5, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (
            None,
            [
                {"todate": "2019-12-31"},
                {"fromdate": "2020-01-01", "todate": "2020-12-31"},
                {"fromdate": "2021-01-01", "todate": "2021-12-31"},
                {"fromdate": "2022-01-01"},
            ],
        ),
        (
            date(2021, 6, 2),
            [{"fromdate": "2021-06-01", "todate": "2021-12-31"}, {"fromdate": "2022-01-01"}],
        ),
        (
            date(2022, 1, 1),
            [{"fromdate": "2021-12-31", "todate": "2021-12-31"}, {"fromdate": "2022-01-01"}],
        ),
        (date(2022, 3, 2), [{"fromdate": "2022-03-01"}]),
        (date(2023, 1, 1), [{"fromdate": "2022-12-31"}]),
    ],
)
def test_the_days_asked_of_postmark_leave_no_gap(
    since: date | None, expected: list[dict[str, str]]
) -> None:
    assert list(_spans(since, date(2022, 3, 4))) == expected


@pytest.mark.parametrize("page_bytes", [2_000_000])
def test_a_page_may_be_larger_than_an_answer_to_a_send(canned: CannedEsp, page_bytes: int) -> None:
    item = {"email": "a@example.net", "created": 1, "reason": "x" * (page_bytes // 499)}
    canned.act = answer(200, [item] * 499)
    page = next(iter(canned_list(EspName.SENDGRID, canned.url).pull(None)))
    assert len(page) == 499


# what goes wrong


@EVERY_FAILURE
@pytest.mark.parametrize("call", ["pull", "push", "release"])
@EVERY_ESP
def test_every_failure_is_an_error_with_its_kind(
    simulator: Simulator, esp: EspName, call: str, mode: Mode, kind: type[EspError]
) -> None:
    simulator.behave(esp, mode, scope=Scope.ALL)
    own_list = list_at(simulator, esp, sleep=lambda _: None)
    if esp is EspName.SES and call == "push" and mode in (Mode.GARBAGE, Mode.EMPTY):
        # A 200 is all that SES promises.
        assert own_list.push([("ann@example.net", HARD)]) == PushResult(pushed=1)
        return
    calls: dict[str, Callable[[], object]] = {
        "pull": lambda: pulled(own_list),
        "push": lambda: own_list.push([("ann@example.net", HARD)]),
        "release": lambda: own_list.release("ann@example.net"),
    }
    with pytest.raises(EspError) as raised:
        calls[call]()
    assert issubclass(raised.type, kind), raised.value


@EVERY_ESP
def test_who_is_throttled_waits_and_goes_on(simulator: Simulator, esp: EspName) -> None:
    simulator.behave(esp, Mode.THROTTLE, scope=Scope.LOOKUP, count=2)
    waits: list[float] = []
    assert list_at(simulator, esp, sleep=waits.append).push([("ann@example.net", HARD)]).pushed == 1
    assert len(waits) == 2
    assert all(0 <= wait <= 2 for wait in waits)


def test_waits_grow_and_end() -> None:
    waits: list[float] = []

    def call() -> None:
        raise Throttled("429", retry_after_s=3600.0 if len(waits) == 1 else None)

    with pytest.raises(Throttled):
        patiently(call, waits.append)
    assert waits == [1.0, 60.0, 4.0, 8.0, 16.0]
    assert len(waits) == len(WAITS_S)


@pytest.mark.parametrize(
    ("esp", "body"),
    [
        (EspName.SENDGRID, {"errors": []}),
        (EspName.SENDGRID, [{"email": "a@example.net"}] * 500),
        (EspName.SES, {"SuppressedDestinationSummaries": [], "NextToken": "again"}),
        (EspName.POSTMARK, {}),
        (EspName.POSTMARK, {"Suppressions": None}),
        (EspName.POSTMARK, []),
    ],
)
def test_an_answer_of_another_shape_and_a_page_without_end_are_no_list(
    canned: CannedEsp, esp: EspName, body: Any
) -> None:
    canned.act = answer(200, body)
    with pytest.raises(OutcomeUnknown):
        pulled(canned_list(esp, canned.url))
    assert len(canned.requests) <= 3


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{"EmailAddress": "a@example.net", "Status": "Suppressed"}] * 2,
        [{"EmailAddress": "a@example.net", "Status": "Whatever"}],
        ["a@example.net"],
    ],
)
def test_postmark_has_to_say_of_each_address_what_became_of_it(
    canned: CannedEsp, items: list[Any]
) -> None:
    canned.act = answer(200, {"Suppressions": items})
    with pytest.raises(OutcomeUnknown):
        canned_list(EspName.POSTMARK, canned.url).push([("a@example.net", HARD)])


def test_what_sendgrid_refuses_is_told_by_address(canned: CannedEsp) -> None:
    canned.act = answer(400, {"errors": [{"message": "invalid email", "field": None}]})
    result = canned_list(EspName.SENDGRID, canned.url).push(
        [("a@example.net", HARD), ("b@example.net", HARD)]
    )
    assert result == PushResult(
        pushed=0,
        failed=(
            NotPushed(address="a@example.net", why="400: invalid email"),
            NotPushed(address="b@example.net", why="400: invalid email"),
        ),
    )
    assert [request.json for request in canned.requests] == [
        {"recipient_emails": ["a@example.net", "b@example.net"]},
        {"recipient_emails": ["a@example.net"]},
        {"recipient_emails": ["b@example.net"]},
    ]


def test_a_query_that_sendgrid_refuses_is_our_fault(canned: CannedEsp) -> None:
    canned.act = answer(400, {"errors": [{"message": "bad start_time", "field": None}]})
    with pytest.raises(MessageRejected):
        pulled(canned_list(EspName.SENDGRID, canned.url))


@pytest.mark.parametrize("act", [cut(200), close])
@EVERY_ESP
def test_a_broken_answer_is_no_end_of_the_list(canned: CannedEsp, esp: EspName, act: Any) -> None:
    canned.act = act
    with pytest.raises(OutcomeUnknown):
        pulled(canned_list(esp, canned.url))


def test_ses_takes_what_its_service_model_describes() -> None:
    """No parameter of ours is checked on the way (see `aws_client`): here they are."""
    model = botocore.session.get_session().get_service_model("sesv2")
    for operation, arguments in {
        "ListSuppressedDestinations": {"PageSize": 1000, "StartDate": NOW, "NextToken": "x"},
        "PutSuppressedDestination": {"EmailAddress": "a@example.net", "Reason": "BOUNCE"},
        "GetSuppressedDestination": {"EmailAddress": "a@example.net"},
        "DeleteSuppressedDestination": {"EmailAddress": "a@example.net"},
    }.items():
        shape = model.operation_model(operation).input_shape
        assert not ParamValidator().validate(arguments, shape).has_errors()
