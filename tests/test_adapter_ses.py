"""Amazon SES: what is sent, and what each answer means."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    UnknownServiceError,
)
from botocore.validate import ParamValidator

from services.amazon_ses import (
    CODE_ERRORS,
    ENTRY_OUTCOMES,
    LIBRARY_ERRORS,
    LONE_INVALIDS,
    MAX_CALL_BYTES,
    MAX_ENTRIES,
    STATUS_ERRORS,
    BadRequest,
    SesAdapter,
)
from services.amazon_ses_merge import MAX_DATA_CHARS
from services.base import (
    Account,
    Batch,
    EspError,
    EspUnavailable,
    Message,
    MessageRejected,
    Outcome,
    OutcomeUnknown,
    Recipient,
    SendResult,
    Skeleton,
    Throttled,
)
from services.wire import json_body
from tests.canned_esp import MESSAGE, Act, CannedEsp, answer, batch, cut, people, ses

ANSWERS = Path(__file__).parent / "payloads/ses/answers"
BULK = "/v2/email/outbound-bulk-emails"
SINGLE = "/v2/email/outbound-emails"

SUCCESS = {"Status": "SUCCESS", "MessageId": "0100-1"}
ACCEPTED = SendResult(outcome=Outcome.ACCEPTED, message_id="0100-1")


# One server and one client for all: botocore takes 80 ms to make a client.
@pytest.fixture(scope="module")
def server() -> Iterator[CannedEsp]:
    with CannedEsp() as server:
        yield server


@pytest.fixture(scope="module")
def shared_adapter(server: CannedEsp) -> SesAdapter:
    return ses(server.url)


@pytest.fixture
def esp(server: CannedEsp) -> CannedEsp:
    server.requests.clear()
    server.act = entries(SUCCESS)
    return server


@pytest.fixture
def adapter(shared_adapter: SesAdapter, esp: CannedEsp) -> SesAdapter:
    shared_adapter._invalid_in_a_row.clear()
    return shared_adapter


def entries(*results: Any) -> Act:
    return answer(200, {"BulkEmailEntryResults": list(results)})


def canned(name: str) -> Act:
    document = json.loads((ANSWERS / f"{name}.json").read_text())
    return answer(document["status"], document["body"], document.get("headers"))


def refusal(adapter: SesAdapter, esp: CannedEsp) -> EspError:
    with pytest.raises(EspError) as raised:
        adapter.send(batch())
    assert len(esp.requests) == 1
    return raised.value


def send_to(adapter: SesAdapter, *recipients: Recipient, message: Message = MESSAGE) -> Any:
    return adapter.send(Batch(message=message, recipients=recipients)).results


# what is sent

FULL = Message(
    from_email="news@example.com",
    from_name="Müller, Söhne",
    reply_to="reply@example.com",
    subject=Skeleton(("Hi ", "")),
    html=Skeleton(("<style>@media x{p{a:b}}}</style><p>", " <a href='", "'>x</a></p>")),
    text=Skeleton(("Hi ", "!")),
    headers={"List-Unsubscribe-Post": "List-Unsubscribe=One-Click", "X-Empty": ""},
    tags=("spring sale", "c42"),
    track_opens=True,
)
ANN = Recipient(
    send_ref="s_1",
    address="ann@example.net",
    subject=("Änn 😀",),
    html=("Ann &amp; Co", "https://u.example.com"),
    text=('Ann "& Co"',),
    headers={"List-Unsubscribe": "<https://u.example.com/1>"},
)
ENVELOPE = {
    "FromEmailAddress": "=?utf-8?b?TcO8bGxlciwgU8O2aG5l?= <news@example.com>",
    "ReplyToAddresses": ["reply@example.com"],
    "ConfigurationSetName": "campaigns",
    "ConfigurationOverrides": {
        "Tracking": {"OpenTrackingEnabled": "ENABLED", "ClickTrackingEnabled": "DISABLED"}
    },
}


def test_the_whole_bulk_request(adapter: SesAdapter, esp: CannedEsp) -> None:
    assert send_to(adapter, ANN, message=FULL) == (ACCEPTED,)
    (request,) = esp.requests
    assert (request.method, request.path) == ("POST", BULK)
    assert re.match(
        r"AWS4-HMAC-SHA256 Credential=AKIATESTSONLY0000000/\d{8}/eu-west-1/ses/aws4_request, ",
        request.headers["authorization"],
    )
    body = request.json
    template = body["DefaultContent"]["Template"]
    defaults = json.loads(template.pop("TemplateData"))
    assert defaults == {"s0": "", "h0": "", "h1": "", "t0": "", "cb": "}"}
    (entry,) = body["BulkEmailEntries"]
    own = entry.pop("ReplacementEmailContent")["ReplacementTemplate"]
    assert json.loads(own["ReplacementTemplateData"]) == {
        "s0": "Änn 😀",
        "h0": "Ann &amp; Co",
        "h1": "https://u.example.com",
        "t0": 'Ann "& Co"',
    }
    assert body == {
        **ENVELOPE,
        "DefaultEmailTags": [
            {"Name": "cx_tag_0", "Value": "spring_sale"},
            {"Name": "cx_tag_1", "Value": "c42"},
        ],
        "DefaultContent": {
            "Template": {
                "TemplateContent": {
                    "Subject": "Hi {{s0}}",
                    "Html": "<style>@media x{p{a:b}{{cb}}{{cb}}</style>"
                    "<p>{{h0}} <a href='{{h1}}'>x</a></p>",
                    "Text": "Hi {{t0}}!",
                },
                "Headers": [
                    {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"}
                ],
            }
        },
        "BulkEmailEntries": [
            {
                "Destination": {"ToAddresses": ["ann@example.net"]},
                "ReplacementTags": [{"Name": "cx_send_id", "Value": "s_1"}],
                "ReplacementHeaders": [
                    {"Name": "List-Unsubscribe", "Value": "<https://u.example.com/1>"}
                ],
            }
        ],
    }


def test_the_whole_single_request(adapter: SesAdapter, esp: CannedEsp) -> None:
    esp.act = answer(200, {"MessageId": "0100-1"})
    braces = ANN._replace(text=("{{name}}",))
    assert send_to(adapter, braces, message=FULL) == (ACCEPTED,)
    (request,) = esp.requests
    assert (request.method, request.path) == ("POST", SINGLE)
    assert request.json == {
        **ENVELOPE,
        "Destination": {"ToAddresses": ["ann@example.net"]},
        "Content": {
            "Simple": {
                "Subject": {"Data": "Hi Änn 😀", "Charset": "UTF-8"},
                "Body": {
                    "Html": {
                        "Data": "<style>@media x{p{a:b}}}</style>"
                        "<p>Ann &amp; Co <a href='https://u.example.com'>x</a></p>",
                        "Charset": "UTF-8",
                    },
                    "Text": {"Data": "Hi {{name}}!", "Charset": "UTF-8"},
                },
                "Headers": [
                    {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
                    {"Name": "List-Unsubscribe", "Value": "<https://u.example.com/1>"},
                ],
            }
        },
        "EmailTags": [
            {"Name": "cx_tag_0", "Value": "spring_sale"},
            {"Name": "cx_tag_1", "Value": "c42"},
            {"Name": "cx_send_id", "Value": "s_1"},
        ],
    }


def test_a_message_with_the_least(adapter: SesAdapter, esp: CannedEsp) -> None:
    message = Message(
        from_email="news@example.com", subject=Skeleton(("Hi",)), text=Skeleton(("Hi",))
    )
    one = Recipient(send_ref="s_1", address="ann@example.net")
    send_to(adapter, one, message=message)
    assert esp.requests[0].json == {
        "FromEmailAddress": "news@example.com",
        "ConfigurationSetName": "campaigns",
        "ConfigurationOverrides": {
            "Tracking": {"OpenTrackingEnabled": "DISABLED", "ClickTrackingEnabled": "DISABLED"}
        },
        "DefaultContent": {
            "Template": {
                "TemplateContent": {"Subject": "Hi", "Text": "Hi"},
                "TemplateData": "{}",
            }
        },
        "BulkEmailEntries": [
            {
                "Destination": {"ToAddresses": ["ann@example.net"]},
                "ReplacementTags": [{"Name": "cx_send_id", "Value": "s_1"}],
            }
        ],
    }


@pytest.mark.parametrize(
    ("operation", "recipient"),
    [("SendBulkEmail", ANN), ("SendEmail", ANN._replace(text=("{{x}}",)))],
)
def test_requests_agree_with_the_service_model(
    adapter: SesAdapter, esp: CannedEsp, operation: str, recipient: Recipient
) -> None:
    """botocore's own validation is off; this is what it would have said."""
    esp.act = answer(200, {"MessageId": "1", "BulkEmailEntryResults": [SUCCESS]})
    send_to(adapter, recipient, message=FULL)
    model = boto3.Session().client("sesv2", region_name="eu-west-1").meta.service_model
    shape = model.operation_model(operation).input_shape
    assert not ParamValidator().validate(esp.requests[0].json, shape).has_errors()


