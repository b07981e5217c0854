"""The mails, for a person with a browser.

Everything shown was sent by somebody: it is escaped, and the HTML of a mail is shown in
a frame without scripts, forms or access to anything; no remote image is loaded.
"""

from collections.abc import Iterable, Mapping
from html import escape

from config.esp_config import EspName
from services.simulator.http1 import Response, html_response
from services.simulator.records import Mail

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-src 'self';"
        " form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}"
    "iframe{width:100%;height:36rem;border:1px solid #ccc;background:#fff}"
    "pre{white-space:pre-wrap;border:1px solid #ccc;padding:1rem}"
)


def list_page(mails: Iterable[Mail], accepted: Mapping[EspName, int]) -> Response:
    counts = " · ".join(f"{escape(esp)}: {count:,}" for esp, count in accepted.items())
    rows = "".join(_row(mail) for mail in mails)
    return _page(
        "Mails taken by the simulator",
        f"<p>{counts}. The newest first.</p><table><thead><tr><th>Received (UTC)<th>ESP"
        f"<th>To<th>Subject</tr></thead><tbody>{rows}</tbody></table>",
    )


def mail_page(mail: Mail) -> Response:
    facts = {
        "From": mail.sender or "",
        "Reply-To": mail.reply_to or "",
        "To": mail.recipient,
        **(mail.headers or {}),
        "ESP": mail.esp.value,
        "Message id": mail.message_id,
        "Our id": mail.send_ref or "",
        "Received": _when(mail),
    }
    rows = "".join(
        f"<tr><th>{escape(name)}<td>{escape(value)}</tr>" for name, value in facts.items() if value
    )
    return _page(_subject(mail), f"<table>{rows}</table>{_bodies(mail)}")


def _row(mail: Mail) -> str:
    link = f'<a href="/mails/{mail.id}.html">{escape(_subject(mail))}</a>'
    return f"<tr><td>{_when(mail)}<td>{escape(mail.esp)}<td>{escape(mail.recipient)}<td>{link}</tr>"


def _bodies(mail: Mail) -> str:
    parts = []
    if mail.html is not None:
        parts.append(f'<h2>HTML</h2><iframe sandbox srcdoc="{escape(mail.html)}"></iframe>')
    if mail.text is not None:
        parts.append(f"<h2>Text</h2><pre>{escape(mail.text)}</pre>")
    return "".join(parts)


def _subject(mail: Mail) -> str:
    if mail.rendering_failure:
        return "(taken, but the template could not be filled in)"
    if mail.subject is None:
        return "(content no longer kept)"
    return mail.subject or "(no subject)"


def _when(mail: Mail) -> str:
    return f"{mail.received_at:%Y-%m-%d %H:%M:%S}"


def _page(title: str, body: str) -> Response:
    return html_response(
        200,
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<style>{_STYLE}</style><h1>{escape(title)}</h1><p><a href="/">All mails</a></p>{body}',
        HEADERS,
    )
