"""The promise under `kill -9`, SIGTERM and a second process, at moments that chance chooses."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.esp_config import EspName
from services.simulator.server import SIMULATED
from tests.faults import oracle
from tests.faults.driver import Mailing, Moment, Server, Site, random_moments, site_in
from tests.faults.http_client import wait_until

RECIPIENTS = 1_500
BATCH, CONCURRENCY = 10, 2
MOST_UNDER_WAY = len(EspName) * BATCH * CONCURRENCY
"""Recipients of all calls that may be under way together: what one kill may leave unknown."""
LATENCY_S = 0.03
TAKE_OVER_WITHIN_S = 3.0
STOP_WITHIN_S = 25.0

SETTINGS = {
    "ESP_DISTRIBUTION": "balanced",
    **{f"{esp.upper()}_BATCH_SIZE": str(BATCH) for esp in SIMULATED},
    **{f"{esp.upper()}_CONCURRENCY": str(CONCURRENCY) for esp in SIMULATED},
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Three ESPs that share the mails, small batches, and answers that take a moment."""
    with site_in(tmp_path, settings=SETTINGS) as site:
        for esp in SIMULATED:
            site.simulator.behave(esp, "ok", latency_s=LATENCY_S)
        yield site


@pytest.fixture
def server(site: Site) -> Server:
    server = site.add_server()
    server.start()
    site.add_people(server.client, RECIPIENTS)
    return server


def assert_promise_kept(site: Site) -> None:
    query = oracle.sqlite_query(site.database)
    audiences = {mailing.subject: mailing.audience for mailing in site.mailings}
    taken = site.taken()
    assert oracle.examine(query, taken, audiences, site.left) == []
    assert site.requests() == oracle.requests_made(query, taken)


def unknown(site: Site, mailing: Mailing) -> int:
    return oracle.unknown(oracle.sqlite_query(site.database), mailing.subject)


@pytest.mark.parametrize("run", [1, 2])
def test_a_kill_at_any_moment_doubles_nobody_and_loses_nobody(
    run: int, site: Site, server: Server, rng: random.Random
) -> None:
    kills = 5
    for number in (1, 2):
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
    site: Site, server: Server, rng: random.Random
) -> None:
    mailing = site.new_mailing("news")
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
