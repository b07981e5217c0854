"""Live mode, whole: the real server, real HTTP, and the simulator at the ESPs' addresses."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.esp_config import EspName
from services.simulator.records import Mail
from services.simulator.server import SIMULATED
from tests.faults.driver import Server, Site, site_in
from tests.faults.http_client import unsubscribe

SUBSCRIBERS = 2_500
SHARES = {EspName.SENDGRID: 1_000, EspName.SES: 800, EspName.POSTMARK: 700}
"""What each ESP's quota leaves to the next one."""
PER_SECOND = {esp: share // 3 for esp, share in SHARES.items()}
"""An ESP lets one and a half seconds' worth through at once: so whoever does not pace is seen."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    settings = {
        **{f"{esp.upper()}_PER_SECOND": str(PER_SECOND[esp]) for esp in SIMULATED},
        **{f"{esp.upper()}_DAILY_LIMIT": str(SHARES[esp]) for esp in SIMULATED},
    }
    with site_in(tmp_path, settings=settings) as site:
        for esp in SIMULATED:
            site.simulator.limit(esp, per_second=PER_SECOND[esp], daily_limit=SHARES[esp])
        yield site


@pytest.fixture
def server(site: Site) -> Server:
    server = site.add_server()
    server.start()
    return server


def test_each_of_2500_is_accepted_once_and_no_limit_is_broken(site: Site, server: Server) -> None:
    site.add_people(server.client, SUBSCRIBERS)
    answer = server.client.send_campaign("News")
    assert (answer.status, answer.json["status"]) == (200, "sent"), answer
    assert answer.json["planned"] == answer.json["counts"]["accepted"] == SUBSCRIBERS
    assert answer.json["by_esp"] == SHARES == site.simulator.accepted()
    assert answer.json["sandbox"] is False
    mails = site.simulator.mails(limit=None)
    assert Counter(mail.recipient for mail in mails) == Counter(site.people)
    assert site.simulator.limit_violations == {}
    assert site.simulator.rendering_failures() == dict.fromkeys(SIMULATED, 0)
    assert [mail for mail in mails if not can_be_left(mail, server)] == []


def can_be_left(mail: Mail, server: Server) -> bool:
    headers = mail.headers or {}
    return (
        headers.get("List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
        and headers.get("List-Unsubscribe", "").startswith(f"<{server.url}/unsubscribe?token=")
        and headers["List-Unsubscribe"].strip("<>") in (mail.html or "")
    )


@pytest.mark.parametrize("esp", SIMULATED)
def test_the_address_in_the_header_unsubscribes_and_the_next_campaign_skips(
    esp: EspName, site: Site, server: Server
) -> None:
    site.add_people(server.client, 3)
    server.client.send_campaign("News", esp=esp)
    [mail] = site.simulator.mails(to="person1@example.net")
    assert mail.headers is not None
    unsubscribe(mail.headers["List-Unsubscribe"])
    known = server.client.call("GET", "/subscribers/person1@example.net").json["subscriber"]
    assert (known["status"], known["suppression"]["source"]) == ("unsubscribed", "one_click")
    audience = {"emails": sorted(site.people)}
    answer = server.client.send_campaign("More", esp=esp, audience=audience).json
    assert (answer["counts"]["accepted"], answer["skipped"]) == (2, {"suppressed": 1})
    assert len(site.simulator.mails(to="person1@example.net")) == 1
