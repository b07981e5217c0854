"""A person's own page: take a break, put their name right, or leave. Their token, the one
of every mail's unsubscribe link, is all that is asked for.

A GET never changes anything. Whoever was sent on a mail of ours can open the page too, so it
shows no more than the mail says: the name, and an address without its middle.
"""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response, request
from sqlalchemy.orm import Session

from api.pages import apologise, broken, page
from api.system import the_system
from api.unsubscribe import gone, the_link
from lists.fields import MAX_NAME
from lists.preferences import SOURCE, correct_names, pause, preferences_of
from utils.tokens import UnsubscribeLink

pages = Blueprint("preferences", __name__)
apologise(pages)

_PAGE = """{% if said %}<p class="said" role="status">{{ said }}</p>{% endif %}
{% if wrong %}<p class="said wrong" role="alert">{{ wrong }}</p>{% endif %}
{% if not person.is_on_list %}
<p>{% if person.masked_email %}{{ person.masked_email }} is{% else %}You are{% endif %} off the
list: we do not write to you. To come back, please sign up again.</p>
{% else %}
<p>For {{ person.masked_email }}</p>
<form method="post">
{% if until %}
<p>We will not write to you before {{ until }}.</p>
<button name="do" value="pause-0">Write to me again now</button>
{% else %}
<button name="do" value="pause-30">Take a break for 30 days</button>
<button name="do" value="pause-90">Take a break for 90 days</button>
{% endif %}
</form>
<h2>Your name</h2>
<form method="post">
<label>First name <input name="first_name" value="{{ first_name }}" maxlength="{{ most }}" autocomplete="given-name"></label>
<label>Last name <input name="last_name" value="{{ last_name }}" maxlength="{{ most }}" autocomplete="family-name"></label>
<button class="quiet" name="do" value="names">Save the name</button>
</form>
<h2>Leave</h2>
<form method="post">
<p>We will not write to you again, whatever it is about.</p>
<button class="quiet" name="do" value="unsubscribe">Unsubscribe from everything</button>
</form>
{% endif %}"""


@pages.get("/preferences")
def show() -> Response:
    """How the person stands, and what they can change."""
    link = the_link()
    return _show(link) if link is not None else broken()


@pages.post("/preferences")
def change() -> Response:
    """Does what the button says; an order that is none changes nothing (400)."""
    link = the_link()
    if link is None:
        return broken()
    system, wanted = the_system(), request.form.get("do", "")
    if wanted == "unsubscribe":
        is_known = system.unsubscribes.leave(link, source=SOURCE, now=system.clock())
        return _show(link) if is_known else gone()
    order, done = _ORDERS.get(wanted, (None, ""))
    if order is None:
        return _show(link, wrong="That is not among the choices below.")
    try:
        with system.unsubscribes.write() as session:
            now = system.clock()
            # A link in an old mail, of somebody who left since, changes nothing.
            if preferences_of(session, link, now).is_on_list:
                order(session, link, now)
    except ValueError as error:
        return _show(link, wrong=f"The name {error}.")
    return _show(link, said=done)


def _show(link: UnsubscribeLink, *, said: str = "", wrong: str = "") -> Response:
    system = the_system()
    with system.database.read() as session:
        person = preferences_of(session, link, system.clock())
    given = request.form if wrong and "first_name" in request.form else {}
    until = person.paused_until
    return page(
        "Your mail from us",
        _PAGE,
        400 if wrong else 200,
        person=person,
        first_name=given.get("first_name", person.first_name),
        last_name=given.get("last_name", person.last_name),
        until=until and f"{until.day} {until:%B %Y}",
        most=MAX_NAME,
        said=said if person.is_on_list else "",
        wrong=wrong,
    )


def _pause(days: int) -> Callable[[Session, UnsubscribeLink, datetime], None]:
    return lambda session, link, now: pause(session, link, days, now)


def _rename(session: Session, link: UnsubscribeLink, now: datetime) -> None:
    first_name, last_name = (request.form.get(name, "") for name in ("first_name", "last_name"))
    correct_names(session, link, first_name, last_name, now)


_ORDERS: dict[str, tuple[Callable[[Session, UnsubscribeLink, datetime], None], str]] = {
    "pause-30": (_pause(30), "You have a break of 30 days."),
    "pause-90": (_pause(90), "You have a break of 90 days."),
    "pause-0": (_pause(0), "Your break is over: we will write to you again."),
    "names": (_rename, "Your name is saved."),
}
"""What each button but the last does, and what is said once it is done."""
