"""Amazon SES v2: SendBulkEmail, SendEmail with simple content, GetAccount, GetEmailIdentity;
ConfirmSubscription.

Every call needs an `Authorization: AWS4-HMAC-SHA256 Credential=...` header; the
signature itself is not computed again, so any key will do.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/Welcome.html
"""

import secrets
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from config.esp_config import EspName
from services.simulator import ses_domains, ses_lists, sns
from services.simulator.dialect import (
    AccountState,
    Content,
    Dialect,
    Entry,
    Fault,
    Limit,
    Parcel,
    Refused,
    parse_json,
    proxy_page,
)
from services.simulator.http1 import Request, Response, json_response
from services.simulator.modes import Mode, Scope
from services.simulator.ses_checks import (
    MAX_ENTRIES,
    Template,
    check_headers,
    check_sender,
    read_entry,
    read_headers,
    read_tags,
    read_values,
)
from services.simulator.ses_errors import (
    FAULT_CODES,
    NOT_VERIFIED,
    REFUSALS,
    STATUS_AS_EXCEPTION,
    STATUSES,
    bad,
    exception,
)
from services.simulator.shape import JsonObject, as_list, as_object, as_text
from services.simulator.suppression_lists import SuppressionLists

BULK_PATH = "/v2/email/outbound-bulk-emails"
MAX_BULK_BYTES = 1_000_000
MAX_MESSAGE_BYTES = 40_000_000
RATE_WITHOUT_LIMIT = 100_000.0


class Ses(Dialect):
    """One result per entry, in a 200; a call as a whole fails with an exception."""

    esp = EspName.SES
    routes: ClassVar[Mapping[tuple[str, str], Scope]] = {
        ("POST", BULK_PATH): Scope.SEND,
        ("POST", "/v2/email/outbound-emails"): Scope.SEND,
        ("GET", "/v2/email/account"): Scope.LOOKUP,
        **ses_lists.ROUTES,
        **ses_domains.ROUTES,
    }
    limits_per_message = frozenset({Limit.PER_SECOND, Limit.DAILY})
    day_rolls = True
    usually_per_message = frozenset({Mode.QUOTA})
    fault_codes = FAULT_CODES

    def __init__(self) -> None:
        self.topic: sns.Topic = sns.Topic()

    def scope(self, request: Request) -> Scope:
        return Scope.LOOKUP if _is_for_sns(request) else super().scope(request)

    def no_such_call(self, status: int) -> Response:
        return exception("UnknownOperationException")

    def malformed(self) -> Response:
        return exception("SerializationException")

    def authorise(self, request: Request) -> None:
        authorization = request.headers.get("authorization", "")
        if not authorization.startswith("AWS4-HMAC-SHA256 Credential="):
            if _is_for_sns(request):
                raise Refused(sns.refusal("MissingAuthenticationToken"))
            raise Refused(exception("MissingAuthenticationTokenException"))

    def read(self, request: Request) -> Parcel:
        is_bulk = request.path == BULK_PATH
        if len(request.body) > (MAX_BULK_BYTES if is_bulk else MAX_MESSAGE_BYTES):
            raise Refused(self.refusal(Mode.TOO_LARGE, 0), limit=Limit.BYTES)
        payload = as_object(parse_json(request.body))
        check_sender(payload)
        return _read_bulk(payload) if is_bulk else _read_simple(payload)

    def identify(self, entries: list[Entry]) -> None:
        moment = f"{int(time.time() * 1000):012x}"
        for entry in entries:
            d = secrets.token_hex(20)
            entry.message_id = (
                f"0102{moment}-{d[:8]}-{d[8:12]}-{d[12:16]}-{d[16:20]}-{d[20:32]}-000000"
            )

    def answer(self, parcel: Parcel) -> Response:
        if not parcel.is_single:
            results = [_result(entry) for entry in parcel.entries]
            return json_response(200, {"BulkEmailEntryResults": results})
        entry = parcel.entries[0]
        if entry.fault is None:
            return json_response(200, {"MessageId": entry.message_id})
        name = STATUS_AS_EXCEPTION.get(entry.fault.code, "BadRequestException")
        return exception(name, entry.fault.text)

    def content(self, parcel: Parcel, entry: Entry) -> Content:
        return (_simple_content if parcel.is_single else _bulk_content)(parcel, entry)

    def look_up(self, request: Request, account: AccountState) -> Response:
        if _is_for_sns(request):
            return self.topic.answer(request)
        told = ses_domains.answer(request, self.domains)
        if told is not None:
            return told
        unlimited = account.daily_limit is None
        return json_response(
            200,
            {
                "ProductionAccessEnabled": True,
                "SendingEnabled": not account.is_suspended,
                "EnforcementStatus": "SHUTDOWN" if account.is_suspended else "HEALTHY",
                "DedicatedIpAutoWarmupEnabled": False,
                "SendQuota": {
                    "Max24HourSend": -1.0 if unlimited else float(account.daily_limit or 0),
                    "MaxSendRate": account.per_second or RATE_WITHOUT_LIMIT,
                    "SentLast24Hours": float(account.used),
                },
                "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
            },
        )

    def suppressions(
        self, request: Request, lists: SuppressionLists, now: datetime
    ) -> Response | None:
        return ses_lists.answer(request, lists, now)

    def refusal(self, mode: Mode, now: float, code: str | None = None) -> Response:
        if code is not None:
            return exception(code)
        if mode not in REFUSALS:  # 502 and 504 come from the proxies before SES
            return proxy_page(int(mode.removeprefix("error_")))
        return exception(*REFUSALS[mode])

    def fault(self, mode: Mode, code: str, index: int, entry: Entry) -> Fault:
        text = NOT_VERIFIED if mode is Mode.UNVERIFIED else STATUSES.get(code)
        return Fault(code, text or "The message could not be sent.")


