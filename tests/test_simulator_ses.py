"""The dialect of Amazon SES v2, as boto3 sees it."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from config.esp_config import EspName
from services.simulator.modes import Mode
from services.simulator.server import Simulator
from tests.simulator_calls import (
    SENDER,
    call,
    people,
    results,
    running,
    send,
    ses_batch,
    ses_simple,
    sim,
)

__all__ = ["running", "sim"]  # fixtures

SES = EspName.SES
SIMPLE_PATH = "/v2/email/outbound-emails"


@pytest.fixture(scope="module")
def boto(running: Simulator) -> Iterator[Any]:
    client = boto3.client(
        "sesv2",
        region_name="eu-west-1",
        endpoint_url=running.base_urls[SES],
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=20),
    )
    yield client
    client.close()


def test_batch_has_one_result_per_entry(sim: Simulator, boto: Any) -> None:
    answer = boto.send_bulk_email(**ses_batch([*people(2), "invalid@example.net"]))
    first, second, third = answer["BulkEmailEntryResults"]
    assert third == {"Status": "INVALID_PARAMETER", "Error": "Invalid recipient address."}
    assert [(mail.recipient, mail.send_ref, mail.message_id) for mail in sim.mails()] == [
        ("reader1@example.net", "s_1", second["MessageId"]),
        ("reader0@example.net", "s_0", first["MessageId"]),
    ]


def test_templates_are_filled_in_without_escaping(sim: Simulator, boto: Any) -> None:
    batch = ses_batch(["Ann <ann@example.net>"])
    batch["DefaultContent"]["Template"] |= {
        "TemplateContent": {"Subject": "{{ a }} {{b}}", "Html": "<p>{{a}}{{c}}</p>"},
        "TemplateData": '{"a": "default", "b": "kept", "c": 3}',
        "Headers": [{"Name": "X-A", "Value": "shared"}, {"Name": "X-B", "Value": "shared"}],
    }
    batch["BulkEmailEntries"][0] |= {
        "ReplacementEmailContent": {
            "ReplacementTemplate": {"ReplacementTemplateData": '{"a": "<own>"}'}
        },
        "ReplacementHeaders": [{"Name": "X-B", "Value": "own"}],
    }
    batch["DefaultEmailTags"] = [{"Name": "campaign", "Value": "c1"}]
    batch["ReplyToAddresses"] = ["reply@example.com"]
    boto.send_bulk_email(**batch)
    (mail,) = sim.mails()
    assert (mail.recipient, mail.sender, mail.reply_to) == (
        "ann@example.net",
        f"News <{SENDER}>",
        "reply@example.com",
    )
    assert (mail.subject, mail.html, mail.text) == ("<own> kept", "<p><own>3</p>", None)
    assert mail.headers == {"X-A": "shared", "X-B": "own"}
    assert mail.labels == {"campaign": "c1", "cx_send_id": "s_0"}


@pytest.mark.parametrize(
    ("subject", "values"),
    [
        ("{{missing}}", "{}"),
        ("{{#if n}}x{{/if}}", '{"n": "x"}'),
        ("{{n}}", '{"n": "{{m}}", "m": "x"}'),
    ],
)
def test_template_that_cannot_be_filled_in_is_taken_and_reaches_nobody(
    sim: Simulator, subject: str, values: str
) -> None:
    batch = ses_batch(["ann@example.net"])
    batch["DefaultContent"]["Template"] = {
        "TemplateContent": {"Subject": subject, "Text": "x"},
        "TemplateData": values,
    }
    batch["BulkEmailEntries"][0].pop("ReplacementEmailContent")
    assert results(SES, call(sim, SES, batch)) == ["SUCCESS"]
    (mail,) = sim.mails()
    assert (mail.rendering_failure, mail.subject) == (True, None)
    assert (sim.accepted()[SES], sim.rendering_failures()[SES]) == (1, 1)


def test_single_mail_is_taken_as_it_is(sim: Simulator, boto: Any) -> None:
    content = ses_simple("ann@example.net")
    content["Content"]["Simple"]["Headers"] = [{"Name": "X-A", "Value": "a"}]
    message_id = boto.send_email(**content)["MessageId"]
    (mail,) = sim.mails()
    assert (mail.message_id, mail.send_ref, mail.subject, mail.text, mail.headers) == (
        message_id,
        "s_0",
        "Hello {{n}}",
        "Dear {{n}}",
        {"X-A": "a"},
    )


def _template(**more: Any) -> dict[str, Any]:
    content = {"Subject": "x", "Text": "x"}
    return {"DefaultContent": {"Template": {"TemplateContent": content, **more}}}


def _header(name: str, value: str) -> dict[str, Any]:
    return _template(Headers=[{"Name": name, "Value": value}])


@pytest.mark.parametrize(
    ("more", "violations"),
    [
        ({"FromEmailAddress": "Néws <news@example.com>"}, {}),
        ({"FromEmailAddress": ""}, {}),
        ({"ReplyToAddresses": ["nobody"]}, {}),
        ({"BulkEmailEntries": []}, {}),
        (ses_batch(people(51)), {"recipients": 1}),
        (
            ses_batch([]) | {"BulkEmailEntries": [{"Destination": {"ToAddresses": people(51)}}]},
            {"recipients": 1},
        ),
        ({"DefaultContent": {"Template": {"TemplateContent": {"Subject": "x"}}}}, {}),
        (_template(TemplateData="no JSON"), {}),
        (_template(TemplateData="[1]"), {}),
        (_template(TemplateData='"' + "x" * 262_144 + '"'), {"values": 1}),
        (_header("x" * 127, "x"), {"headers": 1}),
        (_header("X-A", "x" * 996), {"headers": 1}),
        (_header("X" * 10, "x" * 990), {"headers": 1}),
        (_header("X:A", "x"), {"headers": 1}),
        (_header("X-A", ""), {"headers": 1}),
        (_header("X-A", "é"), {"headers": 1}),
        (_header("X-A", "x\r\nBcc: y@example.net"), {"headers": 1}),
        (
            _template(Headers=[{"Name": f"X-{n}", "Value": "x"} for n in range(16)]),
            {"headers": 1},
        ),
        (_template(Headers=[{"Name": "X-A", "Value": "x"}] * 2), {"headers": 1}),
        ({"DefaultEmailTags": [{"Name": "a b", "Value": "x"}]}, {"labels": 1}),
        ({"DefaultEmailTags": [{"Name": "a", "Value": "ann@example.net"}]}, {"labels": 1}),
        ({"DefaultEmailTags": [{"Name": "a", "Value": "x" * 257}]}, {"labels": 1}),
    ],
)
def test_call_is_refused_as_a_bad_request(
    sim: Simulator, more: dict[str, Any], violations: dict[str, int]
) -> None:
    answer = send(sim, SES, people(1), **more)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (400, "BadRequestException")
    assert sim.accepted()[SES] == 0
    assert sim.limit_violations == ({SES: violations} if violations else {})


@pytest.mark.parametrize(
    "more",
    [
        ses_batch(people(50)),
        _header("X" * 9, "x" * 987),
        _header("X" * 126, "x" * 870),
        _template(Headers=[{"Name": f"X-{n}", "Value": "x"} for n in range(15)]),
        {"DefaultEmailTags": [{"Name": "a-_9Z", "Value": "x" * 256}]},
    ],
)
def test_call_at_a_limit_is_taken(sim: Simulator, more: dict[str, Any]) -> None:
    assert set(results(SES, send(sim, SES, people(1), **more))) == {"SUCCESS"}
    assert sim.limit_violations == {}


@pytest.mark.parametrize(
    ("path", "payload"),
    [
        (None, ses_batch(people(1), Padding="x" * 1_000_000)),
        (SIMPLE_PATH, ses_simple("ann@example.net", Padding="x" * 40_000_000)),
    ],
)
def test_call_over_the_limit_of_size_is_too_large(
    sim: Simulator, path: str | None, payload: Any
) -> None:
    answer = call(sim, SES, payload, path=path)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (413, "RequestEntityTooLarge")
    assert sim.limit_violations == {SES: {"bytes": 1}}


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("jörg@example.net", "INVALID_PARAMETER"),
        ("ann@exämple.net", "INVALID_PARAMETER"),
        ("ann@localhost", "INVALID_PARAMETER"),
        ("ann@xn--exmple-cua.net", "SUCCESS"),
        ("inactive@example.net", "SUCCESS"),
        ("bounce+1@example.net", "SUCCESS"),
    ],
)
def test_address_decides_about_its_entry_alone(sim: Simulator, address: str, status: str) -> None:
    answer = send(sim, SES, [address, "reader@example.net"])
    assert results(SES, answer) == [status, "SUCCESS"]


def test_stored_template_does_not_exist(sim: Simulator) -> None:
    more = {"DefaultContent": {"Template": {"TemplateName": "welcome"}}}
    assert results(SES, send(sim, SES, people(1), **more)) == ["TEMPLATE_NOT_FOUND"]


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({}, "MissingAuthenticationTokenException"),
        ({"Authorization": "Bearer any"}, "MissingAuthenticationTokenException"),
    ],
)
def test_signature_is_needed(sim: Simulator, headers: dict[str, str], name: str) -> None:
    answer = call(sim, SES, ses_batch(people(1)), headers=headers)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (403, name)


@pytest.mark.parametrize(
    ("path", "payload", "status", "name"),
    [
        ("/v2/email/identities", {}, 404, "UnknownOperationException"),
        (None, b"{", 400, "SerializationException"),
        (None, b"[]", 400, "SerializationException"),
        (
            SIMPLE_PATH,
            ses_simple("ann@example.net", Content={"Raw": {}}),
            400,
            "BadRequestException",
        ),
        (SIMPLE_PATH, ses_simple("invalid@example.net"), 400, "BadRequestException"),
    ],
)
def test_other_calls_are_refused(
    sim: Simulator, path: str | None, payload: Any, status: int, name: str
) -> None:
    answer = call(sim, SES, payload, path=path)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (status, name)


@pytest.mark.parametrize(
    ("mode", "how", "code", "status"),
    [
        (Mode.UNAUTHORIZED, {}, "UnrecognizedClientException", 403),
        (Mode.UNAUTHORIZED, {"codes": ["ExpiredTokenException"]}, "ExpiredTokenException", 403),
        (Mode.SUSPENDED, {}, "AccountSuspendedException", 400),
        (Mode.SUSPENDED, {"codes": ["SendingPausedException"]}, "SendingPausedException", 400),
        (Mode.UNVERIFIED, {}, "MessageRejected", 400),
        (Mode.THROTTLE, {}, "TooManyRequestsException", 429),
        (Mode.THROTTLE, {"codes": ["ThrottlingException"]}, "ThrottlingException", 400),
        (Mode.QUOTA, {"per_message": False}, "TooManyRequestsException", 429),
        (Mode.MESSAGE_REJECTED, {}, "MessageRejected", 400),
        (Mode.MESSAGE_REJECTED, {"codes": ["BadRequestException"]}, "BadRequestException", 400),
        (Mode.MESSAGE_REJECTED, {"codes": ["NotFoundException"]}, "NotFoundException", 404),
        (Mode.TOO_LARGE, {}, "RequestEntityTooLarge", 413),
        (Mode.ERROR_500, {}, "InternalServiceErrorException", 500),
        (Mode.ERROR_502, {}, "502", 502),
        (Mode.ERROR_503, {}, "ServiceUnavailableException", 503),
        (Mode.ERROR_503, {"html": True}, "503", 503),
    ],
)
def test_boto3_raises_what_the_mode_says(
    sim: Simulator, boto: Any, mode: Mode, how: dict[str, Any], code: str, status: int
) -> None:
    sim.behave(SES, mode, **how)
    with pytest.raises(ClientError) as refused:
        boto.send_bulk_email(**ses_batch(people(1)))
    response = refused.value.response
    assert response["Error"]["Code"] == code
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert sim.accepted()[SES] == 0


@pytest.mark.parametrize(
    ("mode", "how", "name", "text"),
    [
        (Mode.THROTTLE, {}, "TooManyRequestsException", "Maximum sending rate exceeded."),
        (Mode.QUOTA, {"per_message": False}, "TooManyRequestsException", "Daily message quota"),
        (
            Mode.QUOTA,
            {"codes": ["LimitExceededException"], "per_message": False},
            "LimitExceededException",
            "Daily message quota",
        ),
        (Mode.UNVERIFIED, {}, "MessageRejected", "Email address is not verified."),
    ],
)
def test_exception_is_the_modelled_one(
    sim: Simulator, boto: Any, mode: Mode, how: dict[str, Any], name: str, text: str
) -> None:
    sim.behave(SES, mode, **how)
    with pytest.raises(getattr(boto.exceptions, name), match=text):
        boto.send_bulk_email(**ses_batch(people(1)))


@pytest.mark.parametrize(
    ("mode", "how", "statuses"),
    [
        (Mode.QUOTA, {}, ["ACCOUNT_DAILY_QUOTA_EXCEEDED"] * 3),
        (Mode.THROTTLE, {"per_message": True}, ["ACCOUNT_THROTTLED"] * 3),
        (Mode.SUSPENDED, {"per_message": True}, ["ACCOUNT_SUSPENDED"] * 3),
        (Mode.MESSAGE_REJECTED, {"per_message": True}, ["MESSAGE_REJECTED"] * 3),
        (Mode.PARTIAL, {}, ["SUCCESS", "SUCCESS", "INVALID_PARAMETER"]),
        (
            Mode.PARTIAL,
            {"every": 1, "codes": ["FAILED", "ACCOUNT_SENDING_PAUSED"]},
            ["FAILED", "ACCOUNT_SENDING_PAUSED", "FAILED"],
        ),
        (Mode.SHORT_RESULTS, {}, ["SUCCESS", "SUCCESS"]),
    ],
)
def test_mode_speaks_through_the_results(
    sim: Simulator, boto: Any, mode: Mode, how: dict[str, Any], statuses: list[str]
) -> None:
    sim.behave(SES, mode, **how)
    answer = boto.send_bulk_email(**ses_batch(people(3)))
    assert [result["Status"] for result in answer["BulkEmailEntryResults"]] == statuses


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        (Mode.QUOTA, "TooManyRequestsException"),
        (Mode.THROTTLE, "TooManyRequestsException"),
        (Mode.SUSPENDED, "AccountSuspendedException"),
        (Mode.MESSAGE_REJECTED, "MessageRejected"),
    ],
)
def test_single_mail_has_no_results_so_the_mode_is_an_exception(
    sim: Simulator, boto: Any, mode: Mode, name: str
) -> None:
    sim.behave(SES, mode)
    with pytest.raises(getattr(boto.exceptions, name)):
        boto.send_email(**ses_simple("ann@example.net"))


def test_account_tells_quota_and_suspension(sim: Simulator, boto: Any) -> None:
    sim.limit(SES, per_second=14, daily_limit=200)
    boto.send_bulk_email(**ses_batch(people(5)))
    sim.behave(SES, Mode.SUSPENDED)
    account = boto.get_account()
    assert account["SendQuota"] == {
        "Max24HourSend": 200.0,
        "MaxSendRate": 14.0,
        "SentLast24Hours": 5.0,
    }
    assert (account["SendingEnabled"], account["EnforcementStatus"]) == (False, "SHUTDOWN")
