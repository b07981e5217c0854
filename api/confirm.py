"""Double opt-in: the page behind the link of a confirmation mail.

A GET never changes anything, since scanners and previews follow links; the button does.
"""

from flask import Blueprint, Response, request

from api.pages import apologise, broken, page
from api.system import the_system
from config.failpoints import Failpoint
from lists.opt_ins import CONFIRM_WITHIN, Verdict, confirm, look
from utils.failpoints import reach
from utils.ip_addresses import read_ip
from utils.tokens import ConfirmLink, read_confirm_token

pages = Blueprint("confirm", __name__)
apologise(pages)

_ASK = """<p>Press the button, and we will write to you.</p>
<form method="post"><button type="submit">Yes, write to me</button></form>
<p>If you did not ask for this, close the page: nothing will come of it.</p>"""

# Title, text and status for all that is left to say once the link was read.
_SAID: dict[Verdict, tuple[str, str, int]] = {
    Verdict.CONFIRMED: ("Confirmed", "Thank you. You are on the list, and will hear from us.", 200),
    Verdict.USED: (
        "This link was used before",
        "You were confirmed with it, and left later. To come back, please sign up again: we will "
        "send you a new link.",
        200,
    ),
    Verdict.EXPIRED: (
        "This link is too old",
        f"It worked for {CONFIRM_WITHIN.days} days. Please sign up again: we will send you a new "
        "one.",
        410,
    ),
    Verdict.HELD: (
        "This link cannot bring you back",
        "Something else keeps us from writing to this address. Please answer one of our mails, "
        "and we will look into it.",
        409,
    ),
    Verdict.GONE: (
        "There is nothing to confirm",
        "We hold no request of yours: what we knew of this address was deleted. If you want our "
        "mails, please sign up again.",
        410,
    ),
}


@pages.get("/confirm")
def ask() -> Response:
    """A page with one button, or what became of the link."""
    link = _link()
    if link is None:
        return broken()
    system = the_system()
    with system.database.read() as session:
        verdict = look(session, link, system.clock())
    if verdict is Verdict.OPEN:
        return page("Confirm your subscription", _ASK)
    return _tell(verdict)


@pages.post("/confirm")
def say_yes() -> Response:
    """Confirms, and says so as often as it is asked."""
    link = _link()
    if link is None:
        return broken()
    system = the_system()
    with system.unsubscribes.write() as session:
        verdict = confirm(
            session,
            link,
            ip=_ip(),
            agent=request.headers.get("User-Agent", ""),
            now=system.clock(),
        )
        reach(Failpoint.CONFIRM_BEFORE_COMMIT)
    reach(Failpoint.CONFIRM_AFTER_COMMIT)
    return _tell(verdict)


def _ip() -> str | None:
    """As forwarded, it may be any text."""
    found = read_ip(request.remote_addr or "")
    return str(found) if found else None


def _tell(verdict: Verdict) -> Response:
    title, text, status = _SAID[verdict]
    return page(title, "<p>{{ text }}</p>", status, text=text)


def _link() -> ConfirmLink | None:
    return read_confirm_token(the_system().link_keys, request.args.get("token", ""))
