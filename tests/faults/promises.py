"""What the tests of kills have in common: how the installation sends, and what must hold."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from config.esp_config import EspName
from services.simulator.server import SIMULATED
from tests.faults import oracle
from tests.faults.driver import Mailing, Site, site_in
from tests.faults.oracle import Taken
from tests.faults.tiers import FIGURES

BATCH, CONCURRENCY = 10, 2
MOST_UNDER_WAY = len(EspName) * BATCH * CONCURRENCY
"""Recipients of all calls that may be under way together: what one kill may leave unknown."""
LATENCY_S = 0.03
"""What an ESP takes to answer."""

SETTINGS = {
    "ESP_DISTRIBUTION": "balanced",
    **{f"{esp.upper()}_BATCH_SIZE": str(BATCH) for esp in SIMULATED},
    **{f"{esp.upper()}_CONCURRENCY": str(CONCURRENCY) for esp in SIMULATED},
}
"""Three ESPs that share the mails, in small batches."""


@pytest.fixture
def site(
    tmp_path: Path,
    database_settings: Mapping[str, str],
    record_property: Callable[[str, object], None],
) -> Iterator[Site]:
    """Three ESPs that share the mails, and answers that take a moment."""
    with site_in(tmp_path, settings={**SETTINGS, **database_settings}) as site:
        for esp in SIMULATED:
            site.simulator.behave(esp, "ok", latency_s=LATENCY_S)
        yield site
        record_property(FIGURES, figures(site))


def assert_promise_kept(site: Site) -> None:
    query = site.query
    audiences = {mailing.subject: mailing.audience - site.erased for mailing in site.mailings}
    taken = _as_erased(site, site.taken())
    assert oracle.examine(query, taken, audiences, site.left) == []
    assert site.requests() == oracle.requests_made(query, taken)


def _as_erased(site: Site, taken: list[Taken]) -> list[Taken]:
    """Mails to somebody who was erased, under the name that the ledger has for them."""
    if not site.erased:
        return taken
    named: dict[int, str] = dict(site.query("SELECT id, email_key FROM email_sends"))
    assert site.erased.isdisjoint(named.values())
    return [
        replace(mail, recipient=named[int(mail.send_ref.partition("-")[0])])
        if mail.recipient in site.erased
        else mail
        for mail in taken
    ]


def figures(site: Site) -> dict[str, int]:
    """What a run of a test came to, for people."""
    ((unknown,),) = site.query("SELECT SUM(unknown) FROM campaigns")
    return {
        "campaigns": len(site.mailings),
        "kills": sum(server.kills for server in site.servers),
        "mails": sum(site.simulator.accepted().values()),
        "unknown": int(unknown or 0),
    }


def unknown(site: Site, mailing: Mailing) -> int:
    return oracle.unknown(site.query, mailing.subject)