def test_the_environment_of_aws_is_not_read(
    adapter: SesAdapter, esp: CannedEsp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[default]\nregion = us-east-1\nmax_attempts = 9\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a token of somebody else")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SESV2", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "9")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such/file")
    send_to(adapter, ANN, message=FULL)
    assert "x-amz-security-token" not in esp.requests[0].headers
    assert "/eu-west-1/" in esp.requests[0].headers["authorization"]
    assert ses(None)._client.meta.endpoint_url == "https://email.eu-west-1.amazonaws.com"


# what goes complete


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        ("{{x}}", True),
        ("a{{b", True),
        ("a}}b", True),
        ("{a", True),
        ("a{", True),
        ("}a", True),
        ("a}", True),
        ("a{b}c", False),
        ("", False),
        ("x" * (MAX_DATA_CHARS - 100), False),
        ("x" * MAX_DATA_CHARS, True),
        ('"' * (MAX_DATA_CHARS // 2), True),
        ("ж" * 150_000, False),
    ],
    ids=lambda value: str(value)[:8],
)
@pytest.mark.parametrize("field", ["subject", "html", "text"])
def test_a_value_that_a_merge_would_misread_goes_complete_and_alone(
    adapter: SesAdapter, esp: CannedEsp, field: str, value: str, whole: bool
) -> None:
    esp.act = answer(200, {"MessageId": "1", "BulkEmailEntryResults": [SUCCESS]})
    own: dict[str, Any] = {field: (value,)}
    odd = people(1)[0]._replace(**own)
    adapter.send(Batch(message=MESSAGE, recipients=(odd,)))
    fits_in_bulk = len(value) < 100_000
    assert esp.requests[0].path == (SINGLE if whole else BULK)
    if whole or fits_in_bulk:
        behind = Batch(message=MESSAGE, recipients=(*people(2), odd, *people(2)))
        assert adapter.fit(behind) == (2 if whole else 5)
        first = Batch(message=MESSAGE, recipients=(odd, *people(2)))
        assert adapter.fit(first) == (1 if whole else 3)
    if whole:
        with pytest.raises(ValueError, match="does not fit"):
            adapter.send(first)
        assert len(esp.requests) == 1


