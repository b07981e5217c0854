"""The promise when the wall clock jumps, forward or back, while a campaign goes out."""

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from config.esp_config import EspName
from services.simulator.server import SIMULATED
from tests.faults import oracle
from tests.faults.clock import Clock
from tests.faults.driver import Mailing, Server, Site, site_in
from tests.faults.http_client import Answer, NoAnswer, wait_until
from tests.faults.promises import LATENCY_S, MOST_UNDER_WAY, SETTINGS, figures, unknown
from tests.faults.tiers import FIGURES, Tier

RECIPIENTS = 400
HOUR, DAY, YEAR = 3_600.0, 86_400.0, 365.25 * 86_400.0
FORWARD = (HOUR, 3 * HOUR, DAY, 2 * DAY, 31 * DAY, 11.5 * YEAR)
JUMPS = (*FORWARD, *(-seconds for seconds in FORWARD))
LIMITED, A_DAY = (EspName.SENDGRID, EspName.POSTMARK), 100
"""Two of the three ESPs have a daily quota, less than their share of a campaign."""
MOST_JUMPS = 4


DAY_OF_BATCH = "SELECT id, SUBSTR(started_at, 1, 10) FROM send_batches"


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.fixture
def site(tmp_path: Path, record_property: Callable[[str, object], None]) -> Iterator[Site]:
    limits = {f"{esp.upper()}_DAILY_LIMIT": str(A_DAY) for esp in LIMITED}
    command = (sys.executable, "-m", "tests.faults.serve_with_a_clock", str(tmp_path / "clock"))
    with site_in(tmp_path, settings={**SETTINGS, **limits}, command=command) as site:
        for esp in SIMULATED:
            site.simulator.behave(esp, "ok", latency_s=LATENCY_S)
        yield site
        record_property(FIGURES, figures(site))


def test_a_clock_that_jumps_doubles_nobody_loses_nobody_and_breaks_no_quota(
    site: Site, clock: Clock, rng: random.Random, tier: Tier
) -> None:
    server = site.add_server()
    server.start()
    site.add_people(server.client, RECIPIENTS)
    for number in range(tier.clock_campaigns):
        mailing, kills = site.new_mailing(f"news-{number}"), server.kills
        jumps = rng.choices(JUMPS, k=rng.randint(1, MOST_JUMPS))
        try_it(site, server, clock, mailing, jumps, rng)
        answer = to_the_end(server, clock, mailing)
        assert answer.json["duration_seconds"] >= 0
        assert unknown(site, mailing) <= (server.kills - kills) * MOST_UNDER_WAY
    assert_kept(site)


def try_it(
    site: Site,
    server: Server,
    clock: Clock,
    mailing: Mailing,
    jumps: list[float],
    rng: random.Random,
) -> None:
    """Post it; the clock jumps at moments of chance, one time in four with the server dead."""
    posting = site.clients.submit(server.client.send_campaign, mailing.subject)
    taken = sorted(rng.randrange(RECIPIENTS) for _ in jumps)
    for at, jump in zip(taken, jumps, strict=True):
        site.wait_for(mailing, at, or_until=posting.done)
        if is_down := rng.random() < 0.25:
            server.kill()
        clock.move(jump)
        if is_down:
            server.start()
            with suppress(NoAnswer):
                posting.result()
            posting = site.clients.submit(server.client.send_campaign, mailing.subject)
        site.someone_leaves(mailing)
    posting.result()


def to_the_end(server: Server, clock: Clock, mailing: Mailing) -> Answer:
    """As a person would: who waits for a quota waits for the next day, and what stood still for
    hours, by the clock, is resumed."""
    answers: list[Answer] = []

    def is_at_its_end() -> bool:
        answer = server.client.send_campaign(mailing.subject)
        answers.append(answer)
        if answer.status == 202 and answer.json["status"] == "waiting":
            clock.move(DAY)
        elif answer.status == 200 and answer.json["status"] == "paused":
            assert answer.json["reason"].startswith("stale: "), answer
            target = f"/campaigns/{answer.json['campaign_id']}/resume"
            assert server.client.call("POST", target).status == 200
        return answer.status == 200 and answer.json["status"] in ("sent", "needs_review")

    wait_until(is_at_its_end, f"an end of {mailing.subject}", look_again_s=0.05)
    return answers[-1]


def assert_kept(site: Site) -> None:
    """The ESPs' clock and the server's cannot be compared, so who left is looked up by campaign:
    they are in no audience of a later one."""
    query = site.query
    audiences = {mailing.subject: mailing.audience for mailing in site.mailings}
    taken = site.taken()
    faults = oracle.examine(query, taken, audiences, site.left)
    assert [fault for fault in faults if fault.kind != "unwanted"] == []
    unwanted = [mail for mail in taken if mail.recipient not in audiences[mail.subject]]
    assert unwanted == []
    batch_of: dict[int, int] = dict(query("SELECT id, batch_id FROM email_sends"))
    day_of: dict[int, str] = dict(query(DAY_OF_BATCH))
    a_day = Counter(
        (mail.esp, day_of[batch_of[int(mail.send_ref.partition("-")[0])]])
        for mail in taken
        if mail.esp in LIMITED
    )
    assert max(a_day.values()) <= A_DAY
