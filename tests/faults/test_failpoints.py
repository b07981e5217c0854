"""The promise when the server dies at each commit and at each step of a call.

For the commits that the API answers for see `test_api_failpoints`.
"""

import random

import pytest

from config.failpoints import Failpoint
from tests.faults import oracle
from tests.faults.driver import Server, Site
from tests.faults.http_client import wait_until
from tests.faults.promises import MOST_UNDER_WAY, assert_promise_kept, site, unknown
from tests.faults.test_api_failpoints import OF_API
from tests.faults.tiers import Tier

__all__ = ["site"]  # fixtures

RECIPIENTS = 500
"""More than three deaths and the way to each can use up."""
OF_SENDING = [point for point in Failpoint if point not in OF_API]
OF_WEBHOOKS = {Failpoint.WEBHOOK_BEFORE_COMMIT, Failpoint.WEBHOOK_AFTER_COMMIT}
OF_RECOVERY = {Failpoint.RECOVERY_BEFORE_COMMIT, Failpoint.RECOVERY_AFTER_COMMIT}
ONCE = {Failpoint.PLAN_BEFORE_COMMIT, Failpoint.FINISH_BEFORE_COMMIT, *OF_RECOVERY}
"""A campaign, or a start, comes by it once."""


@pytest.fixture
def server(site: Site) -> Server:
    """With a list, and ended."""
    server = site.add_server()
    server.start()
    site.add_people(server.client, RECIPIENTS)
    server.kill()
    return server


def deaths(point: Failpoint, n: int, rng: random.Random) -> list[str]:
    """Values of FAILPOINT, for one start after another."""
    if point in OF_RECOVERY:
        return [f"{Failpoint.BODY_SENT}:{rng.randint(1, 4)}", *[f"{point}:1"] * n]
    return [f"{point}:{1 if point in ONCE else rng.randint(1, 4)}" for _ in range(n)]


@pytest.mark.parametrize("point", OF_SENDING)
def test_a_death_at_a_failpoint_doubles_nobody_and_loses_nobody(
    point: Failpoint, site: Site, server: Server, rng: random.Random, tier: Tier
) -> None:
    if point in OF_WEBHOOKS:
        site.simulator.post_webhooks_to(server.url, delay_s=0.0)
    for number in range(tier.failpoint_campaigns):
        mailing = site.new_mailing(f"news-{number}")
        n = rng.choice(tier.failpoint_deaths)
        for failpoint in deaths(point, n, rng):
            site.die_at(failpoint, mailing, server)
        server.start()
        site.someone_leaves(mailing)
        server.client.send_to_the_end(mailing.subject)
        assert unknown(site, mailing) <= n * MOST_UNDER_WAY
        if point in OF_WEBHOOKS:
            wait_until(site.has_told_all, "all webhooks")
        server.kill()
    assert_promise_kept(site)
    if point in OF_WEBHOOKS:
        query = site.query
        assert list(oracle.told_wrongly(query, site.taken())) == []