@pytest.mark.parametrize(
    ("literals", "whole"),
    [
        (("a {{ b ", " c"), True),
        (("a {", " c"), True),
        (("a ", "{ c"), False),
        (("a ", "} c"), False),
        (("a ", "}}} c"), False),
        (("a }} b }}}} c ", "}}"), False),
        (("a { b } ", " c {"), False),
        (("{", "{"), True),
        (("{\n", "\n}}\n"), False),
    ],
)
@pytest.mark.parametrize("value", ["", "x"])
def test_braces_of_the_skeleton(
    adapter: SesAdapter, esp: CannedEsp, literals: tuple[str, str], whole: bool, value: str
) -> None:
    esp.act = answer(200, {"MessageId": "1", "BulkEmailEntryResults": [SUCCESS]})
    message = replace(MESSAGE, html=Skeleton(literals))
    one = people(1)[0]._replace(html=(value,))
    adapter.send(Batch(message=message, recipients=(one,)))
    assert adapter.fit(batch(3, message)) == (1 if whole else 3)
    (request,) = esp.requests
    assert request.path == (SINGLE if whole else BULK)
    if whole:
        html = request.json["Content"]["Simple"]["Body"]["Html"]["Data"]
    else:
        html = _merge(request.json)
    assert html == literals[0] + value + literals[1]


