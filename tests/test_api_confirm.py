"""Double opt-in and a person's own page over HTTP: a GET changes nothing, and no token opens
a page that it was not made for."""

import re
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete, select

from app import create_app
from database.models import Campaign, CampaignKind, OptIn, Subscriber, Suppression
from services.system import System
from tests.conftest import Clock
from tests.people import add, assert_counters_are_true, reasons, who
from tests.web import call, client, problem, system
from utils.tokens import ConfirmLink, UnsubscribeLink, confirm_token, link_key, unsubscribe_token

__all__ = ["client", "system"]  # fixtures

ANN = "ann@example.com"


def sign_up(client: FlaskClient, **said: Any) -> Any:
    return call(client, "POST", "/add-subscriber", json={"email": ANN, **said})


def confirm_url(system: System, number: int = -1) -> str:
    """The link in the text of a confirmation mail, by default the last."""
    with system.database.read() as session:
        texts = session.scalars(
            select(Campaign.text)
            .where(Campaign.kind == CampaignKind.CONFIRMATION)
            .order_by(Campaign.id)
        ).all()
    [url] = re.findall(r"https?://\S+(/confirm\?token=\S+)", texts[number] or "")
    return str(url)


def person(system: System) -> Subscriber:
    with system.database.read() as session:
        return session.scalars(select(Subscriber)).one()


def own_link(system: System, **said: Any) -> str:
    link = {"email_hash": who(ANN), "subscriber_id": 1, "send_id": 0, **said}
    return unsubscribe_token(system.link_keys[0], UnsubscribeLink(**link))


@pytest.fixture
def preferences(system: System) -> str:
    """The address of Ann's own page."""
    add(system.database, ANN, first_name="Ann")
    return f"/preferences?token={own_link(system)}"


def press(client: FlaskClient, url: str, do: str, **form: str) -> Any:
    return call(client, "POST", url, headers={}, data={"do": do, **form})


# signing up


def test_somebody_new_is_201_pending_and_asked(client: FlaskClient, system: System) -> None:
    answer = sign_up(client, double_opt_in=True, consent={"source": "form", "ip": "192.0.2.1"})
    assert answer.status_code == 201
    assert answer.json["subscriber"]["status"] == "pending"
    assert answer.json["confirmation"] == {
        "sent": True,
        "campaign_id": 1,
        "next_possible_at": "2026-11-25T12:00:00Z",
    }
    with system.database.read() as session:
        opt_in = session.scalars(select(OptIn)).one()
    assert (opt_in.campaign_id, opt_in.source, opt_in.ip) == (1, "form", "192.0.2.1")


def test_asking_again_is_200_and_says_when_the_next_mail_is_possible(
    client: FlaskClient, clock: Clock
) -> None:
    sign_up(client, double_opt_in=True)
    clock.forward(hours=1)
    again = sign_up(client, double_opt_in=True)
    assert (again.status_code, again.json["confirmation"]) == (
        200,
        {"sent": False, "campaign_id": None, "next_possible_at": "2026-11-25T12:00:00Z"},
    )
    clock.forward(hours=23)
    assert sign_up(client, double_opt_in=True).json["confirmation"]["sent"] is True


def test_who_is_active_is_200_and_not_asked(client: FlaskClient, system: System) -> None:
    add(system.database, ANN)
    answer = sign_up(client, double_opt_in=True)
    assert (answer.status_code, answer.json["confirmation"]) == (200, None)


def test_who_left_is_409_or_asked_with_resubscribe(client: FlaskClient, system: System) -> None:
    add(system.database, ANN, first_name="Ann")
    call(client, "POST", f"/unsubscribe?token={own_link(system)}", headers={})
    assert problem(sign_up(client, double_opt_in=True))["type"] == "/problems/suppressed"
    answer = sign_up(client, resubscribe=True, first_name="Bob")
    assert answer.status_code == 200
    assert answer.json["confirmation"]["sent"] is True
    told = answer.json["subscriber"]
    assert (told["status"], told["suppression"]["reason"], told["first_name"]) == (
        *("unsubscribed", "unsubscribed", "Ann"),
    )


def test_a_confirmation_is_not_listed_but_found(client: FlaskClient) -> None:
    sign_up(client, double_opt_in=True)
    assert call(client, "GET", "/campaigns").json == {"campaigns": [], "next": None}
    told = call(client, "GET", "/campaigns/1").json
    assert told is not None
    assert (told["subject"], told["status"]) == ("Please confirm your subscription", "planning")


# confirming


