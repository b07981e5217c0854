"""Leaving the list: a page for people, one click for mail programs (RFC 8058).

A GET never changes anything, since scanners and previews follow links. A POST takes any
body of any kind from anybody: the token in the address is all that counts.
"""

from flask import Blueprint, Response, request

from api.pages import apologise, broken, page
from api.system import the_system
from utils.tokens import UnsubscribeLink, read_unsubscribe_token

pages = Blueprint("unsubscribe", __name__)
apologise(pages)

_ASK = """<p>Press the button, and we will not write to you again.</p>
<form method="post"><button type="submit">Unsubscribe</button></form>
<p>Or would you rather <a href="preferences?token={{ token }}">take a break, or put your name
right</a>?</p>"""
_DONE = "<p>You are off the list. We will not write to you again.</p>"


@pages.get("/unsubscribe")
def ask() -> Response:
    """A page with one button."""
    if the_link() is None:
        return broken()
    return page("Unsubscribe?", _ASK, token=request.args["token"])


@pages.post("/unsubscribe")
def leave() -> Response:
    """Unsubscribes, and says so as often as it is asked; 503 when it can be kept nowhere."""
    link = the_link()
    if link is None:
        return broken()
    system = the_system()
    system.unsubscribes.leave(link, source=_source(), now=system.clock())
    return gone()


def gone() -> Response:
    """For somebody who has just left."""
    return page("Unsubscribed", _DONE)


def the_link() -> UnsubscribeLink | None:
    """What the token of this request says, if we signed it."""
    return read_unsubscribe_token(the_system().link_keys, request.args.get("token", ""))


def _source() -> str:
    """`one_click` when a mail program says so in the body, as RFC 8058 has it."""
    length = request.content_length or 0
    said = request.get_data() if length <= 1000 else b""
    return "one_click" if b"One-Click" in said else "page"
