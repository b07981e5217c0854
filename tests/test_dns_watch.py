"""Domains are looked at by the clock and after refusals, with what the ESPs' accounts ask for."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from config.esp_config import EspName
from config.settings import DnsGate, SendingMode
from database.models import DnsCheck, DnsDue, EspDomain
from services import dns_watch
from services.campaigns import create
from services.dns_accounts import records_by_account
from services.dns_results import blocks
from services.housekeeping import Housekeeper
from services.simulator.modes import Mode, Scope
from services.simulator.server import Simulator
from services.system import System
from tests.conftest import Clock
from tests.dns_good import DOMAIN, GOOD_ZONES
from tests.dns_zones import Zones, serving
from tests.own_lists import simulator, system
from tests.people import either_database, postgres
from tests.rig import NEW

__all__ = ["either_database", "postgres", "simulator", "system"]  # fixtures

HOUR = timedelta(hours=1)


@pytest.fixture
def zones() -> Iterator[tuple[Any, Zones]]:
    with serving(GOOD_ZONES) as server:
        yield server


@pytest.fixture
def live(system: System, zones: tuple[Any, Zones]) -> System:
    esps = dict(system.esps)
    esps[EspName.POSTMARK] = replace(esps[EspName.POSTMARK], account_token="account")  # type: ignore[call-arg] # of Postmark alone
    system.esps = esps
    system.settings = replace(
        system.settings,
        sending_mode=SendingMode.LIVE,
        dns_gate=DnsGate.BLOCK,
        esps=esps,
        dns_nameservers=(zones[0],),
        domain_setups={},
    )
    return system


def checks(system: System) -> list[tuple[str, str]]:
    with system.database.read() as session:
        rows = session.scalars(select(DnsCheck).order_by(DnsCheck.id))
        return [(row.domain, row.asked_by) for row in rows]


def campaign_from(system: System, address: str) -> None:
    with system.database.write() as session:
        create(session, replace(NEW, from_email=address), now=system.clock(), sandbox=False)


def test_what_the_accounts_ask_for_is_what_is_looked_for(live: System) -> None:
    asked_for = records_by_account(live, DOMAIN)
    assert set(asked_for) == set(EspName)
    row, _ = dns_watch.check(live, DOMAIN, asked_by="a person")
    wanted = {record.fqdn(DOMAIN) for one in asked_for.values() for record in one.dkim}
    looked_at = {told["host"] for told in row.checks if told["id"] == "dkim.missing"}
    assert wanted <= looked_at
    records = {one.fqdn for one in dns_watch.checker(live, DOMAIN).records()}
    assert wanted <= records


def test_accounts_are_read_seldom_and_what_they_said_outlives_a_failure(
    live: System, simulator: Simulator, clock: Clock
) -> None:
    before = records_by_account(live, DOMAIN)
    for esp in EspName:
        simulator.behave(esp, Mode.UNAUTHORIZED, scope=Scope.LOOKUP)
    for hours in (5, 7):
        clock.now += hours * HOUR
        assert records_by_account(live, DOMAIN) == before
    with live.database.read() as session:
        assert {row.fetched_at for row in session.scalars(select(EspDomain))} == {
            clock.now - 12 * HOUR
        }


def test_a_domain_that_no_account_knows_is_checked_without_them(
    live: System, simulator: Simulator
) -> None:
    simulator.know("other.example")
    assert records_by_account(live, DOMAIN) == {}
    with live.database.read() as session:
        assert {row.records for row in session.scalars(select(EspDomain))} == {None}


def test_domains_that_mail_comes_from_are_looked_at_every_six_hours(
    live: System, clock: Clock
) -> None:
    keeper = Housekeeper(live)
    campaign_from(live, "news@Second.Example")
    for hours in (0, 5, 1, 24 * 31):
        clock.now += hours * HOUR
        keeper.turn(clock.now)
    both = [(DOMAIN, "the clock"), ("second.example", "the clock")]
    assert checks(live) == [*both, *both, both[0]]


@pytest.mark.parametrize(
    ("mode", "gate"), [(SendingMode.SANDBOX, DnsGate.BLOCK), (SendingMode.LIVE, DnsGate.OFF)]
)
def test_nothing_is_asked_in_the_sandbox_or_where_it_is_off(
    mode: SendingMode, gate: DnsGate, live: System, zones: tuple[Any, Zones]
) -> None:
    live.settings = replace(live.settings, sending_mode=mode, dns_gate=gate)
    Housekeeper(live).turn(live.clock())
    assert checks(live) == []
    assert zones[1].asked == []


def test_a_refusal_that_blames_dns_is_followed_by_a_check_at_most_every_ten_minutes(
    live: System, clock: Clock
) -> None:
    keeper = Housekeeper(live)
    keeper.turn(clock.now)
    for minutes in (5, 6, 1):
        clock.now += timedelta(minutes=minutes)
        with live.database.write() as session:
            session.merge(DnsDue(domain=DOMAIN, reason="a refusal with 5.7.26", since=clock.now))
        keeper.turn(clock.now)
    assert checks(live) == [(DOMAIN, "the clock"), (DOMAIN, "a refusal with 5.7.26")]


def test_what_got_worse_is_a_warning_and_blocks(
    live: System, zones: tuple[Any, Zones], caplog: pytest.LogCaptureFixture
) -> None:
    dns_watch.check(live, DOMAIN, asked_by="a person")
    gone = "\n".join(line for line in GOOD_ZONES.splitlines() if "_dmarc" not in line)
    with serving(gone) as (nameserver, _), caplog.at_level(logging.WARNING):
        live.settings = replace(live.settings, dns_nameservers=(nameserver,))
        _, changes = dns_watch.check(live, DOMAIN, asked_by="the clock")
    worse = [change.id for change in changes if change.is_worse]
    assert "dmarc.missing" in worse
    assert any("DNS of example.com got worse: dmarc.missing" in line for line in caplog.messages)
    with live.database.read() as session:
        assert set(blocks(session)) == set(EspName)