def _merge(call: Any) -> str:
    """A merge that would trip over any brace that is not ours."""
    template = call["DefaultContent"]["Template"]
    own = call["BulkEmailEntries"][0]["ReplacementEmailContent"]["ReplacementTemplate"]
    values = {
        **json.loads(template["TemplateData"]),
        **json.loads(own["ReplacementTemplateData"]),
    }
    pieces = re.split(r"\{\{([a-z0-9]+)\}\}", template["TemplateContent"]["Html"])
    for text in pieces[::2]:
        assert "{{" not in text
        assert "}}" not in text
    for text, name in zip(pieces[::2], pieces[1::2], strict=False):
        assert not text.endswith("{"), name
    for text in pieces[2::2]:
        assert not text.startswith("}")
    return "".join(values[piece] if n % 2 else piece for n, piece in enumerate(pieces))


def test_a_skeleton_over_the_limit_of_a_bulk_call_goes_complete(
    adapter: SesAdapter, esp: CannedEsp
) -> None:
    esp.act = answer(200, {"MessageId": "1"})
    big = batch(1, replace(MESSAGE, html=Skeleton(("x" * MAX_CALL_BYTES, ""))))
    assert adapter.fit(big) == 1
    adapter.send(big)
    assert esp.requests[0].path == SINGLE


def test_a_call_carries_50_at_most(adapter: SesAdapter) -> None:
    assert adapter.fit(batch(MAX_ENTRIES + 3)) == MAX_ENTRIES
    assert adapter.fit(batch(7)) == 7


@pytest.mark.parametrize("character", ["x", '"', "\x01", "ж", "😀"])
def test_a_call_has_one_megabyte_at_most(
    adapter: SesAdapter, esp: CannedEsp, character: str
) -> None:
    encoded = len(json_body(json_body(character).decode())) - len(r'"\"\""')
    one = people(1)[0]._replace(html=(character * (30_000 // encoded),))
    message = replace(MESSAGE, html=Skeleton(("x" * 100_000, "")))
    big = Batch(message=message, recipients=(one,) * 50)
    count = adapter.fit(big)
    assert 1 < count < 50
    esp.act = entries(*[SUCCESS] * count)
    adapter.send(replace(big, recipients=big.recipients[:count]))
    assert MAX_CALL_BYTES - 130_000 < len(esp.requests[0].body) <= MAX_CALL_BYTES


# what the answers mean: the whole call

EXPECTED_CODES: dict[str, tuple[int, type[EspError]]] = {
    "TooManyRequestsException": (429, Throttled),
    "ThrottlingException": (400, Throttled),
    "Throttling": (400, Throttled),
    "LimitExceededException": (400, EspUnavailable),
    "AccountSuspendedException": (400, EspUnavailable),
    "SendingPausedException": (400, EspUnavailable),
    "MailFromDomainNotVerifiedException": (400, EspUnavailable),
    "MessageRejected": (400, MessageRejected),
    "BadRequestException": (400, BadRequest),
    "NotFoundException": (404, EspUnavailable),
    "AccessDeniedException": (403, EspUnavailable),
    "InvalidClientTokenId": (403, EspUnavailable),
    "SignatureDoesNotMatch": (403, EspUnavailable),
    "UnrecognizedClientException": (403, EspUnavailable),
    "ExpiredTokenException": (403, EspUnavailable),
    "InvalidSignatureException": (400, EspUnavailable),
    "RequestEntityTooLarge": (413, MessageRejected),
    "InternalServiceErrorException": (500, OutcomeUnknown),
    "NewlyInventedException": (400, OutcomeUnknown),
    "NewForbiddenException": (403, EspUnavailable),
    "NewMissingException": (404, EspUnavailable),
    "NewTooLargeException": (413, MessageRejected),
    "NewThrottledException": (429, Throttled),
    "ServiceUnavailableException": (503, OutcomeUnknown),
}


@pytest.mark.parametrize("code", EXPECTED_CODES)
def test_an_exception_of_ses(adapter: SesAdapter, esp: CannedEsp, code: str) -> None:
    status, kind = EXPECTED_CODES[code]
    esp.act = answer(status, {"message": "In its words"}, {"x-amzn-ErrorType": f"{code}:http://x"})
    error = refusal(adapter, esp)
    quota = "quota: " if code == "LimitExceededException" else ""
    assert (type(error), error.http_status) == (kind, status)
    assert error.reason == f"{quota}{code}: In its words"


def test_every_code_of_the_tables_is_tested() -> None:
    assert set(CODE_ERRORS) <= set(EXPECTED_CODES)
    assert set(STATUS_ERRORS) <= {status for status, _ in EXPECTED_CODES.values()}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, EspUnavailable),
        (400, OutcomeUnknown),
        (403, EspUnavailable),
        (404, EspUnavailable),
        (413, MessageRejected),
        (429, Throttled),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, OutcomeUnknown),
        (504, OutcomeUnknown),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b"{}"])
