"""SendGrid's v3 API: mail/send, credits, scopes and domains.

https://www.twilio.com/docs/sendgrid/api-reference/mail-send
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from config.esp_config import EspName
from services.simulator import sendgrid_domains, sendgrid_lists
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
from services.simulator.sendgrid_checks import bad_address, check_message, error, read_entries
from services.simulator.shape import JsonObject, as_object
from services.simulator.suppression_lists import SuppressionLists

MAX_BYTES = 30_000_000
CREDITS_WITHOUT_LIMIT = 100_000_000

HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html"

# https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/errors
REFUSALS: dict[Mode, tuple[int, str, str | None]] = {
    Mode.UNAUTHORIZED: (
        401,
        "The provided authorization grant is invalid, expired, or revoked",
        None,
    ),
    Mode.SUSPENDED: (403, "access forbidden", None),
    Mode.UNVERIFIED: (
        403,
        "The from address does not match a verified Sender Identity.",
        "from",
    ),
    Mode.THROTTLE: (429, "too many requests", None),
    Mode.QUOTA: (401, "Maximum credits exceeded", None),
    Mode.MESSAGE_REJECTED: (400, "The content value is not acceptable.", "content.0.value"),
    Mode.TOO_LARGE: (413, "Payload too large", None),
    Mode.ERROR_500: (500, "Internal server error", None),
    Mode.ERROR_502: (502, "Bad gateway", None),
    Mode.ERROR_503: (503, "Service unavailable", None),
    Mode.ERROR_504: (504, "Gateway timeout", None),
}


class SendGrid(Dialect):
    """All or nothing: one bad address refuses the call and is named in the answer."""

    esp = EspName.SENDGRID
    routes: ClassVar[Mapping[tuple[str, str], Scope]] = {
        ("POST", "/v3/mail/send"): Scope.SEND,
        ("GET", "/v3/user/credits"): Scope.LOOKUP,
        ("GET", "/v3/scopes"): Scope.LOOKUP,
        **sendgrid_lists.ROUTES,
        **sendgrid_domains.ROUTES,
    }
    all_or_nothing = True
    fault_codes: ClassVar[Mapping[Mode, tuple[str, ...]]] = {Mode.PARTIAL: ("400",)}
    success_status = 202

    def no_such_call(self, status: int) -> Response:
        return error(status, "not found" if status == 404 else "method not allowed")

    def malformed(self) -> Response:
        return error(400, "Bad Request")

    def authorise(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Refused(self.refusal(Mode.UNAUTHORIZED, 0))

    def read(self, request: Request) -> Parcel:
        if not is_json(request):
            raise Refused(error(415, "Content-Type should be application/json."))
        if len(request.body) >= MAX_BYTES:
            raise Refused(self.refusal(Mode.TOO_LARGE, 0), limit=Limit.BYTES)
        payload = as_object(parse_json(request.body))
        check_message(payload)
        sandbox = as_object(as_object(payload.get("mail_settings")).get("sandbox_mode"))
        return Parcel(
            payload=payload,
            entries=read_entries(payload),
            is_rehearsal=sandbox.get("enable") is True,
        )

    def identify(self, entries: list[Entry]) -> None:
        message_id = secrets.token_urlsafe(16)
        for entry in entries:
            entry.message_id = message_id

    def answer(self, parcel: Parcel) -> Response:
        faults = [entry.fault for entry in parcel.entries if entry.fault is not None]
        if faults:
            errors = [{"message": f.text, "field": f.code, "help": HELP} for f in faults]
            return json_response(400, {"errors": errors})
        if parcel.is_rehearsal:
            return Response(status=200)
        return Response(status=202, headers={"X-Message-Id": parcel.entries[0].message_id})

    def content(self, parcel: Parcel, entry: Entry) -> Content:
        payload, own = parcel.payload, entry.source
        tags = own.get("substitutions") or {}
        parts = {part["type"]: _replace(part["value"], tags) for part in payload["content"]}
        return Content(
            sender=_mailbox(own.get("from") or payload["from"]),
            reply_to=_replace(_mailbox(payload.get("reply_to") or {}), tags),
            subject=_replace(own.get("subject") or payload["subject"], tags),
            html=parts.get("text/html"),
            text=parts.get("text/plain"),
            headers=(payload.get("headers") or {}) | (own.get("headers") or {}),
            labels=(payload.get("custom_args") or {}) | (own.get("custom_args") or {}),
        )

    def look_up(self, request: Request, account: AccountState) -> Response:
        told = sendgrid_domains.answer(request, self.domains)
        if told is not None:
            return told
        if request.path == "/v3/scopes":
            return json_response(200, {"scopes": ["mail.send", "user.credits.read"]})
        return json_response(200, _credits(account))

    def suppressions(
        self, request: Request, lists: SuppressionLists, now: datetime
    ) -> Response | None:
        return sendgrid_lists.answer(request, lists, now)

    def refusal(self, mode: Mode, now: float, code: str | None = None) -> Response:
        response = error(*REFUSALS[mode])
        if mode is not Mode.THROTTLE:
            return response
        limits = {"Limit": "600", "Remaining": "0", "Reset": str(int(now) + 1)}
        headers = {f"X-RateLimit-{key}": value for key, value in limits.items()}
        return Response(status=429, headers={**response.headers, **headers}, body=response.body)

    def fault(self, mode: Mode, code: str, index: int, entry: Entry) -> Fault:
        return bad_address(index)


def _credits(account: AccountState) -> JsonObject:
    total = account.daily_limit or CREDITS_WITHOUT_LIMIT
    today = datetime.now(UTC).date()
    return {
        "remain": max(0, total - account.used),
        "total": total,
        "overage": max(0, account.used - total),
        "used": account.used,
        "last_reset": today.isoformat(),
        "next_reset": (today + timedelta(days=1)).isoformat(),
        "reset_frequency": "daily",
    }


def _replace(text: str, tags: Mapping[str, str]) -> str:
    for tag, value in tags.items():
        text = text.replace(tag, value)
    return text


def _mailbox(person: JsonObject) -> str:
    name, email = person.get("name"), person.get("email", "")
    return f"{name} <{email}>" if name else str(email)
