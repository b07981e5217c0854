"""Many at once: one key posted by several clients, and people who leave while mail goes out."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.simulator.server import SIMULATED
from tests.faults.driver import Server, Site, site_in
from tests.faults.http_client import Answer, NoAnswer
from tests.faults.promises import SETTINGS, assert_promise_kept
from tests.faults.tiers import Tier

RECIPIENTS = 600
AT_ONCE = 4
LEAVERS = 50
SLOW_S = 1.0
"""So slow that a campaign lasts ten seconds: twice what leaving may take."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path, settings={**SETTINGS, "API_CALLS_PER_MINUTE": "0"}) as site:
        yield site


@pytest.fixture
def server(site: Site) -> Server:
    server = site.add_server()
    server.start()
    return server


def test_clients_that_post_one_key_at_once_make_one_campaign(
    site: Site, server: Server, rng: random.Random, tier: Tier
) -> None:
    site.add_people(server.client, 3)
    races = [site.new_mailing(f"news-{number}") for number in range(tier.idempotency_races)]
    dies_in = rng.choice(races)
    with ThreadPoolExecutor(AT_ONCE) as clients:
        for mailing in races:
            posts = [clients.submit(post, server, mailing.subject) for _ in range(AT_ONCE)]
            if mailing is dies_in:
                server.kill()
                server.start()
            found = {answer.json["campaign_id"] for post in posts if (answer := post.result())}
            last = server.client.send_to_the_end(mailing.subject)
            assert found <= {last.json["campaign_id"]}, mailing.subject
    assert_promise_kept(site)


def post(server: Server, subject: str) -> Answer | None:
    """`None`: it died, or the campaign is under way for another client."""
    try:
        answer = server.client.send_campaign(subject)
    except NoAnswer:
        return None
    assert answer.status in (200, 202, 409), answer
    return None if answer.status == 409 else answer


def test_whoever_leaves_while_a_campaign_goes_out_is_not_written_to_any_more(
    site: Site, server: Server, rng: random.Random, tier: Tier
) -> None:
    site.add_people(server.client, RECIPIENTS)
    server.client.send_to_the_end(site.new_mailing("welcome").subject)
    for esp in SIMULATED:
        site.simulator.behave(esp, "ok", latency_s=SLOW_S)
    for number in range(tier.suppression_rounds):
        links = site.ways_out()
        mailing = site.new_mailing(f"news-{number}")
        posting = site.clients.submit(server.client.send_to_the_end, mailing.subject)
        leavers = rng.sample(sorted(links), LEAVERS)
        for taken, leaver in zip(in_the_first_half(rng), leavers, strict=True):
            site.wait_for(mailing, taken)
            site.leaves(leaver, links[leaver])
        posting.result()
        site.add_people(server.client, LEAVERS)
    assert_promise_kept(site)


def in_the_first_half(rng: random.Random) -> list[int]:
    """Moments for all who leave, once it is planned: when so many mails were taken."""
    return sorted(rng.randrange(1, RECIPIENTS // 2) for _ in range(LEAVERS))