def test_a_status_without_a_code(
    adapter: SesAdapter, esp: CannedEsp, status: int, kind: type[EspError], body: bytes
) -> None:
    esp.act = answer(status, body)
    error = refusal(adapter, esp)
    assert (type(error), error.http_status) == (kind, status)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("daily_quota", EspUnavailable, "quota: TooManyRequestsException: Daily message quota"),
        ("max_rate", Throttled, "TooManyRequestsException: Maximum sending rate exceeded."),
        ("not_verified", EspUnavailable, "MessageRejected: Email address is not verified. "),
        ("rejected", MessageRejected, "MessageRejected: Message contents rejected."),
        ("bad_signature", EspUnavailable, "SignatureDoesNotMatch: The request signature we"),
    ],
)
def test_an_answer_of_ses(
    adapter: SesAdapter, esp: CannedEsp, name: str, kind: type[EspError], reason: str
) -> None:
    esp.act = canned(name)
    error = refusal(adapter, esp)
    assert type(error) is kind
    assert error.reason.startswith(reason)


def test_every_answer_is_used() -> None:
    source = Path(__file__).read_text()
    unused = [path.stem for path in ANSWERS.glob("*.json") if f'"{path.stem}"' not in source]
    assert unused == []


@pytest.mark.parametrize("code", ["ThrottlingException", "BadRequestException", "Invented"])
def test_the_daily_quota_is_known_by_its_words_whatever_carries_them(
    adapter: SesAdapter, esp: CannedEsp, code: str
) -> None:
    words = "Daily message quota exceeded."
    esp.act = answer(400, {"message": words}, {"x-amzn-ErrorType": code})
    error = refusal(adapter, esp)
    assert type(error) is EspUnavailable
    assert error.reason == f"quota: {code}: {words}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"7",
        b"null",
        b"{}",
        b'{"BulkEmailEntryResults": null}',
        b'{"BulkEmailEntryResults": 7}',
        b'{"BulkEmailEntryResults": "x"}',
        b'{"BulkEmailEntryResults": {}}',
        b'{"BulkEmailEntryResults": []}',
        b'{"BulkEmailEntryResults": ["SUCCESS"]}',
        b'{"BulkEmailEntryResults": [{"MessageId": "1"}, {"MessageId": "2"}]}',
        b"[" * 500_000,
        b'{"a":' * 200_000,
        b"9" * 10_000,
        b"\xff\xfe",
    ],
    ids=lambda body: str(body[:40]),
)
def test_a_200_without_a_result_for_each_entry_is_unknown(
    adapter: SesAdapter, esp: CannedEsp, body: bytes
) -> None:
    esp.act = answer(200, body)
    assert type(refusal(adapter, esp)) is OutcomeUnknown