def test_looking_changes_nothing_and_the_button_confirms(
    client: FlaskClient, system: System, clock: Clock
) -> None:
    sign_up(client, double_opt_in=True)
    url = confirm_url(system)
    for method in ("GET", "HEAD", "OPTIONS") * 34:
        assert call(client, method, url, headers={}).status_code == 200
    asked = call(client, "GET", url, headers={})
    assert asked.text.count("<button") == 1
    assert person(system).status == "pending"
    clock.forward(hours=1)
    for _ in range(3):
        done = call(client, "POST", url, headers={"User-Agent": "Phone/1\u00e9 \x01"})
        assert (done.status_code, "Thank you" in done.text) == (200, True)
    ann = person(system)
    assert (ann.status, ann.consent_source, ann.consent_ip, ann.consent_at) == (
        *("active", "double opt-in", "127.0.0.1", clock.now),
    )
    with system.database.read() as session:
        assert session.scalars(select(OptIn.confirmed_agent)).one() == "Phone/1\u00e9  "
    assert_counters_are_true(system.database)


def test_who_left_is_back_with_the_button_and_not_before(
    client: FlaskClient, system: System, clock: Clock
) -> None:
    add(system.database, ANN)
    call(client, "POST", f"/unsubscribe?token={own_link(system)}", headers={})
    clock.forward(minutes=1)
    sign_up(client, resubscribe=True)
    call(client, "GET", confirm_url(system), headers={})
    assert (person(system).status, reasons(system.database)) == ("unsubscribed", ["unsubscribed"])
    call(client, "POST", confirm_url(system), headers={})
    assert (person(system).status, reasons(system.database)) == (
        *("active", ["unsubscribed", "lifted"]),
    )


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("happened", "status", "words"),
    [
        ("erased", 410, "was deleted"),
        ("eight days", 410, "too old"),
        ("blocked by the operator", 409, "cannot bring you back"),
    ],
)
def test_a_link_that_cannot_be_used_says_why_in_kind_words(
    client: FlaskClient,
    system: System,
    clock: Clock,
    method: str,
    happened: str,
    status: int,
    words: str,
) -> None:
    sign_up(client, double_opt_in=True)
    url = confirm_url(system)
    clock.forward(days=8 if happened == "eight days" else 1)
    with system.database.write() as session:
        if happened == "erased":
            session.execute(delete(Subscriber))
        if happened == "blocked by the operator":
            session.add(
                Suppression(
                    email_hash=who(ANN), reason="manual", source="operator", created_at=clock.now
                )
            )
    answer = call(client, method, url, headers={})
    assert (answer.status_code, answer.mimetype, words in answer.text) == (
        *(status, "text/html", True),
    )
    assert "lifted" not in reasons(system.database)


def test_links_signed_with_an_older_secret_still_confirm(
    client: FlaskClient, system: System
) -> None:
    sign_up(client, double_opt_in=True)
    url = confirm_url(system)
    system.link_keys = (link_key("a new secret " * 4), *system.link_keys)
    call(client, "POST", url, headers={})
    assert person(system).status == "active"


PAGES = ("/unsubscribe", "/preferences", "/confirm")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        *(("/confirm", "unsubscribe"), ("/unsubscribe", "confirm"), ("/preferences", "confirm")),
        *((path, broken) for path in PAGES for broken in ("none", "cut off", "forged", "markup")),
    ],
)
def test_no_page_takes_another_pages_token_or_none_of_ours(
    client: FlaskClient, system: System, clock: Clock, method: str, path: str, kind: str
) -> None:
    sign_up(client, double_opt_in=True)
    confirming = ConfirmLink(email_hash=who(ANN), opt_in_id=1, issued_at=clock.now)
    token = {
        "unsubscribe": own_link(system),
        "confirm": confirm_token(system.link_keys[0], confirming),
        "none": "",
        "cut off": own_link(system)[:-2],
        "forged": confirm_token(link_key("somebody else's " * 3), confirming),
        "markup": '"><svg/onload=1>',
    }[kind]
    answer = call(client, method, path, query_string={"token": token}, headers={})
    assert (answer.status_code, "onload" in answer.text) == (400, False)
    assert (person(system).status, reasons(system.database)) == ("pending", [])


@pytest.mark.parametrize("path", PAGES)
def test_every_page_loads_nothing_is_kept_by_nobody_and_fits_a_phone(
    client: FlaskClient, system: System, path: str
) -> None:
    sign_up(client, double_opt_in=True)
    url = confirm_url(system) if path == "/confirm" else f"{path}?token={own_link(system)}"
    page = call(client, "GET", url, headers={})
    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    assert re.search(r"<script|<img|<link|@import|url\(|https?:", page.text) is None
    assert 'name="viewport" content="width=device-width' in page.text
    assert {
        name: page.headers[name]
        for name in (
            *("Content-Security-Policy", "Cache-Control", "Referrer-Policy", "X-Robots-Tag"),
        )
    } == {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex, nofollow",
    }


# a person's own page


