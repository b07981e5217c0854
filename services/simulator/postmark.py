"""Postmark's API: batch and single sends, the server, message streams, domains.

https://postmarkapp.com/developer/api/email-api
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar

from config.esp_config import EspName
from services.simulator import postmark_domains, postmark_lists
from services.simulator.dialect import (
    AccountState,
    Content,
    Dialect,
    Entry,
    Fault,
    Limit,
    Parcel,
    Refused,
    is_json,
    parse_json,
)
from services.simulator.http1 import Request, Response, json_response
from services.simulator.modes import Mode, Scope
from services.simulator.postmark_checks import CODES, STREAMS, inactive, read_entry
from services.simulator.shape import JsonObject, as_list, as_object, as_pairs
from services.simulator.suppression_lists import SuppressionLists

MAX_MESSAGES = 500
MAX_CALL_BYTES = 50_000_000
MAX_MESSAGE_BYTES = 10_000_000

TEST_TOKEN = "POSTMARK_API_TEST"
"""Validates and answers as always; nothing is sent."""

REFUSALS: dict[Mode, tuple[int, str]] = {
    Mode.UNAUTHORIZED: (401, "10"),
    Mode.SUSPENDED: (422, "413"),
    Mode.UNVERIFIED: (422, "400"),
    Mode.THROTTLE: (429, "429"),
    Mode.QUOTA: (422, "405"),
    Mode.MESSAGE_REJECTED: (422, "300"),
    Mode.MAINTENANCE: (503, "100"),
}
PLAIN_REFUSALS: dict[Mode, tuple[int, str]] = {
    Mode.TOO_LARGE: (413, "The payload is too large."),
    Mode.ERROR_500: (500, "Internal server error."),
    Mode.ERROR_502: (502, "Bad gateway."),
    Mode.ERROR_503: (503, "Service unavailable."),
    Mode.ERROR_504: (504, "Gateway timeout."),
}
"""Refusals without an ErrorCode of their own; Postmark writes 0 there."""


class Postmark(Dialect):
    """One result per message, in a 200, whatever became of each."""

    esp = EspName.POSTMARK
    routes: ClassVar[Mapping[tuple[str, str], Scope]] = {
        ("POST", "/email/batch"): Scope.SEND,
        ("POST", "/email"): Scope.SEND,
        ("GET", "/server"): Scope.LOOKUP,
        ("GET", "/message-streams/"): Scope.LOOKUP,
        **postmark_lists.ROUTES,
        **postmark_domains.ROUTES,
    }
    limits_per_message = frozenset({Limit.DAILY})
    usually_per_message = frozenset(
        {Mode.SUSPENDED, Mode.UNVERIFIED, Mode.QUOTA, Mode.MESSAGE_REJECTED}
    )
    fault_codes: ClassVar[Mapping[Mode, tuple[str, ...]]] = {
        Mode.PARTIAL: ("406", "300", "429"),
        **{mode: (code,) for mode, (_, code) in REFUSALS.items()},
    }

    def no_such_call(self, status: int) -> Response:
        return json_response(status, {"Message": "No such resource."})

    def malformed(self) -> Response:
        return _error(422, "402")

    def authorise(self, request: Request) -> None:
        whose = "account" if postmark_domains.is_about_domains(request) else "server"
        if not request.headers.get(f"x-postmark-{whose}-token"):
            raise Refused(_error(401, "10"))

    def read(self, request: Request) -> Parcel:
        if not is_json(request):
            raise Refused(json_response(415, {"Message": "Content-Type must be JSON."}))
        is_single = request.path == "/email"
        if len(request.body) > (MAX_MESSAGE_BYTES if is_single else MAX_CALL_BYTES):
            raise Refused(self.refusal(Mode.TOO_LARGE, 0), limit=Limit.BYTES)
        payload = parse_json(request.body)
        messages = [payload] if is_single else as_list(payload)
        if len(messages) > MAX_MESSAGES:
            raise Refused(_error(422, "410"), limit=Limit.RECIPIENTS)
        return Parcel(
            payload=payload,
            entries=[read_entry(as_object(message)) for message in messages],
            is_single=is_single,
            is_rehearsal=request.headers["x-postmark-server-token"] == TEST_TOKEN,
        )

    def identify(self, entries: list[Entry]) -> None:
        for entry in entries:
            entry.message_id = str(uuid.uuid4())

    def answer(self, parcel: Parcel) -> Response:
        submitted_at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        results = [_result(entry, submitted_at) for entry in parcel.entries]
        if not parcel.is_single:
            return json_response(200, results)
        return json_response(422 if parcel.entries[0].fault else 200, results[0])

    def content(self, parcel: Parcel, entry: Entry) -> Content:
        own = entry.source
        return Content(
            sender=own["From"],
            reply_to=own.get("ReplyTo") or "",
            subject=own.get("Subject") or "",
            html=own.get("HtmlBody"),
            text=own.get("TextBody"),
            headers=as_pairs(own.get("Headers")),
            labels=own.get("Metadata") or {},
        )

    def look_up(self, request: Request, account: AccountState) -> Response:
        told = postmark_domains.answer(request, self.domains)
        if told is not None:
            return told
        if request.path == "/server":
            return json_response(200, SERVER)
        stream = request.path.rpartition("/")[2]
        if stream not in STREAMS:
            return _error(422, "1226")
        return json_response(200, _stream(stream))

    def suppressions(
        self, request: Request, lists: SuppressionLists, now: datetime
    ) -> Response | None:
        return postmark_lists.answer(request, lists, now)

    def stream(self, entry: Entry) -> str:
        return str(entry.source.get("MessageStream") or "outbound")

    def fault_of_listed(self, addresses: tuple[str, ...]) -> Fault | None:
        return inactive(addresses)

    def refusal(self, mode: Mode, now: float, code: str | None = None) -> Response:
        if mode in PLAIN_REFUSALS:
            status, text = PLAIN_REFUSALS[mode]
            return json_response(status, {"Message": text})
        status, usual = REFUSALS[mode]
        return _error(status, code or usual)

    def fault(self, mode: Mode, code: str, index: int, entry: Entry) -> Fault:
        if code == "406":
            return inactive(entry.recipients[:1])
        if code == "300" and mode is Mode.PARTIAL:
            return Fault(code, f"Invalid 'To' address: '{entry.source.get('To')}'.")
        return Fault(code, CODES.get(code, "Not sent."))


SERVER: JsonObject = {
    "ID": 1,
    "Name": "Simulator",
    "ServerLink": "https://postmarkapp.com/servers/1/streams",
    "Color": "grey",
    "SmtpApiActivated": False,
    "RawEmailEnabled": False,
    "DeliveryType": "Live",
    "TrackOpens": False,
    "TrackLinks": "None",
    "PostFirstOpenOnly": False,
    "BounceHookUrl": "",
    "OpenHookUrl": "",
    "DeliveryHookUrl": "",
    "ClickHookUrl": "",
    "InboundHookUrl": "",
}


def _stream(stream: str) -> JsonObject:
    handling = "Custom" if STREAMS[stream] == "Broadcasts" else "None"
    return {
        "ID": stream,
        "ServerID": 1,
        "Name": stream.capitalize(),
        "Description": "",
        "MessageStreamType": STREAMS[stream],
        "CreatedAt": "2026-01-01T00:00:00-05:00",
        "UpdatedAt": None,
        "ArchivedAt": None,
        "ExpectedPurgeDate": None,
        "SubscriptionManagementConfiguration": {"UnsubscribeHandlingType": handling},
    }


def _error(status: int, code: str) -> Response:
    text = CODES.get(code, "Not accepted.")
    return json_response(status, {"ErrorCode": int(code), "Message": text})


def _result(entry: Entry, submitted_at: str) -> JsonObject:
    if entry.fault is not None:
        return {"ErrorCode": int(entry.fault.code), "Message": entry.fault.text}
    return {
        "To": entry.source["To"],
        "SubmittedAt": submitted_at,
        "MessageID": entry.message_id,
        "ErrorCode": 0,
        "Message": "OK",
    }
