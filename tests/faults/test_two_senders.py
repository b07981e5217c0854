"""Two server processes on one database: one sends, and the other takes over when it dies."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from services.simulator.server import SIMULATED
from tests.faults.driver import Server, Site, random_moments, site_in
from tests.faults.http_client import wait_until
from tests.faults.promises import (
    LATENCY_S,
    MOST_UNDER_WAY,
    SETTINGS,
    assert_promise_kept,
    figures,
    unknown,
)
from tests.faults.tiers import FIGURES, Tier
from tests.postgres import postgres_database

RECIPIENTS = 800
KILLS = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> Iterator[Site]:
    with postgres_database() if request.param == "postgresql" else nullcontext() as database:
        settings = dict(SETTINGS)
        if database is not None:
            url = database.url.set(drivername="postgresql")
            settings["DATABASE_URL"] = url.render_as_string(hide_password=False)
        with site_in(tmp_path, settings=settings) as site:
            for esp in SIMULATED:
                site.simulator.behave(esp, "ok", latency_s=LATENCY_S)
            yield site
            record_property(FIGURES, figures(site))


def test_two_processes_send_a_campaign_once_whichever_of_them_dies(
    site: Site, rng: random.Random, tier: Tier
) -> None:
    """The one that sends, the other, or both at once, which then recover at once."""
    servers = [site.add_server(), site.add_server()]
    start(site, servers)
    site.add_people(servers[0].client, RECIPIENTS)
    for number in range(tier.two_sender_campaigns):
        mailing, died_sending = site.new_mailing(f"news-{number}"), 0
        for moment in random_moments(rng, KILLS, recipients=RECIPIENTS):
            sender, other = by_role(servers)
            victims = rng.choice(([sender], [sender], [other], [sender, other]))
            with site.under_way(mailing, sender.client, moment):
                site.someone_leaves(mailing)
                for victim in victims:
                    victim.kill()
            died_sending += sender in victims
            start(site, victims)
        by_role(servers)[0].client.send_to_the_end(mailing.subject)
        assert unknown(site, mailing) <= died_sending * MOST_UNDER_WAY
    assert_promise_kept(site)


def start(site: Site, servers: Sequence[Server]) -> None:
    """All at once."""
    for starting in [site.clients.submit(server.start) for server in servers]:
        starting.result()


def by_role(servers: Sequence[Server]) -> list[Server]:
    """The one that sends, then the one that waits; there is one of each before long."""
    wait_until(lambda: sum(map(sends, servers)) == 1, "one of them to send")
    return sorted(servers, key=sends, reverse=True)


def sends(server: Server) -> bool:
    return b"\nemail_engine_sends 1" in server.client.call("GET", "/metrics").body