@pytest.mark.parametrize("status", [200, 400, 403, 429, 500])
def test_a_cut_answer_is_unknown(adapter: SesAdapter, esp: CannedEsp, status: int) -> None:
    esp.act = cut(status)
    assert isinstance(refusal(adapter, esp), OutcomeUnknown)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NoCredentialsError(), EspUnavailable),
        (ParamValidationError(report="Missing required parameter"), MessageRejected),
        (UnknownServiceError(service_name="sesv2", known_service_names="x"), OutcomeUnknown),
    ],
)
def test_an_error_of_the_library(esp: CannedEsp, error: Exception, kind: type[EspError]) -> None:
    adapter = ses(esp.url)

    def fail(**_: object) -> None:
        raise error

    adapter._client.meta.events.register_first("before-call.sesv2", fail)
    with pytest.raises(kind) as raised:
        adapter.send(batch())
    assert type(raised.value) is kind
    assert esp.requests == []


def test_every_error_of_the_library_table_is_tested() -> None:
    assert set(LIBRARY_ERRORS) == {NoCredentialsError, ParamValidationError}
    assert ClientError not in LIBRARY_ERRORS


# what the answers mean: entries

EXPECTED_STATUSES: dict[str, Outcome] = {
    "MESSAGE_REJECTED": Outcome.RECIPIENT_REJECTED,
    "INVALID_PARAMETER": Outcome.RECIPIENT_REJECTED,
    "INVALID_PARAMETER_VALUE": Outcome.RECIPIENT_REJECTED,
    "MAIL_FROM_DOMAIN_NOT_VERIFIED": Outcome.ESP_UNAVAILABLE,
    "CONFIGURATION_SET_NOT_FOUND": Outcome.ESP_UNAVAILABLE,
    "CONFIGURATION_SET_DOES_NOT_EXIST": Outcome.ESP_UNAVAILABLE,
    "INVALID_SENDING_POOL_NAME": Outcome.ESP_UNAVAILABLE,
    "ACCOUNT_SUSPENDED": Outcome.ESP_UNAVAILABLE,
    "ACCOUNT_SENDING_PAUSED": Outcome.ESP_UNAVAILABLE,
    "CONFIGURATION_SET_SENDING_PAUSED": Outcome.ESP_UNAVAILABLE,
    "ACCOUNT_DAILY_QUOTA_EXCEEDED": Outcome.ESP_UNAVAILABLE,
    "TEMPLATE_NOT_FOUND": Outcome.MESSAGE_REJECTED,
    "TEMPLATE_DOES_NOT_EXIST": Outcome.MESSAGE_REJECTED,
    "ACCOUNT_THROTTLED": Outcome.THROTTLED,
    "TRANSIENT_FAILURE": Outcome.THROTTLED,
    "FAILED": Outcome.UNKNOWN,
    "SUCCESS": Outcome.UNKNOWN,
    "INVENTED": Outcome.UNKNOWN,
}
ABOUT_THE_CONTENT = {"TEMPLATE_NOT_FOUND", "TEMPLATE_DOES_NOT_EXIST"}


@pytest.mark.parametrize("status", sorted(set(EXPECTED_STATUSES) - ABOUT_THE_CONTENT))
def test_an_entry_beside_one_that_was_accepted(
    adapter: SesAdapter, esp: CannedEsp, status: str
) -> None:
    esp.act = entries(SUCCESS, {"Status": status, "Error": "In its\nwords"})
    quota = "quota: " if status == "ACCOUNT_DAILY_QUOTA_EXCEEDED" else ""
    assert send_to(adapter, *people(2)) == (
        ACCEPTED,
        SendResult(outcome=EXPECTED_STATUSES[status], reason=f"{quota}{status}: In its words"),
    )


@pytest.mark.parametrize("status", sorted(ABOUT_THE_CONTENT))
def test_a_missing_template_is_about_the_message(
    adapter: SesAdapter, esp: CannedEsp, status: str
) -> None:
    esp.act = entries({"Status": status}, {"Status": status})
    expected = SendResult(outcome=EXPECTED_STATUSES[status], reason=status)
    assert send_to(adapter, *people(2)) == (expected, expected)


def test_every_status_of_the_table_is_tested() -> None:
    assert set(ENTRY_OUTCOMES) <= set(EXPECTED_STATUSES)


