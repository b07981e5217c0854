"""PostgreSQL is shut down as `immediate` under a campaign: the server goes on when it is back."""

import random
import threading
from collections.abc import Iterator, Mapping

import pytest

from tests.faults.driver import Moment, Server, Site
from tests.faults.http_client import wait_until
from tests.faults.postgres_cluster import Cluster, cluster, programs
from tests.faults.promises import MOST_UNDER_WAY, assert_promise_kept, site, unknown
from tests.faults.tiers import Tier

__all__ = ["site"]  # fixtures

RECIPIENTS = 600
LONGEST_S = 2.0
"""That PostgreSQL is away: several times what the engine waits before it asks again."""

pytestmark = pytest.mark.skipif(
    programs() is None, reason="no PostgreSQL programs: its shutdowns are not tried"
)


@pytest.fixture
def postgres() -> Iterator[Cluster]:
    with cluster() as one:
        yield one


@pytest.fixture
def database_settings(postgres: Cluster) -> Mapping[str, str]:
    return {"DATABASE_URL": postgres.url}


@pytest.fixture
def server(site: Site) -> Server:
    server = site.add_server()
    server.start()
    site.add_people(server.client, RECIPIENTS)
    return server


def test_a_database_that_is_shut_down_at_any_moment_doubles_nobody_and_loses_nobody(
    postgres: Cluster, site: Site, server: Server, rng: random.Random, tier: Tier
) -> None:
    """By itself; and every third time the server dies while the database is away, and is
    started again."""
    for number in range(tier.postgres_stops):
        dies = number % 3 == 2
        mailing = site.new_mailing(f"news-{number}")
        moment = Moment(rng.randrange(RECIPIENTS), rng.uniform(0, 0.06))
        with site.under_way(mailing, server.client, moment):
            site.someone_leaves(mailing)
            with postgres.away():
                wait_until(lambda: not is_ready(server), "the server to see it")
                if dies:
                    server.kill()
                threading.Event().wait(rng.uniform(0, LONGEST_S))
            if dies:
                server.start()
        server.client.send_to_the_end(mailing.subject)
        assert unknown(site, mailing) <= MOST_UNDER_WAY
    assert_promise_kept(site)


def is_ready(server: Server) -> bool:
    """503, with what is wrong, while it cannot work; AssertionError when it says less."""
    answer = server.client.call("GET", "/readyz")
    assert answer.status == 200 or answer.json["detail"], answer
    return answer.status == 200
