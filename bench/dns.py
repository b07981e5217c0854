"""A full check of a domain against checkdmarc, at 50 ms a question; and with nobody to answer."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median

import checkdmarc
import checkdmarc.utils
from dns.nameserver import Do53Nameserver

from bench.tables import Row, Tables
from config.esp_config import EspName
from config.values import Nameserver
from tests.dns_good import DOMAIN, GOOD_SETUP, GOOD_ZONES, REGION
from tests.dns_zones import serving, silent
from utils.dns.findings import Finding, Status
from utils.dns.full_check import full_check
from utils.dns.subject import Subject

INCLUDES = "include:sendgrid.net include:amazonses.com include:spf.mtasv.net"
LATENCY_S = 0.05
# As most domains have it: every sender in the SPF record of the domain, which needs none of them,
# two mail servers, reports of TLS. (Nothing that checkdmarc would fetch over HTTPS.)
ZONES = f"""
{GOOD_ZONES.replace('"v=spf1 mx ~all"', f'"v=spf1 mx {INCLUDES} ~all"')}
example.com            MX   20 mx2.example.com.
mx2.example.com        A    198.51.100.25
_smtp._tls.example.com TXT  "v=TLSRPTv1; rua=mailto:tls@example.com"
sendgrid.net           TXT  "v=spf1 ip4:167.89.0.0/17 include:ab.sendgrid.net ~all"
ab.sendgrid.net        TXT  "v=spf1 ip4:223.165.113.0/24 ~all"
spf.mtasv.net          TXT  "v=spf1 ip4:50.31.156.96/27 ~all"
"""
SUBJECT = Subject(domain=DOMAIN, setup=GOOD_SETUP, esps=tuple(EspName), ses_region=REGION)


def run(times: int) -> Tables:
    """`times` runs of each, in turns; medians."""
    with name_server() as (nameserver, asked):
        rounds = [
            {side: measured(look, nameserver, asked) for side, look in SIDES.items()}
            for _ in range(times)
        ]
    rows: list[Row] = []
    for side in SIDES:
        took = median(one[side]["s"] for one in rounds)
        rows.append({**rounds[-1][side], "side": side, "s": round(took, 3)})
    for row in rows:
        row["x peer"] = round(rows[-1]["s"] / row["s"], 1)
    return {"a good domain, 50 ms a question": rows, "nobody answers": [unanswered()]}


@contextmanager
def name_server() -> Iterator[tuple[Nameserver, Callable[[], int]]]:
    """A process of its own, and how many questions it was asked since the last time."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, ZONES), daemon=True)
    process.start()
    nameserver = here.recv()

    def asked() -> int:
        here.send(None)
        n: int = here.recv()
        return n

    yield nameserver, asked
    process.terminate()


def _serve(pipe: Connection, zones_text: str) -> None:
    with serving(zones_text, latency_s=LATENCY_S) as (nameserver, zones):
        pipe.send(nameserver)
        while True:
            pipe.recv()
            pipe.send(len(zones.asked))
            zones.asked.clear()


def measured(
    look: Callable[[Nameserver], int], nameserver: Nameserver, asked: Callable[[], int]
) -> Row:
    begin = time.perf_counter()
    checks = look(nameserver)
    took = time.perf_counter() - begin
    return {"side": "", "checks": checks, "questions": asked(), "s": took}


def ours(nameserver: Nameserver) -> int:
    """Checks made; `AssertionError` when one of them did not pass."""
    findings = checked(nameserver)
    wrong = [one.id for one in findings if one.status not in (Status.PASS, Status.INFO)]
    assert not wrong, wrong
    return len(findings)


def peer(nameserver: Nameserver) -> int:
    """Of checkdmarc: SPF, DMARC, MX, SOA, NS, MTA-STS and TLS-RPT count as one check each."""
    checkdmarc.utils.DNS_CACHE.clear()
    answerer = Do53Nameserver(nameserver.address, nameserver.port)
    found = checkdmarc.check_domains([DOMAIN], nameservers=[answerer])
    assert (found["spf"]["valid"], found["dmarc"]["valid"]) == (True, True)
    return sum(isinstance(part, dict) for part in found.values())


SIDES: dict[str, Callable[[Nameserver], int]] = {"ours": ours, "checkdmarc": peer}


def unanswered() -> Row:
    """`AssertionError` when anything is said to be known."""
    nameserver, taker = silent()
    with taker:
        begin = time.perf_counter()
        findings = checked(nameserver)
    assert {one.status for one in findings} == {Status.UNKNOWN}
    return {"side": "ours", "unknown": len(findings), "s": round(time.perf_counter() - begin, 1)}


def checked(nameserver: Nameserver) -> list[Finding]:
    return asyncio.run(full_check(SUBJECT, [nameserver]))