def test_an_id_means_accepted_whatever_else_is_said(adapter: SesAdapter, esp: CannedEsp) -> None:
    esp.act = entries({"Status": "FAILED", "Error": "no", "MessageId": "0100-1"})
    assert send_to(adapter, *people(1)) == (ACCEPTED,)


@pytest.mark.parametrize("entry", [None, {}, {"Status": 7}, {"Status": ["x"]}, {"MessageId": 7}])
def test_an_entry_that_says_nothing_is_unknown(
    adapter: SesAdapter, esp: CannedEsp, entry: object
) -> None:
    esp.act = entries(SUCCESS, entry)
    results = send_to(adapter, *people(2))
    assert [result.outcome for result in results] == [Outcome.ACCEPTED, Outcome.UNKNOWN]


def test_words_of_an_entry_that_change_its_meaning(adapter: SesAdapter, esp: CannedEsp) -> None:
    unverified = "Email address is not verified. The following identities failed the check"
    esp.act = entries(
        SUCCESS,
        {"Status": "MESSAGE_REJECTED", "Error": unverified},
        {"Status": "ACCOUNT_THROTTLED", "Error": "Daily message quota exceeded."},
    )
    assert send_to(adapter, *people(3)) == (
        ACCEPTED,
        SendResult(outcome=Outcome.ESP_UNAVAILABLE, reason=f"MESSAGE_REJECTED: {unverified}"),
        SendResult(
            outcome=Outcome.ESP_UNAVAILABLE,
            reason="quota: ACCOUNT_THROTTLED: Daily message quota exceeded.",
        ),
    )


def test_a_real_mixed_answer(adapter: SesAdapter, esp: CannedEsp) -> None:
    esp.act = canned("bulk_mixed")
    results = send_to(adapter, *people(4))
    assert [result.outcome for result in results] == [
        Outcome.ACCEPTED,
        Outcome.THROTTLED,
        Outcome.RECIPIENT_REJECTED,
        Outcome.UNKNOWN,
    ]


# who is to blame

INVALID = {"Status": "INVALID_PARAMETER", "Error": "Invalid recipient address."}
REJECTED = {"Status": "MESSAGE_REJECTED", "Error": "Message contents rejected."}
LATER = {"Status": "ACCOUNT_THROTTLED", "Error": "Maximum sending rate exceeded."}


def outcomes(esp: CannedEsp, adapter: SesAdapter, *answers: Any, subject: str = "Hi") -> Any:
    esp.act = entries(*answers)
    message = replace(MESSAGE, subject=Skeleton((subject, "")))
    return [one.outcome for one in send_to(adapter, *people(len(answers)), message=message)]


R, M, A, T = (
    Outcome.RECIPIENT_REJECTED,
    Outcome.MESSAGE_REJECTED,
    Outcome.ACCEPTED,
    Outcome.THROTTLED,
)


def test_content_that_nobody_got_through_with_is_the_message(
    adapter: SesAdapter, esp: CannedEsp
) -> None:
    assert outcomes(esp, adapter, REJECTED) == [M]
    assert outcomes(esp, adapter, REJECTED, REJECTED) == [M, M]
    assert outcomes(esp, adapter, REJECTED, LATER) == [M, T]
    assert outcomes(esp, adapter, REJECTED, SUCCESS) == [R, A]


def test_one_bad_address_alone_in_its_batch_does_not_stop_the_campaign(
    adapter: SesAdapter, esp: CannedEsp
) -> None:
    for _ in range(5):
        assert outcomes(esp, adapter, INVALID) == [R]
        assert outcomes(esp, adapter, SUCCESS) == [A]


def test_bad_content_does_not_use_up_the_list_one_by_one(
    adapter: SesAdapter, esp: CannedEsp
) -> None:
    got = [outcomes(esp, adapter, INVALID)[0] for _ in range(LONE_INVALIDS)]
    assert got == [R, R, M]
    # resumed: it begins anew
    assert outcomes(esp, adapter, INVALID) == [R]


