"""Leaving the list: a page for people, one click for mail programs (RFC 8058).

A GET never changes anything, since scanners and previews follow links. A POST takes any
body of any kind from anybody: the token is all that counts.
"""

from flask import Blueprint, Response, request

from api.system import the_system
from list_manager import unsubscribe
from utils.tokens import UnsubscribeLink, read_unsubscribe_token

pages = Blueprint("unsubscribe", __name__)

# No script, nothing loaded from anywhere; the form may only come back here.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
body {{ font: 1.125rem/1.5 system-ui, sans-serif; max-width: 30rem; margin: 15vh auto 0; padding: 0 1rem; }}
button {{ font: inherit; padding: .75rem 1.5rem; border: 0; border-radius: .5rem; background: #14532d; color: #fff; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
# The form has no action: it goes back to the address of the page, token and all.
_ASK = """<p>Press the button, and we will not write to you again.</p>
<form method="post"><button type="submit">Unsubscribe</button></form>"""
_DONE = "<p>You are off the list. We will not write to you again.</p>"
_BROKEN = (
    "<p>This link is not complete: it may have been cut off on its way. Please open it from "
    "the mail again, or answer the mail with the word <em>unsubscribe</em>.</p>"
)


@pages.get("/unsubscribe")
def ask() -> Response:
    """A page with one button."""
    if _link() is None:
        return _broken()
    return _page("Unsubscribe?", _ASK)


@pages.post("/unsubscribe")
def leave() -> Response:
    """Unsubscribes, and says so as often as it is asked."""
    link = _link()
    if link is None:
        return _broken()
    system = the_system()
    with system.database.write() as session:
        unsubscribe(session, link, source=_source(), now=system.clock())
    return _page("Unsubscribed", _DONE)


def _link() -> UnsubscribeLink | None:
    return read_unsubscribe_token(the_system().link_keys, request.args.get("token", ""))


def _source() -> str:
    """`one_click` when a mail program says so in the body, as RFC 8058 has it."""
    length = request.content_length or 0
    said = request.get_data() if length <= 1000 else b""
    return "one_click" if b"One-Click" in said else "page"


def _broken() -> Response:
    return _page("This link does not work", _BROKEN, status=400)


def _page(title: str, body: str, status: int = 200) -> Response:
    return Response(
        _PAGE.format(title=title, body=body),
        status,
        {"Content-Security-Policy": _POLICY},
        mimetype="text/html",
    )
