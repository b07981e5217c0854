"""An ESP of which nothing is usual is checked against the set-up alone, by its own name."""

import asyncio
from dataclasses import replace
from enum import StrEnum
from typing import cast

import pytest

from config.domain_setup import DomainSetup, EspRecords, Record
from config.esp_config import EspName
from tests.acme.domain import TARGETS, ZONES
from tests.dns_good import DOMAIN, GOOD_SETUP, GOOD_ZONES
from tests.dns_zones import PATIENCE_S, serving
from utils.dns import lookup
from utils.dns.findings import Finding, Status
from utils.dns.full_check import full_check
from utils.dns.instructions import as_text
from utils.dns.lookup import Lookups
from utils.dns.publishing import advice
from utils.dns.senders import Sender, in_region, sender_of
from utils.dns.subject import Subject


class Fourth(StrEnum):
    ACME = "acme"


ACME = cast(EspName, Fourth.ACME)
RECORDS, UNTOLD = (
    EspRecords(
        **{
            purpose: (Record(host=host, type="CNAME", value=target if is_told else None),)
            for purpose, (host, target) in TARGETS.items()
        }
    )
    for is_told in (True, False)
)
MX = Record(host="bounce", type="MX", value=None)
TXT = Record(host="bounce", type="TXT", value=None)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


def subject(esp: EspName, records: EspRecords | None) -> Subject:
    setup = DomainSetup(domain=DOMAIN, esps={esp: records} if records else {})
    return Subject(domain=DOMAIN, setup=setup, esps=(esp,), ses_region="eu-west-1")


def of(esp: EspName, records: EspRecords | None, zones: str = ZONES) -> list[Finding]:
    with serving(zones) as (nameserver, _):
        findings = asyncio.run(full_check(subject(esp, records), [nameserver]))
    return [one for one in findings if one.esp == esp]


def remedies(findings: list[Finding]) -> list[str]:
    """What does not pass, and what to do."""
    return [f"{one.id} {one.status}: {one.remedy}" for one in findings if one.status != "pass"]


@pytest.mark.parametrize("records", [RECORDS, UNTOLD])
def test_a_good_fourth_esp_passes_all_that_others_are_checked_for(records: EspRecords) -> None:
    findings = of(ACME, records)
    assert remedies(findings) == []
    assert all(one.expected and one.found for one in findings)
    of_sendgrid = of(EspName.SENDGRID, GOOD_SETUP.esps[EspName.SENDGRID])
    assert {one.id for one in findings} == {
        one.id.replace("sendgrid", "acme") for one in of_sendgrid
    }


@pytest.mark.parametrize(
    ("records", "zones", "told"),
    [
        (
            None,
            ZONES,
            [
                "dkim.unknown info: Put the DKIM records that the acme panel shows for example.com "
                "into config/domain_setup.json.",
                "spf.rp.missing warn: At acme, set up a return path of your own; then name it in the "
                "set-up of the domain.",
                "dmarc.align.acme unknown: Nothing to change unless it stays so: DNS did not answer, or "
                "the records are not known.",
            ],
        ),
        (
            RECORDS,
            ZONES.replace("CNAME bounces.acme.example.", "CNAME pm.mtasv.net."),
            [
                "spf.rp.missing fail: Change the CNAME of acme.example.com from pm.mtasv.net to "
                "bounces.acme.example.",
                "dmarc.align.one warn: Set up SPF for acme too: one broken record away from failing "
                "DMARC.",
            ],
        ),
        (
            UNTOLD,
            GOOD_ZONES,
            [
                "from.soa fail: Publish the return path records of acme at acme.example.com.",
                "dkim.missing fail: Add the record a1._domainkey.example.com CNAME as the acme panel "
                "shows.",
                "spf.rp.missing fail: Publish acme.example.com CNAME as the acme panel shows.",
                "track.cname warn: Set click.example.com to CNAME as the acme panel shows.",
                "track.resolves warn: Publish click.example.com as the acme panel shows.",
                "dmarc.align.acme fail: Publish the DKIM records of acme for example.com and its "
                "return path below it: as it is, all its mail fails DMARC.",
            ],
        ),
    ],
)
def test_what_is_wrong_is_what_the_set_up_says(
    records: EspRecords | None, zones: str, told: list[str]
) -> None:
    assert remedies(of(ACME, records, zones)) == told


def test_any_mx_and_any_spf_will_do_where_none_is_told() -> None:
    """bounce.example.com has those of SES."""
    findings = of(ACME, replace(RECORDS, return_path=(MX, TXT)))
    assert remedies(findings) == []
    expected = {one.id: one.expected for one in findings}
    assert (expected["rp.mx.acme"], expected["spf.rp.missing"]) == (
        "one MX: as the acme panel shows",
        "TXT as the acme panel shows",
    )


def advised(records: EspRecords | None) -> tuple[list[tuple[str, str | None, Status]], str]:
    """Of ACME: purpose, value and state; and all as text."""

    async def run() -> tuple[list[tuple[str, str | None, Status]], str]:
        told = await advice(Lookups([nameserver]), subject(ACME, records))
        mine = [(one.purpose, one.value, one.status) for one in told if one.esp == ACME]
        return mine, as_text(DOMAIN, told)

    with serving(ZONES) as (nameserver, _):
        return asyncio.run(run())


def test_it_is_advised_what_the_set_up_says_and_nothing_else() -> None:
    assert advised(None)[0] == []
    assert advised(RECORDS)[0] == [
        ("dkim", "a1.keys.acme.example", Status.PASS),
        ("return_path", "bounces.acme.example", Status.PASS),
        ("tracking", "t.acme.example", Status.PASS),
    ]
    told, text = advised(UNTOLD)
    assert told == [(purpose, None, Status.INFO) for purpose in ("dkim", "return_path", "tracking")]
    assert "acme: DKIM [there; compare it with the panel]" in text
    assert "value   copy it from acme: where it shows your domain" in text


def test_an_esp_without_an_entry_has_its_name_alone() -> None:
    assert sender_of(ACME) == Sender(name="acme")


@pytest.mark.parametrize(
    ("esp", "host", "is_theirs"),
    [
        (EspName.SES, "feedback-smtp.eu-west-1.amazonses.com", True),
        (EspName.SES, "feedback-smtp.eu.west.amazonses.com", False),
        (EspName.SES, "feedback-smtp..amazonses.com", False),
        (EspName.SENDGRID, "mx.sendgrid.net", True),
        (EspName.SENDGRID, "mxxsendgrid.net", False),
        (ACME, "mail.example.com", True),
    ],
)
def test_bounces_reach_an_esp_at_its_own_hosts(esp: EspName, host: str, is_theirs: bool) -> None:
    assert sender_of(esp).is_exchange(host) is is_theirs


@pytest.mark.parametrize(
    ("region", "name"), [("eu-west-1", "r.eu-west-1.net"), (None, "r.<region>.net")]
)
def test_a_name_has_its_region_as_far_as_one_is_known(region: str | None, name: str) -> None:
    assert in_region("r.<region>.net", region) == name
