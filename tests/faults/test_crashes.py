"""The promise under `kill -9`, SIGTERM and a second process, at moments that chance chooses."""

import random
import time

import pytest

from tests.faults.driver import Moment, Server, Site, random_moments
from tests.faults.http_client import wait_until
from tests.faults.promises import MOST_UNDER_WAY, assert_promise_kept, site, unknown
from tests.faults.tiers import Tier

__all__ = ["site"]  # fixtures

RECIPIENTS = 1_500
TAKE_OVER_WITHIN_S = 3.0
STOP_WITHIN_S = 25.0


@pytest.fixture
def server(site: Site) -> Server:
    server = site.add_server()
    server.start()
    site.add_people(server.client, RECIPIENTS)
    return server


@pytest.mark.parametrize("run", [1, 2])
def test_a_kill_at_any_moment_doubles_nobody_and_loses_nobody(
    run: int, site: Site, server: Server, rng: random.Random, tier: Tier
) -> None:
    kills = 5
    for number in range(tier.random_campaigns):
        mailing = site.new_mailing(f"news-{number}")
        for moment in random_moments(rng, kills, recipients=RECIPIENTS):
            with site.under_way(mailing, server.client, moment):
                site.someone_leaves(mailing)
                server.kill()
            server.start()
        server.client.send_to_the_end(mailing.subject)
        assert unknown(site, mailing) <= kills * MOST_UNDER_WAY
    assert_promise_kept(site)


def test_sigterm_at_any_moment_leaves_nothing_unknown(
    site: Site, server: Server, rng: random.Random, tier: Tier
) -> None:
    for number in range(tier.sigterm_campaigns):
        mailing = site.new_mailing(f"news-{number}")
        for moment in random_moments(rng, 5, recipients=RECIPIENTS):
            with site.under_way(mailing, server.client, moment):
                assert server.terminate() < STOP_WITHIN_S
            server.start()
        answer = server.client.send_to_the_end(mailing.subject)
        assert answer.json["status"] == "sent"
    assert_promise_kept(site)


def test_a_second_process_takes_over_from_one_that_is_killed(
    site: Site, server: Server, rng: random.Random
) -> None:
    second = site.add_server()
    second.start()
    assert second.client.send_campaign("not-ours-to-send").status == 503
    mailing = site.new_mailing("news")
    moment = Moment(taken=rng.randrange(1, RECIPIENTS // 2), later_s=0)
    look_ups = site.look_ups()
    with site.under_way(mailing, server.client, moment):
        server.kill()
    killed_at = time.monotonic()
    wait_until(lambda: site.look_ups() > look_ups, "the second process to look the ESPs up")
    requests = site.requests()
    wait_until(lambda: site.requests() > requests, "the second process to send")
    assert time.monotonic() - killed_at < TAKE_OVER_WITHIN_S
    second.client.send_to_the_end(mailing.subject)
    assert unknown(site, mailing) <= MOST_UNDER_WAY
    assert_promise_kept(site)