def test_entries_that_are_all_invalid_are_the_message(adapter: SesAdapter, esp: CannedEsp) -> None:
    assert outcomes(esp, adapter, *[INVALID] * 5) == [M] * 5
    assert outcomes(esp, adapter, *[INVALID] * 5, SUCCESS) == [R] * 5 + [A]
    assert outcomes(esp, adapter, *[INVALID] * 5, LATER) == [M] * 5 + [T]


def test_another_campaign_does_not_excuse_this_one(adapter: SesAdapter, esp: CannedEsp) -> None:
    got = []
    for _ in range(LONE_INVALIDS):
        got += outcomes(esp, adapter, INVALID, subject="ours")
        outcomes(esp, adapter, SUCCESS, subject="theirs")
    assert got == [R, R, M]


def test_a_bad_request_of_a_complete_mail_is_judged_the_same_way(
    adapter: SesAdapter, esp: CannedEsp
) -> None:
    odd = people(1)[0]._replace(text=("{{x}}",))
    esp.act = answer(
        400, {"message": "Illegal address"}, {"x-amzn-ErrorType": "BadRequestException"}
    )
    expected = SendResult(outcome=R, reason="BadRequestException: Illegal address")
    assert send_to(adapter, odd) == (expected,)
    assert send_to(adapter, odd) == (expected,)
    assert send_to(adapter, odd) == (replace(expected, outcome=M),)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"MessageId": null}', b'{"MessageId": 7}', b"[]"])
def test_a_complete_mail_without_an_id_is_unknown(
    adapter: SesAdapter, esp: CannedEsp, body: bytes
) -> None:
    esp.act = answer(200, body)
    odd = people(1)[0]._replace(text=("{{x}}",))
    with pytest.raises(OutcomeUnknown):
        send_to(adapter, odd)


def test_other_refusals_of_a_complete_mail_are_raised(adapter: SesAdapter, esp: CannedEsp) -> None:
    esp.act = canned("rejected")
    odd = people(1)[0]._replace(text=("{{x}}",))
    with pytest.raises(MessageRejected):
        send_to(adapter, odd)


# the account

QUOTA = {"Max24HourSend": 50000.0, "MaxSendRate": 14.0, "SentLast24Hours": 120.0}
HEALTHY = {
    "ProductionAccessEnabled": True,
    "SendingEnabled": True,
    "EnforcementStatus": "HEALTHY",
    "SendQuota": QUOTA,
}
KNOWN = Account(
    per_second=14.0,
    daily_limit=50000,
    daily_used=120,
    sending_enabled=True,
    detail="HEALTHY",
)


@pytest.mark.parametrize(
    ("body", "account"),
    [
        (HEALTHY, KNOWN),
        (
            HEALTHY | {"SendQuota": {**QUOTA, "Max24HourSend": -1.0}},
            replace(KNOWN, daily_limit=None),
        ),
        (HEALTHY | {"SendingEnabled": False}, replace(KNOWN, sending_enabled=False)),
        (
            HEALTHY | {"EnforcementStatus": "SHUTDOWN"},
            replace(KNOWN, sending_enabled=False, detail="SHUTDOWN"),
        ),
        (
            HEALTHY | {"ProductionAccessEnabled": False},
            replace(KNOWN, detail="HEALTHY, SES sandbox"),
        ),
        ({}, Account(detail="standing not told")),
    ],
)
def test_the_account(
    adapter: SesAdapter, esp: CannedEsp, body: dict[str, object], account: Account
) -> None:
    esp.act = answer(200, body)
    assert adapter.account() == account
    (request,) = esp.requests
    assert (request.method, request.path) == ("GET", "/v2/email/account")


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (canned("bad_signature"), EspUnavailable),
        (canned("max_rate"), Throttled),
        (answer(500), OutcomeUnknown),
        (cut(200), OutcomeUnknown),
        (answer(200, {"SendQuota": {"Max24HourSend": "many"}}), OutcomeUnknown),
    ],
)
def test_a_failed_look_up_is_an_esp_error(
    adapter: SesAdapter, esp: CannedEsp, act: Act, kind: type[EspError]
) -> None:
    esp.act = act
    with pytest.raises(EspError) as raised:
        adapter.account()
    assert isinstance(raised.value, kind)
