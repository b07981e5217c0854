"""The operator's self-test: what it finds, and that it leaves nothing behind."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from config.esp_config import EspName
from config.settings import ROOT, DnsGate
from config.values import Nameserver
from database.models import Segment, Subscriber, Suppression
from services import self_test
from services.base import Account
from services.self_test import Finding, Verdict
from services.simulator.modes import Mode, Scope
from services.simulator.server import SIMULATED
from services.system import System
from tests.dns_zones import serving
from tests.web import API_KEY, SECRET_KEY, system

__all__ = ["system"]

NOWHERE = (Nameserver("127.0.0.1", 9),)


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.dns.lookup.DEADLINE_S", 0.2)


@pytest.fixture
def sandbox(system: System) -> System:
    system.settings = replace(system.settings, dns_nameservers=NOWHERE)
    system.start_simulator()
    return system


def test_an_installation_that_works_passes_and_nothing_is_left_behind(sandbox: System) -> None:
    found = {finding.what: finding for finding in self_test.run(sandbox)}
    assert {what: one.verdict for what, one in found.items()} == {
        "database": Verdict.PASS,
        "subscriber round trip": Verdict.PASS,
        "sendgrid account": Verdict.PASS,
        "ses account": Verdict.PASS,
        "postmark account": Verdict.PASS,
        "DNS of example.com": Verdict.WARN,
        "campaign, dry run": Verdict.PASS,
    }
    assert found["DNS of example.com"].remedy == "Check the network, or set DNS_NAMESERVERS."
    assert all(one.remedy for one in found.values() if one.verdict is not Verdict.PASS)
    with sandbox.database.read() as session:
        counts = [
            session.scalar(select(func.count()).select_from(table))
            for table in (Segment, Subscriber, Suppression)
        ]
    assert counts == [0, 0, 0]
    assert sandbox.simulator is not None
    assert sandbox.simulator.accepted() == dict.fromkeys(SIMULATED, 0)
    sandbox.simulator.stop()


def test_a_key_that_an_esp_does_not_know_fails_with_what_to_do(sandbox: System) -> None:
    assert sandbox.simulator is not None
    sandbox.simulator.behave(EspName.SES, Mode.UNAUTHORIZED, scope=Scope.LOOKUP)
    found = self_test.esp(sandbox.esps[EspName.SES])
    sandbox.simulator.stop()
    assert (found.what, found.verdict) == ("ses account", Verdict.FAIL)
    assert found.remedy.startswith("Check the key of ses in .env")


def test_a_stream_whose_unsubscribes_postmark_handles_is_warned_of(
    sandbox: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Account(detail="stream broadcast (Broadcasts), unsubscribes handled by Postmark")
    monkeypatch.setattr("services.postmark.PostmarkAdapter.account", lambda _: told)
    found = self_test.esp(sandbox.esps[EspName.POSTMARK])
    assert sandbox.simulator is not None
    sandbox.simulator.stop()
    assert (found.verdict, found.found) == (Verdict.WARN, told.detail)


def test_without_an_esp_it_fails(system: System) -> None:
    system.settings = replace(system.settings, dns_nameservers=NOWHERE)
    found = next(one for one in self_test.run(system) if one.what == "ESPs")
    assert found == Finding(
        what="ESPs",
        verdict=Verdict.FAIL,
        found="none is configured",
        remedy="Set the key of one in .env: SENDGRID_API_KEY, AWS_ACCESS_KEY_ID or POSTMARK_API_KEY.",
    )


@pytest.mark.parametrize(
    ("gate", "verdict"), [(DnsGate.BLOCK, Verdict.FAIL), (DnsGate.WARN, Verdict.WARN)]
)
def test_what_is_wrong_in_dns_is_told_and_fails_where_it_keeps_mail_back(
    gate: DnsGate, verdict: Verdict, system: System
) -> None:
    with serving('example.com TXT "v=spf1 mx ~all"') as (nameserver, _):
        system.settings = replace(
            system.settings, dns_nameservers=(nameserver,), dns_gate=gate, domain_setups={}
        )
        found = {one.what: one for one in self_test.dns(system)}
    assert found["DNS of example.com"].remedy == "python3 cli.py dns check"
    assert found["DNS: dmarc.missing"].verdict is verdict
    assert found["DNS: dmarc.missing"].remedy.startswith("Set TXT _dmarc.example.com to ")


def run(tmp_path: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    given = {
        "PATH": os.environ["PATH"],
        "API_KEY": API_KEY,
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": f"sqlite:///{tmp_path}/email.db",
        "DNS_NAMESERVERS": "127.0.0.1:9",
        "COLUMNS": "200",
        **environ,
    }
    command = [sys.executable, "test_system.py"]
    return subprocess.run(
        command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=90, check=False
    )


def test_the_program_prints_a_table_and_exits_0_when_nothing_failed(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "subscriber round trip" in done.stdout


def test_the_program_says_what_is_wrong_with_the_settings(tmp_path: Path) -> None:
    done = run(tmp_path, PORT="many")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("PORT: ")