def test_it_shows_who_it_is_about_and_not_the_address(
    client: FlaskClient, preferences: str
) -> None:
    page = call(client, "GET", preferences, headers={})
    assert "a***@e***.com" in page.text
    assert ANN not in page.text
    assert 'value="Ann"' in page.text


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_looking_at_it_changes_nothing(
    client: FlaskClient, system: System, preferences: str, method: str
) -> None:
    for _ in range(100):
        url = f"{preferences}&do=unsubscribe"
        assert call(client, method, url, headers={}).status_code == 200
    assert (person(system).status, reasons(system.database)) == ("active", [])


@pytest.mark.parametrize(
    ("do", "until"), [("pause-30", "24 December 2026"), ("pause-90", "22 February 2027")]
)
def test_a_break_ends_by_itself_or_by_the_button(
    client: FlaskClient, system: System, clock: Clock, preferences: str, do: str, until: str
) -> None:
    assert f"before {until}" in press(client, preferences, do).text
    told = call(client, "GET", f"/subscribers/{ANN}").json
    assert told is not None
    assert (told["subscriber"]["status"], told["subscriber"]["suppression"]["reason"]) == (
        *("active", "paused"),
    )
    clock.forward(days=1)
    assert "Your break is over" in press(client, preferences, "pause-0").text
    told = call(client, "GET", f"/subscribers/{ANN}").json
    assert told is not None
    assert told["subscriber"]["suppression"] is None


def test_names_are_corrected_and_shown_as_text(
    client: FlaskClient, system: System, preferences: str
) -> None:
    name = '"><script>alert(1)</script>'
    shown = press(client, preferences, "names", first_name=name, last_name=" O'Neill ")
    assert "Your name is saved" in shown.text
    assert "<script" not in shown.text
    assert (person(system).first_name, person(system).last_name) == (name, "O'Neill")
    press(client, preferences, "names", first_name="", last_name="")
    assert (person(system).first_name, person(system).last_name) == (None, None)


@pytest.mark.parametrize("name", ["x" * 201, "A\r\nBcc: x@example.com", "A\x00"])
def test_a_name_that_cannot_be_kept_is_said_and_stays_in_the_form(
    client: FlaskClient, system: System, preferences: str, name: str
) -> None:
    answer = press(client, preferences, "names", first_name=name, last_name="Lee")
    assert (answer.status_code, "The name must" in answer.text, 'value="Lee"' in answer.text) == (
        *(400, True, True),
    )
    assert (person(system).first_name, person(system).last_name) == ("Ann", None)


def test_leaving_is_for_good_and_the_page_then_does_nothing_else(
    client: FlaskClient, system: System, preferences: str
) -> None:
    assert "off the\nlist" in press(client, preferences, "unsubscribe").text
    for do in ("pause-30", "pause-0", "names", "unsubscribe"):
        assert press(client, preferences, do, first_name="Bob").status_code == 200
    assert (person(system).status, reasons(system.database), person(system).first_name) == (
        *("unsubscribed", ["unsubscribed"], "Ann"),
    )
    assert_counters_are_true(system.database)


@pytest.mark.parametrize("do", ["", "pause-31", "resubscribe", "lift"])
def test_an_order_that_is_none_changes_nothing(
    client: FlaskClient, system: System, preferences: str, do: str
) -> None:
    assert press(client, preferences, do).status_code == 400
    assert (person(system).status, reasons(system.database)) == ("active", [])


def test_the_page_of_somebody_erased_says_so(client: FlaskClient, system: System) -> None:
    url = f"/preferences?token={own_link(system, subscriber_id=99)}"
    assert "You are off the" in call(client, "GET", url, headers={}).text
    assert press(client, url, "pause-30").status_code == 200
    assert reasons(system.database) == []


def test_the_unsubscribe_page_leads_there(
    client: FlaskClient, system: System, preferences: str
) -> None:
    page = call(client, "GET", preferences.replace("/preferences", "/unsubscribe"), headers={})
    assert f'href="{preferences.removeprefix("/")}"' in page.text


@pytest.mark.parametrize(
    ("forwarded", "kept"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("[2001:DB8::9]:4711", "2001:db8::9"),
        ("<b>" + "x" * 1000, None),
    ],
)
def test_of_a_forwarded_address_only_an_address_is_kept(
    client: FlaskClient, system: System, forwarded: str, kept: str | None
) -> None:
    sign_up(client, double_opt_in=True)
    system.settings = replace(system.settings, trusted_proxy_hops=1)
    proxied = create_app(system=system).test_client()
    headers = {"X-Forwarded-For": forwarded}
    assert call(proxied, "POST", confirm_url(system), headers=headers).status_code == 200
    with system.database.read() as session:
        assert session.scalars(select(OptIn.confirmed_ip)).one() == kept
