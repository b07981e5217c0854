"""SPF is judged as RFC 7208 has it: one zone for each fault, and what is said of it."""

import asyncio

import pytest

from config.domain_setup import DomainSetup
from config.values import Nameserver
from tests.dns_zones import serving
from tests.spf_zones import CASES, Case
from utils.dns import lookup
from utils.dns.findings import Status
from utils.dns.lookup import Lookups
from utils.dns.spf import Spf, evaluate
from utils.dns.spf_checks import check_apex
from utils.dns.spf_findings import RULES
from utils.dns.subject import Subject

D = "d.example"
PATIENCE_S = 0.5


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


def told(spf: Spf) -> str:
    """As a case has it."""
    counts = f" {spf.lookups}/{len(spf.voids)}" if spf.result == "evaluated" else ""
    return f"{spf.result}{counts}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_rule_is_said_to_be_kept_or_broken(case: Case) -> None:
    async def run(nameserver: Nameserver) -> tuple[Spf, list[tuple[str, Status, str]]]:
        lookups = Lookups([nameserver])
        spf = await evaluate(lookups, D)
        found = await check_apex(lookups, Subject(domain=D, setup=DomainSetup(domain=D)))
        return spf, [(one.id, one.status, one.host) for one in found]

    with serving(case.zone) as (nameserver, _):
        spf, found = asyncio.run(run(nameserver))
    ids = [rule.id for rule in RULES] if len(spf.records) == 1 else list(case.said)
    ids = list(dict.fromkeys(["spf.apex.missing", *ids]))
    assert found == [(id_, case.said.get(id_, Status.PASS), D) for id_ in ids]
    assert told(spf) == case.result
