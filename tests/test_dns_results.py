"""What DNS checks come to is kept, compared, and keeps back mail that would fail."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from config.esp_config import EspName
from config.settings import DnsGate
from database.models import CampaignStatus, DnsDue
from database.session import Database
from services.dns_results import blocks, history, latest, store
from tests.conftest import Clock
from tests.people import either_database, postgres
from tests.rig import Rig, rig
from utils.dns.findings import Finding, Status

__all__ = ["either_database", "postgres"]  # fixtures

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DOMAIN = "example.com"
SENDGRID, SES = EspName.SENDGRID, EspName.SES
PASS, INFO, WARN, FAIL, UNKNOWN = Status


def finding(
    status: Status, id: str = "spf.all", esp: EspName | None = None, *, blocks: bool = False
) -> Finding:
    return Finding(
        id=id,
        status=status,
        host=DOMAIN,
        found=f"it is {status}",
        expected="~all",
        remedy="End it with ~all.",
        reference="RFC 7208, 5.1",
        esp=esp,
        blocks=blocks,
    )


BLOCKING = [finding(FAIL, "dkim.missing", esp, blocks=True) for esp in (SENDGRID, SES)]


def stored(database: Database, checks: Sequence[Sequence[Finding]]) -> list[list[str]]:
    """What each of the checks, made an hour apart, changed."""
    told = []
    for hours, findings in enumerate(checks):
        with database.write() as session:
            at = NOW + timedelta(hours=hours)
            changes = store(session, DOMAIN, findings, asked_by="a person", now=at)
        told.append(
            [f"{'worse' if one.is_worse else 'better'} {one.before}>{one.after}" for one in changes]
        )
    return told


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        ([FAIL], [[]]),
        ([PASS, FAIL], [[], ["worse pass>fail"]]),
        ([FAIL, WARN, PASS], [[], ["better fail>warn"], ["better warn>pass"]]),
        ([PASS, INFO], [[], []]),
        ([PASS, UNKNOWN, PASS], [[], [], []]),
        ([PASS, UNKNOWN, UNKNOWN, FAIL], [[], [], [], ["worse pass>fail"]]),
        ([UNKNOWN, FAIL], [[], []]),
        ([UNKNOWN, UNKNOWN], [[], []]),
        ([FAIL, None, FAIL], [[], ["better fail>pass"], ["worse pass>fail"]]),
        ([FAIL, UNKNOWN, None], [[], [], ["better fail>pass"]]),
    ],
)
def test_a_change_is_told_once_and_no_answer_is_none(
    statuses: list[Status | None], told: list[list[str]], either_database: Database
) -> None:
    checks = [[] if status is None else [finding(status)] for status in statuses]
    assert stored(either_database, checks) == told
    with either_database.read() as session:
        rows = history(session, DOMAIN)
        assert [len(changes) for _, changes in reversed(rows)] == [len(one) for one in told]
        newest = latest(session, DOMAIN)
        assert newest is not None
        assert newest.checks == [one.as_dict() for one in checks[-1]]
        assert history(session, "example.net") == []


def test_what_blocks_is_what_the_latest_check_says(either_database: Database) -> None:
    blocked = {DOMAIN: "dkim.missing: End it with ~all."}
    for findings, expected in (
        (BLOCKING, {SENDGRID: blocked, SES: blocked}),
        ([BLOCKING[0], finding(UNKNOWN, "dkim.missing", SES)], {SENDGRID: blocked}),
        ([finding(UNKNOWN, "dkim.missing", SENDGRID)], {}),
        (
            [finding(FAIL, "dmarc.missing", blocks=True)],
            {esp: {DOMAIN: "dmarc.missing: End it with ~all."} for esp in EspName},
        ),
    ):
        stored(either_database, [findings])
        with either_database.read() as session:
            assert blocks(session) == expected


def test_a_check_answers_what_was_due_before_it_began_and_nothing_newer(
    either_database: Database,
) -> None:
    for since, is_left in ((NOW, False), (NOW + timedelta(seconds=1), True)):
        with either_database.write() as session:
            session.merge(DnsDue(domain=DOMAIN, reason="5.7.26", since=since))
        stored(either_database, [[]])
        with either_database.read() as session:
            assert (session.get(DnsDue, DOMAIN) is not None) == is_left


@pytest.fixture
def at(database: Database, clock: Clock) -> Iterator[Rig]:
    with rig(database, clock) as made:
        made.add_people(3)
        yield made


def check(at: Rig, findings: Sequence[Finding], domain: str = DOMAIN) -> None:
    with at.database.write() as session:
        store(session, domain, findings, asked_by="a person", now=at.clock())


def test_mail_goes_to_an_esp_that_may_send_for_its_domain(at: Rig) -> None:
    at.dns_gate = DnsGate.BLOCK
    check(at, BLOCKING[:1])
    at.start()
    assert at.send()["by_esp"] == {"ses": 3}
    assert at.send(from_email="news@example.net")["by_esp"] == {"sendgrid": 3}


@pytest.mark.parametrize("gate", [DnsGate.WARN, DnsGate.OFF])
def test_where_dns_does_not_gate_faults_keep_nothing_back(gate: DnsGate, at: Rig) -> None:
    at.dns_gate = gate
    check(at, BLOCKING)
    at.start()
    assert at.send()["by_esp"] == {"sendgrid": 3}


def test_a_campaign_waits_for_its_dns_and_goes_on_when_a_check_passes(at: Rig) -> None:
    at.dns_gate = DnsGate.BLOCK
    check(at, BLOCKING)
    at.start()
    campaign = at.create(esp=SENDGRID)
    told = at.wait(campaign, CampaignStatus.WAITING)
    assert told["reason"] == (
        "sendgrid may not send for example.com, by its DNS: dkim.missing: End it with ~all."
    )
    check(at, [finding(UNKNOWN, "dkim.missing", SENDGRID)])
    assert at.wait(campaign, CampaignStatus.SENT)["by_esp"] == {"sendgrid": 3}
