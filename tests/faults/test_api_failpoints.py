"""What the API said yes to, or would have, when the server dies at the commit of it."""

import json
import random
import re
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from config.failpoints import Failpoint
from tests.faults import oracle
from tests.faults.driver import Server, Site
from tests.faults.http_client import Answer, Client, unsubscribe, wait_until
from tests.faults.promises import assert_promise_kept, site
from tests.faults.tiers import Tier

__all__ = ["site"]  # fixtures

CAMPAIGN = (Failpoint.CAMPAIGN_BEFORE_COMMIT, Failpoint.CAMPAIGN_AFTER_COMMIT)
UNSUBSCRIBE = (Failpoint.UNSUBSCRIBE_BEFORE_COMMIT, Failpoint.UNSUBSCRIBE_AFTER_COMMIT)
CONFIRM = (Failpoint.CONFIRM_BEFORE_COMMIT, Failpoint.CONFIRM_AFTER_COMMIT)
SIGN_UP = (Failpoint.SIGN_UP_BEFORE_COMMIT, Failpoint.SIGN_UP_AFTER_COMMIT)
ERASE = (Failpoint.ERASE_BEFORE_COMMIT, Failpoint.ERASE_AFTER_COMMIT)
IMPORT = (Failpoint.IMPORT_BEFORE_COMMIT, Failpoint.IMPORT_AFTER_COMMIT)
OF_API = {*CAMPAIGN, *UNSUBSCRIBE, *SIGN_UP, *CONFIRM, *IMPORT, *ERASE}
RECIPIENTS = 130
"""More than leave in the long tier."""
PAGE = 10_000
"""Lines that an import commits at once."""


@pytest.fixture
def server(site: Site) -> Server:
    server = site.add_server()
    server.start()
    return server


@pytest.fixture
def with_people(site: Site, server: Server) -> Server:
    """Everybody on the list has had a mail."""
    site.add_people(server.client, RECIPIENTS)
    server.client.send_to_the_end(site.new_mailing("welcome").subject)
    return server


def n_deaths(rng: random.Random, tier: Tier) -> int:
    return rng.choice(tier.failpoint_deaths)


@pytest.mark.parametrize("point", CAMPAIGN)
def test_a_campaign_whose_answer_was_lost_is_made_once_and_answers_the_same_again(
    point: Failpoint, site: Site, with_people: Server, rng: random.Random, tier: Tier
) -> None:
    server, is_made = with_people, point is Failpoint.CAMPAIGN_AFTER_COMMIT
    # Its key makes a campaign once, so that each takes one death of those: two campaigns at least.
    for number in range(tier.api_campaigns + is_made):
        mailing = site.new_mailing(f"news-{number}")
        for _ in range(1 if is_made else n_deaths(rng, tier)):
            site.die_at(point, mailing, server)
            made = f"SELECT COUNT(*) FROM campaigns WHERE subject = '{mailing.subject}'"
            assert ask(site, made) == [(int(is_made),)]
        server.start()
        first = server.client.send_to_the_end(mailing.subject)
        assert first.json["status"] == "sent"
        assert server.client.send_campaign(mailing.subject) == first
    assert_promise_kept(site)


@pytest.mark.parametrize("point", UNSUBSCRIBE)
def test_who_left_when_the_server_died_is_off_the_list_if_that_was_committed(
    point: Failpoint, site: Site, with_people: Server, rng: random.Random, tier: Tier
) -> None:
    """Who was told nothing asks again; the next start begins with that."""
    server, links = with_people, site.ways_out()
    for number in range(tier.api_campaigns):
        asked: list[str] = []
        for leaver in rng.sample(sorted(site.people & set(links)), n_deaths(rng, tier)):
            again, asked = asked, [leaver]

            def leave(again: list[str] = again, leaver: str = leaver) -> None:
                for one in again:
                    site.leaves(one, links[one])
                unsubscribe(links[leaver])

            site.die_in(f"{point}:{1 + len(again)}", server, leave)
            is_off = point is Failpoint.UNSUBSCRIBE_AFTER_COMMIT
            assert is_suppressed(site, leaver) == is_off
        server.start()
        for one in asked:
            site.leaves(one, links[one])
        server.client.send_to_the_end(site.new_mailing(f"news-{number}").subject)
    assert_promise_kept(site)


@pytest.mark.parametrize("point", SIGN_UP)
def test_who_signed_up_when_the_server_died_is_asked_to_confirm_by_one_mail(
    point: Failpoint, site: Site, with_people: Server, rng: random.Random, tier: Tier
) -> None:
    """Another process sends, and lives on: a kill of the one that does may repeat that mail."""
    sender, server = with_people, site.add_server()
    for number in range(tier.api_campaigns):
        email = f"newcomer{number}@example.net"
        is_made = point is Failpoint.SIGN_UP_AFTER_COMMIT
        for _ in range(n_deaths(rng, tier)):
            site.die_in(point, server, partial(ask_to_confirm, server.client, email))
            assert signed_up(site, email) == [(is_made, is_made, is_made)]
        server.start()
        again = ask_to_confirm(server.client, email)
        assert (again.status, again.json["subscriber"]["status"]) == (
            200 if is_made else 201,
            "pending",
        )
        assert again.json["confirmation"]["sent"] is not is_made
        target = page_to_confirm(site, email)
        assert signed_up(site, email) == [(1, 1, 1)]
        assert server.client.call("POST", target).status == 200
        site.people.add(email)
        sender.client.send_to_the_end(site.new_mailing(f"news-{number}").subject)
    assert_promise_kept(site)


