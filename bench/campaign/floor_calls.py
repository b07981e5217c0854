"""The calls of the floor: the mails that ours sends, slot for slot, written by hand for each ESP."""

import hmac
import json
import re
import secrets
import struct
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b, sha256
from html import escape
from typing import Any, NamedTuple

import orjson

from bench.campaign.mail import ESPS, FROM, HTML, TEXT, filled
from bench.campaign.side import CAMPAIGN

ADDRESS = "Example Ltd, 1 Example Street"
_TEXT = f"{TEXT}\n-- \n{ADDRESS}\n"
_HTML = f'{HTML}<p style="font-size:12px;color:#666666">{ADDRESS}</p>\n'.replace(
    "<a href", '<a clicktracking="off" ses:no-track data-pm-no-track href'
)
_SHARED = {
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    "List-Id": "<news.example.com>",
}
_LINK = struct.Struct(">16sQQ")
_LINKS = blake2b(key=secrets.token_bytes(32), person=b"unsubscribe", digest_size=16)
_REFS = blake2b(key=secrets.token_bytes(32), person=b"send", digest_size=8)
_KEY_ID, _SECRET, _REGION = "AKIABENCHESBENCHES00", "a-secret-key-for-benches", "eu-west-1"

Page = Sequence[tuple[int, int, str, bytes, str]]
"""Send, subscriber, address, hash, first name."""
Ids = str | list[str]
"""The ESP's: one for all of a call, or one for each mail."""


class Mail(NamedTuple):
    """What is one person's own; the values are those of s0, h0, h1, t0 and t1."""

    email: str
    ref: str
    link: str
    values: tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Calls:
    """How one ESP is called."""

    body: Callable[[Sequence[Mail]], Any]
    headers: Callable[[bytes, str], Mapping[str, str]]
    """For a body, sent to a host."""
    ids: Callable[[Mapping[str, str], bytes], Ids]
    """From the headers and the body of an answer."""


def mails(page: Page, port: int) -> list[Mail]:
    base = f"http://127.0.0.1:{port}/unsubscribe?token="
    return [
        Mail(
            email, f"{send}-1-{_ref(send)}", link, (f"Hello {name}", escape(name), link, name, link)
        )
        for send, person, email, email_hash, name in page
        for link in [base + _signed(_LINK.pack(email_hash, person, send))]
    ]


def _signed(said: bytes) -> str:
    return urlsafe_b64encode(said + _mac(said, _LINKS)).decode()


def _ref(send_id: int) -> str:
    mac = _mac(b"%d.%d.1" % (CAMPAIGN, send_id), _REFS)
    return urlsafe_b64encode(mac).rstrip(b"=").decode()


def _mac(said: bytes, key: "blake2b") -> bytes:
    mac = key.copy()
    mac.update(said)
    return mac.digest()


def _sendgrid(page: Sequence[Mail]) -> Any:
    nonce = secrets.token_hex(4)
    s0, h0, h1, t0, t1 = tags = [f"-{nonce}{slot}-" for slot in ("s0", "h0", "h1", "t0", "t1")]
    return {
        "from": {"email": FROM},
        "subject": s0,
        "content": [
            {"type": "text/plain", "value": filled(_TEXT, t0, t1)},
            {"type": "text/html", "value": filled(_HTML, h0, h1)},
        ],
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
        },
        "headers": _SHARED,
        "personalizations": [
            {
                "to": [{"email": one.email}],
                "custom_args": {"cx_send_id": one.ref},
                "headers": {**_SHARED, "List-Unsubscribe": f"<{one.link}>"},
                "substitutions": dict(zip(tags, one.values, strict=True)),
            }
            for one in page
        ],
    }


def _ses(page: Sequence[Mail]) -> Any:
    slots = ("s0", "h0", "h1", "t0", "t1")
    return {
        "FromEmailAddress": FROM,
        "ConfigurationOverrides": {
            "Tracking": {"OpenTrackingEnabled": "DISABLED", "ClickTrackingEnabled": "DISABLED"}
        },
        "DefaultContent": {
            "Template": {
                "TemplateContent": {
                    "Subject": "{{s0}}",
                    "Html": filled(_HTML, "{{h0}}", "{{h1}}"),
                    "Text": filled(_TEXT, "{{t0}}", "{{t1}}"),
                },
                "TemplateData": json.dumps(dict.fromkeys(slots, "")),
                "Headers": _header_list(_SHARED),
            }
        },
        "BulkEmailEntries": [
            {
                "Destination": {"ToAddresses": [one.email]},
                "ReplacementTags": [{"Name": "cx_send_id", "Value": one.ref}],
                "ReplacementEmailContent": {
                    "ReplacementTemplate": {
                        "ReplacementTemplateData": orjson.dumps(
                            dict(zip(slots, one.values, strict=True))
                        ).decode()
                    }
                },
                "ReplacementHeaders": _header_list({"List-Unsubscribe": f"<{one.link}>"}),
            }
            for one in page
        ],
    }


def _postmark(page: Sequence[Mail]) -> Any:
    shared = _header_list(_SHARED)
    html, text = (re.split(r"\{\{ \w+ \}\}", one) for one in (_HTML, _TEXT))
    return [
        {
            "From": FROM,
            "MessageStream": "broadcast",
            "TrackOpens": False,
            "TrackLinks": "None",
            "To": one.email,
            "Subject": one.values[0],
            "Metadata": {"cx_send_id": one.ref},
            "Headers": [*shared, {"Name": "List-Unsubscribe", "Value": f"<{one.link}>"}],
            "HtmlBody": "".join((html[0], one.values[1], html[1], one.values[2], html[2])),
            "TextBody": "".join((text[0], one.values[3], text[1], one.values[4], text[2])),
        }
        for one in page
    ]


def _header_list(headers: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in headers.items()]


def _signature(body: bytes, host: str) -> dict[str, str]:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html"""
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    signed = {"content-type": "application/json", "host": host, "x-amz-date": at}
    names = ";".join(signed)
    lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
    path = ESPS["ses"].path
    canonical = f"POST\n{path}\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"
    scope = (at[:8], _REGION, "ses", "aws4_request")
    hashed = sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{at}\n{'/'.join(scope)}\n{hashed}"
    parts = (*scope, to_sign)
    mac = reduce(lambda key, part: hmac.digest(key, part.encode(), "sha256"), parts, _AWS4)
    credential = f"{_KEY_ID}/{'/'.join(scope)}"
    return {
        "X-Amz-Date": at,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, "
        f"SignedHeaders={names}, Signature={mac.hex()}",
    }


_AWS4 = f"AWS4{_SECRET}".encode()
CALLS = {
    "sendgrid": Calls(
        _sendgrid,
        lambda _body, _host: {"Authorization": "Bearer SG.a-key-for-benches"},
        lambda headers, _body: headers["X-Message-Id"],
    ),
    "ses": Calls(
        _ses,
        _signature,
        lambda _headers, body: [
            one["MessageId"] for one in orjson.loads(body)["BulkEmailEntryResults"]
        ],
    ),
    "postmark": Calls(
        _postmark,
        lambda _body, _host: {"X-Postmark-Server-Token": "a-token-for-benches"},
        lambda _headers, body: [one["MessageID"] for one in orjson.loads(body)],
    ),
}