def _is_for_sns(request: Request) -> bool:
    return (request.method, request.path) == ("POST", sns.PATH)


def _read_bulk(payload: JsonObject) -> Parcel:
    raw = [as_object(entry) for entry in as_list(payload.get("BulkEmailEntries"))]
    if len(raw) > MAX_ENTRIES:
        raise bad("Number of bulk email entries exceeds 50.", Limit.RECIPIENTS)
    if not raw:
        raise bad("At least one bulk email entry is needed.")
    shared = as_object(as_object(payload.get("DefaultContent")).get("Template"))
    read_tags(payload.get("DefaultEmailTags"))
    if "TemplateContent" not in shared and ("TemplateName" in shared or "TemplateArn" in shared):
        return Parcel(payload=payload, entries=[_without_template(entry) for entry in raw])
    template = Template.parse(shared)
    headers = read_headers(shared.get("Headers"))
    check_headers(headers)
    entries = [_bulk_entry(entry, template, headers) for entry in raw]
    return Parcel(payload=payload, entries=entries, template=template)


def _bulk_entry(raw: JsonObject, template: Template, headers: dict[str, str]) -> Entry:
    entry = read_entry(
        as_object(raw.get("Destination")), read_tags(raw.get("ReplacementTags")), raw
    )
    check_headers({**headers, **read_headers(raw.get("ReplacementHeaders"))})
    own = as_object(as_object(raw.get("ReplacementEmailContent")).get("ReplacementTemplate"))
    values = read_values(own.get("ReplacementTemplateData"))
    entry.source = {**raw, "values": values}
    entry.is_rendering_failure = not template.can_fill(values)
    return entry


def _without_template(raw: JsonObject) -> Entry:
    """Templates stored at SES are not simulated: none exists."""
    entry = read_entry(as_object(raw.get("Destination")), {}, raw)
    entry.fault = Fault("TEMPLATE_NOT_FOUND", STATUSES["TEMPLATE_NOT_FOUND"])
    return entry


def _read_simple(payload: JsonObject) -> Parcel:
    simple = as_object(as_object(payload.get("Content")).get("Simple"))
    body = as_object(simple.get("Body"))
    if not _data(simple, "Subject") or not (_data(body, "Html") or _data(body, "Text")):
        raise bad("Only simple content, with a subject and a body, is taken here.")
    headers = read_headers(simple.get("Headers"))
    check_headers(headers)
    tags = read_tags(payload.get("EmailTags"))
    entry = read_entry(as_object(payload.get("Destination")), tags, simple)
    return Parcel(payload=payload, entries=[entry], is_single=True)


def _result(entry: Entry) -> JsonObject:
    if entry.fault is not None:
        return {"Status": entry.fault.code, "Error": entry.fault.text}
    return {"Status": "SUCCESS", "MessageId": entry.message_id}


def _bulk_content(parcel: Parcel, entry: Entry) -> Content:
    payload, values = parcel.payload, entry.source["values"]
    template: Template = parcel.template
    shared = payload["DefaultContent"]["Template"]
    own_headers = read_headers(entry.source.get("ReplacementHeaders"))
    own_tags = read_tags(entry.source.get("ReplacementTags"))
    return Content(
        sender=payload["FromEmailAddress"],
        reply_to=", ".join(payload.get("ReplyToAddresses") or ()),
        subject=template.fill("Subject", values) or "",
        html=template.fill("Html", values),
        text=template.fill("Text", values),
        headers=read_headers(shared.get("Headers")) | own_headers,
        labels=read_tags(payload.get("DefaultEmailTags")) | own_tags,
    )


def _simple_content(parcel: Parcel, entry: Entry) -> Content:
    simple, body = entry.source, as_object(entry.source.get("Body"))
    return Content(
        sender=parcel.payload["FromEmailAddress"],
        reply_to=", ".join(parcel.payload.get("ReplyToAddresses") or ()),
        subject=_data(simple, "Subject"),
        html=_data(body, "Html") or None,
        text=_data(body, "Text") or None,
        headers=read_headers(simple.get("Headers")),
        labels=read_tags(parcel.payload.get("EmailTags")),
    )


def _data(part: JsonObject, kind: str) -> str:
    data: Any = as_object(part.get(kind)).get("Data")
    return as_text(data)