@pytest.mark.parametrize("point", ERASE)
def test_who_was_erased_when_the_server_died_is_gone_or_all_there_and_gone_once_asked_again(
    point: Failpoint, site: Site, with_people: Server, rng: random.Random, tier: Tier
) -> None:
    server, is_gone = with_people, point is Failpoint.ERASE_AFTER_COMMIT
    for number in range(tier.api_campaigns):
        email = rng.choice(sorted(site.people))
        target = f"/subscribers/{email}"
        held, mails = (
            oracle.rows_that_name(site.database, email),
            len(site.simulator.mails(to=email)),
        )
        for _ in range(1 if is_gone else n_deaths(rng, tier)):
            site.die_in(point, server, partial(server.client.call, "DELETE", target))
            assert oracle.rows_that_name(site.database, email) == ([] if is_gone else held)
        server.start()
        assert server.client.call("DELETE", target).status == (404 if is_gone else 204)
        assert oracle.rows_that_name(site.database, email) == []
        site.people.remove(email)
        site.erased.add(email)
        server.client.send_to_the_end(site.new_mailing(f"news-{number}").subject)
        assert len(site.simulator.mails(to=email)) == mails > 0
    assert_promise_kept(site)


@pytest.mark.parametrize("point", CONFIRM)
def test_who_confirmed_when_the_server_died_is_on_the_list_once_they_press_again(
    point: Failpoint, site: Site, with_people: Server, rng: random.Random, tier: Tier
) -> None:
    server = with_people
    for number in range(tier.api_campaigns):
        email = f"newcomer{number}@example.net"
        assert ask_to_confirm(server.client, email).status == 201
        target = page_to_confirm(site, email)
        status = f"SELECT status FROM subscribers WHERE email_key = '{email}'"
        for _ in range(n_deaths(rng, tier)):
            site.die_in(point, server, partial(server.client.call, "POST", target))
            is_on = point is Failpoint.CONFIRM_AFTER_COMMIT
            assert ask(site, status) == [("active" if is_on else "pending",)]
        server.start()
        assert server.client.call("POST", target).status == 200
        site.people.add(email)
        server.client.send_to_the_end(site.new_mailing(f"news-{number}").subject)
    assert_promise_kept(site)


@pytest.mark.parametrize("point", IMPORT)
def test_an_import_that_broke_off_is_sent_again_and_everybody_is_there_once(
    point: Failpoint, site: Site, server: Server, rng: random.Random, tier: Tier
) -> None:
    known = 0
    for number in range(tier.api_campaigns):
        lines = [f"file{number}-line{line}@example.net,Ann" for line in range(PAGE + 500)]
        body = "\n".join(["email,first_name", *lines]).encode()
        for _ in range(n_deaths(rng, tier)):
            page = rng.choice((1, 2))
            site.die_in(f"{point}:{page}", server, partial(post_csv, server.client, body))
            stored = page if point is Failpoint.IMPORT_AFTER_COMMIT else page - 1
            assert known < people(site) + 1 <= known + len(lines) + 1
            assert people(site) - known >= min(stored * PAGE, len(lines))
        server.start()
        told = post_csv(server.client, body)
        known += len(lines)
        assert told["created"] + told["updated"] == told["rows"] == len(lines)
        assert people(site) == known
        stats = server.client.call("GET", "/subscriber-stats").json
        assert stats["total"] == known, stats


def ask_to_confirm(client: Client, email: str) -> Answer:
    """Somebody signs up."""
    body = json.dumps({"email": email, "double_opt_in": True}).encode()
    return client.call("POST", "/add-subscriber", body, JSON)


def page_to_confirm(site: Site, email: str) -> str:
    """Behind the link of the one mail that asks them to confirm it.

    The ledger has that mail as accepted: a kill before could send it again, as it may be.
    """
    status = f"SELECT status FROM email_sends WHERE email_key = '{email}'"
    wait_until(lambda: ask(site, status) == [("accepted",)], f"a mail to {email}")
    (mail,) = site.simulator.mails(to=email)
    assert mail.subject == "Please confirm your subscription"
    found = re.search(r"http://\S+/confirm\?token=\S+", mail.text or "")
    assert found is not None
    link = urlsplit(found[0])
    return f"{link.path}?{link.query}"


JSON = {"Content-Type": "application/json"}


def post_csv(client: Client, body: bytes) -> dict[str, int]:
    answer = client.call("POST", "/subscribers/import", body, {"Content-Type": "text/csv"})
    assert answer.status == 200, answer
    told: dict[str, int] = answer.json
    return told


def signed_up(site: Site, email: str) -> list[tuple[int, int, int]]:
    """How many people, requests and mails to confirm there are of an address."""
    return site.query(
        "SELECT COUNT(DISTINCT p.id), COUNT(o.id), COUNT(c.id) FROM subscribers p"
        " LEFT JOIN opt_ins o ON o.subscriber_id = p.id"
        f" LEFT JOIN campaigns c ON c.id = o.campaign_id WHERE p.email_key = '{email}'"
    )


def people(site: Site) -> int:
    ((n, different),) = ask(site, "SELECT COUNT(*), COUNT(DISTINCT email_key) FROM subscribers")
    assert n == different
    return int(n)


def is_suppressed(site: Site, email: str) -> bool:
    found = ask(
        site,
        "SELECT COUNT(*) FROM suppressions x JOIN subscribers p ON p.email_hash = x.email_hash"
        f" WHERE p.email_key = '{email}'",
    )
    return found != [(0,)]


def ask(site: Site, sql: str) -> list[tuple[Any, ...]]:
    return site.query(sql)
