"""`cli.py dns`, and the page about it: every line it has people type is run."""

import json
import re
import shlex
from collections.abc import Iterator

import pytest

from config.settings import ROOT
from tests.dns_good import DOMAIN, GOOD_ZONES
from tests.dns_zones import serving
from tests.test_commands import Run, run

__all__ = ["run"]  # fixture

PAGE = (ROOT / "docs" / "dns.md").read_text()


@pytest.fixture
def dns(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with serving(GOOD_ZONES) as (nameserver, _):
        monkeypatch.setenv("DNS_NAMESERVERS", f"{nameserver.address}:{nameserver.port}")
        monkeypatch.setenv("SENDING_DOMAIN", DOMAIN)
        yield lambda *arguments: run("dns", *arguments)


def test_a_check_tells_what_is_wrong_and_what_to_do(dns: Run) -> None:
    told = dns("check", "--domain", "new.example")
    assert told.exit_code == 1
    assert "BLOCKS" in told.stdout
    assert "dmarc.missing" in told.stdout
    assert "new.example: fail (" in told.stdout
    assert "pass\n" not in told.stdout


def test_a_check_as_json_is_that_of_the_api(dns: Run) -> None:
    told = json.loads(dns("check", "--json").stdout)
    assert set(told) == {"domain", "status", "checks", "checked_at"}
    assert told["domain"] == DOMAIN
    assert {"id", "status", "esp", "host", "found", "expected", "remedy", "reference"} <= set(
        told["checks"][0]
    )


def test_what_passes_is_shown_when_asked_for(dns: Run) -> None:
    assert "spf.lookups" not in dns("check").stdout
    assert "spf.lookups" in dns("check", "--all").stdout


def test_instructions_are_for_people_zone_files_and_programs(dns: Run) -> None:
    assert dns("instructions").stdout.startswith(f"DNS records for {DOMAIN}\n")
    assert dns("instructions", "--zone").stdout.startswith(f"$ORIGIN {DOMAIN}.\n")
    assert json.loads(dns("instructions", "--json").stdout)["domain"] == DOMAIN


def test_the_history_tells_who_asked_and_what_changed(dns: Run) -> None:
    assert json.loads(dns("history", "--json").stdout) == {"domain": DOMAIN, "checks": []}
    dns("check")
    dns("check")
    told = json.loads(dns("history", "--json").stdout)["checks"]
    assert [(one["asked_by"], one["changes"]) for one in told] == [("a person", [])] * 2
    assert "a person" in dns("history").stdout


def test_what_is_no_domain_is_refused(dns: Run) -> None:
    told = dns("check", "--domain", "no domain")
    assert told.exit_code == 2
    assert "must be a domain like example.com" in told.stderr


def commands() -> list[str]:
    [block] = [text for text in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "cli.py" in text]
    return [line.partition("#")[0].strip() for line in block.splitlines()]


@pytest.mark.parametrize("line", commands())
def test_what_the_page_has_people_type_works(line: str, dns: Run) -> None:
    assert dns(*shlex.split(line)[3:]).exit_code in (0, 1)


def test_the_page_names_every_status() -> None:
    for status in ("pass", "info", "warn", "fail", "unknown"):
        assert f"| `{status}` |" in PAGE
