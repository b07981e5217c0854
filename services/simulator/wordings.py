"""How each ESP tells what happened to a mail: the body of its webhook, and how it is signed.

Shapes: `facts/esps.md` A4 and A5 (SendGrid), B4 and B5 (SES through SNS), C4 and C5 (Postmark).
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from config.esp_config import EspName
from services.base import SEND_REF_KEY
from services.simulator.happenings import AFTER, Happening, Taken, chance
from services.simulator.records import Post
from services.simulator.secrets import WebhookSecrets
from services.simulator.sns import signed_call

Told = tuple[Taken, Happening]

READER = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
MACHINE = "Mozilla/5.0"
LINK = "https://example.com/news"

_SENDGRID: dict[Happening, dict[str, Any]] = {
    Happening.PROCESSED: {"event": "processed"},
    Happening.DEFERRED: {"event": "deferred", "response": "451 4.3.0 try again", "attempt": "1"},
    Happening.DELIVERED: {"event": "delivered", "response": "250 OK"},
    Happening.HARD_BOUNCE: {
        **{"event": "bounce", "type": "bounce", "bounce_classification": "Invalid Address"},
        **{"status": "5.1.1", "reason": "550 5.1.1 no such user"},
    },
    Happening.SOFT_BOUNCE: {
        **{"event": "bounce", "type": "bounce", "bounce_classification": "Mailbox Unavailable"},
        **{"status": "5.2.2", "reason": "552 5.2.2 mailbox full"},
    },
    Happening.BLOCK: {
        **{"event": "bounce", "type": "blocked", "bounce_classification": "Reputation"},
        **{"status": "5.7.1", "reason": "550 5.7.1 blocked for its reputation"},
    },
    Happening.DROPPED: {"event": "dropped", "reason": "Bounced Address", "status": "5.0.0"},
    Happening.MACHINE_OPEN: {"event": "open", "sg_machine_open": True},
    Happening.OPEN: {"event": "open", "sg_machine_open": False},
    Happening.CLICK: {"event": "click", "url": LINK},
    Happening.UNSUBSCRIBE: {"event": "unsubscribe"},
    Happening.COMPLAINT: {"event": "spamreport"},
}
_POSTMARK: dict[Happening, dict[str, Any]] = {
    Happening.DEFERRED: {"RecordType": "Bounce", "Type": "Transient", "Details": "451 try again"},
    Happening.DELIVERED: {"RecordType": "Delivery", "Details": "smtp;250 OK"},
    Happening.HARD_BOUNCE: {
        **{"RecordType": "Bounce", "Type": "HardBounce", "TypeCode": 1, "Inactive": True},
        "Details": "smtp;550 5.1.1 no such user",
    },
    Happening.SOFT_BOUNCE: {
        **{"RecordType": "Bounce", "Type": "SoftBounce", "TypeCode": 4096, "Inactive": False},
        "Details": "smtp;552 5.2.2 mailbox full",
    },
    Happening.BLOCK: {
        **{"RecordType": "Bounce", "Type": "Blocked", "TypeCode": 100006, "Inactive": False},
        "Details": "smtp;550 5.7.1 blocked for its reputation",
    },
    Happening.MACHINE_OPEN: {"RecordType": "Open"},
    Happening.OPEN: {"RecordType": "Open"},
    Happening.CLICK: {"RecordType": "Click", "OriginalLink": LINK, "ClickLocation": "HTML"},
    Happening.UNSUBSCRIBE: {
        **{"RecordType": "SubscriptionChange", "Origin": "Recipient", "SuppressSending": True},
        "SuppressionReason": "ManualSuppression",
    },
    Happening.COMPLAINT: {
        **{"RecordType": "SpamComplaint", "Type": "SpamComplaint", "TypeCode": 100001},
        "Inactive": True,
    },
}
_TIME_OF_RECORD = {
    "Bounce": "BouncedAt",
    "SpamComplaint": "BouncedAt",
    "Delivery": "DeliveredAt",
    "SubscriptionChange": "ChangedAt",
}
_SES: dict[Happening, tuple[str, str, dict[str, Any]]] = {
    Happening.PROCESSED: ("Send", "send", {}),
    Happening.DEFERRED: ("DeliveryDelay", "deliveryDelay", {"delayType": "General"}),
    Happening.DELIVERED: ("Delivery", "delivery", {"smtpResponse": "250 ok"}),
    Happening.HARD_BOUNCE: (
        *("Bounce", "bounce"),
        {"bounceType": "Permanent", "bounceSubType": "General"},
    ),
    Happening.SOFT_BOUNCE: (
        *("Bounce", "bounce"),
        {"bounceType": "Transient", "bounceSubType": "MailboxFull"},
    ),
    Happening.BLOCK: (
        *("Bounce", "bounce"),
        {"bounceType": "Transient", "bounceSubType": "ContentRejected"},
    ),
    Happening.DROPPED: (
        *("Bounce", "bounce"),
        {"bounceType": "Permanent", "bounceSubType": "OnAccountSuppressionList"},
    ),
    Happening.RENDERING_FAILURE: (
        *("Rendering Failure", "failure"),
        {"errorMessage": "Attribute 'x' is not present in the rendering data."},
    ),
    Happening.MACHINE_OPEN: ("Open", "open", {}),
    Happening.OPEN: ("Open", "open", {}),
    Happening.CLICK: ("Click", "click", {"link": LINK}),
    Happening.UNSUBSCRIBE: (
        *("Subscription", "subscription"),
        {"newTopicPreferences": {"unsubscribeAll": True}, "source": "UnsubscribeHeader"},
    ),
    Happening.COMPLAINT: ("Complaint", "complaint", {"complaintFeedbackType": "abuse"}),
}
_DIAGNOSES = {
    Happening.HARD_BOUNCE: ("5.1.1", "smtp; 550 5.1.1 user unknown"),
    Happening.SOFT_BOUNCE: ("5.2.2", "smtp; 552 5.2.2 mailbox full"),
    Happening.BLOCK: ("5.7.1", "smtp; 550 5.7.1 blocked for its reputation"),
}


def posts(esp: EspName, told: Sequence[Told], secrets: WebhookSecrets, run: str) -> list[Post]:
    """The calls that tell all this; `run` sets apart the event ids of one run of the simulator."""
    match esp:
        case EspName.SENDGRID:
            events = [_sendgrid(*one, run) for one in told if one[1] in _SENDGRID]
            return [_sendgrid_post(events, secrets)] if events else []
        case EspName.POSTMARK:
            records = [_postmark(*one, run) for one in told if one[1] in _POSTMARK]
            return [
                ({"Authorization": secrets.basic, "Content-Type": "application/json"}, _json(one))
                for one in records
            ]
        case _:
            return [_ses_post(*one, secrets, run) for one in told]


def _sendgrid_post(events: Sequence[Any], secrets: WebhookSecrets) -> Post:
    body = _json(events) + b"\r\n"
    timestamp = str(int(datetime.now(UTC).timestamp()))
    return {
        "Content-Type": "application/json",
        "X-Twilio-Email-Event-Webhook-Signature": secrets.sign_sendgrid(timestamp.encode() + body),
        "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
    }, body


def _sendgrid(mail: Taken, what: Happening, run: str) -> dict[str, Any]:
    return {
        "email": mail.recipient,
        "timestamp": int(_at(mail, what).timestamp()),
        "sg_event_id": _id(mail, what, run),
        "sg_message_id": f"{mail.message_id}.recvd-1.1",
        **({SEND_REF_KEY: mail.send_ref} if mail.send_ref else {}),
        **_SENDGRID[what],
        **_reader(mail, what, agent="useragent", ip="ip"),
    }


def _postmark(mail: Taken, what: Happening, run: str) -> dict[str, Any]:
    said = _POSTMARK[what]
    record = said["RecordType"]
    is_report = record in ("Bounce", "SpamComplaint")
    return {
        "MessageID": mail.message_id,
        "MessageStream": "broadcast",
        "ServerID": 1,
        "Email" if is_report else "Recipient": mail.recipient,
        _TIME_OF_RECORD.get(record, "ReceivedAt"): _at(mail, what).isoformat(),
        **({"ID": int(chance(_id(mail, what, run), mail.recipient) * 2**53)} if is_report else {}),
        "Metadata": {SEND_REF_KEY: mail.send_ref} if mail.send_ref else {},
        **said,
        **_reader(mail, what, agent="UserAgent", ip=""),
    }


def _ses_post(mail: Taken, what: Happening, secrets: WebhookSecrets, run: str) -> Post:
    message = json.dumps(_ses(mail, what, run))
    return signed_call(
        {"Type": "Notification", "MessageId": _id(mail, what, run), "Message": message}, secrets
    )


def _ses(mail: Taken, what: Happening, run: str) -> dict[str, Any]:
    kind, name, said = _SES[what]
    code, words = _DIAGNOSES.get(what, ("", ""))
    recipient = {"emailAddress": mail.recipient, "status": code, "diagnosticCode": words}
    about = {
        "timestamp": _at(mail, what).isoformat(),
        **said,
        **({"feedbackId": _id(mail, what, run)} if name in ("bounce", "complaint") else {}),
        **({"bouncedRecipients": [recipient]} if name == "bounce" else {}),
        **({"complainedRecipients": [recipient]} if name == "complaint" else {}),
        **({"recipients": [mail.recipient]} if name == "delivery" else {}),
        **_reader(mail, what, agent="userAgent", ip="ipAddress"),
    }
    return {
        "eventType": kind,
        name: about,
        "mail": {
            "timestamp": mail.at.isoformat(),
            "messageId": mail.message_id,
            "destination": [mail.recipient],
            "tags": {SEND_REF_KEY: [mail.send_ref]} if mail.send_ref else {},
        },
    }


def _reader(mail: Taken, what: Happening, *, agent: str, ip: str) -> dict[str, Any]:
    """Who opened or clicked, each reader from a network of their own."""
    if what not in (Happening.OPEN, Happening.CLICK, Happening.MACHINE_OPEN):
        return {}
    place = int(chance("place", mail.recipient) * 2**16)
    address = f"100.{64 + place % 64}.{place // 256}.7"
    found: dict[str, Any] = {agent: MACHINE if what is Happening.MACHINE_OPEN else READER}
    return found | ({ip: address} if ip else {"Geo": {"IP": address}})


def _at(mail: Taken, what: Happening) -> datetime:
    return mail.at + AFTER[what] if what in AFTER else mail.at


def _id(mail: Taken, what: Happening, run: str) -> str:
    return f"{run}-{mail.id}-{what.value}"


def _json(what: Any) -> bytes:
    return json.dumps(what, separators=(",", ":")).encode()
