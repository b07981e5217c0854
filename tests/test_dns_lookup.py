"""A question to DNS comes to one of four things, and a failure is never taken for an absence."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from config.values import Nameserver
from tests.dns_zones import PATIENCE_S, Zones, serving, silent
from utils.dns import lookup
from utils.dns.lookup import Answer, Found, Lookups, Resolver

LONG = " ".join(f'"{"x" * 250}"' for _ in range(16))
ZONES = f"""
example.com        TXT    "v=spf1 " "-all"
example.com        TXT    "a"
example.com        MX     20 b.example.com.
example.com        MX     10 A.Example.com.
example.com        A      192.0.2.1
long.example.com   TXT    {LONG}
odd.example.com    TXT    "\\195\\188\\255<b>"
alias.example.com  CNAME  Other.example.com.
other.example.com  CNAME  example.com.
gone.example.com   CNAME  nobody.example.com.
a.loop.example.com CNAME  b.loop.example.com.
b.loop.example.com CNAME  a.loop.example.com.
cut.example.com    TXT    "whole"
cut.example.com    TRUNCATE
sick.example.com   SERVFAIL
shy.example.com    REFUSED
late.example.com   TIMEOUT
bad.example.com    GARBAGE
bomb.example.com   BOMB
false.example.com  A      192.0.2.3
false.example.com  BOGUS
true.example.com   A      192.0.2.3
true.example.com   VALIDATED
a.b.example.net    A      192.0.2.2
"""


def ok(*records: str, chain: tuple[str, ...] = ()) -> Answer:
    return Answer(found=Found.OK, records=records, chain=chain, ttl=300)


TOLD = [
    ("example.com", "TXT", ok("a", "v=spf1 -all")),
    ("EXAMPLE.com.", "MX", ok("10 a.example.com", "20 b.example.com")),
    ("example.com", "A", ok("192.0.2.1")),
    ("long.example.com", "TXT", ok("x" * 4000)),
    ("odd.example.com", "TXT", ok("ü\\xff<b>")),
    (
        "alias.example.com",
        "TXT",
        ok("a", "v=spf1 -all", chain=("other.example.com", "example.com")),
    ),
    ("alias.example.com", "CNAME", ok("other.example.com")),
    (
        "gone.example.com",
        "TXT",
        Answer(found=Found.NXDOMAIN, chain=("nobody.example.com",)),
    ),
    ("a.loop.example.com", "TXT", Answer(found=Found.NODATA, is_loop=True)),
    ("cut.example.com", "TXT", ok("whole")),
    ("example.com", "AAAA", Answer(found=Found.NODATA)),
    ("b.example.net", "A", Answer(found=Found.NODATA)),
    ("nobody.example.com", "A", Answer(found=Found.NXDOMAIN)),
    (f"{'x' * 64}.example.com", "A", Answer(found=Found.NXDOMAIN)),
    ("a..example.com", "A", Answer(found=Found.NXDOMAIN)),
    ("sick.example.com", "TXT", Answer(found=Found.TEMPFAIL, is_servfail=True)),
    ("shy.example.com", "TXT", Answer(found=Found.TEMPFAIL)),
    ("late.example.com", "TXT", Answer(found=Found.TEMPFAIL)),
    ("bad.example.com", "TXT", Answer(found=Found.TEMPFAIL)),
    ("bomb.example.com", "TXT", Answer(found=Found.TEMPFAIL)),
]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Nameserver, Zones]]:
    with serving(ZONES) as running:
        yield running


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


@pytest.mark.parametrize(("name", "kind", "told"), TOLD)
def test_each_answer_is_one_of_four(
    name: str, kind: str, told: Answer, server: tuple[Nameserver, Zones]
) -> None:
    async def asked() -> Answer:
        return await Lookups([server[0]]).ask(name, kind)

    assert Resolver([server[0]]).ask(name, kind) == told
    assert asyncio.run(asked()) == told


def test_a_signature_is_checked_by_the_resolver_unless_it_is_asked_not_to() -> None:
    async def asked(nameserver: Nameserver) -> list[Answer]:
        lookups = Lookups([nameserver])
        return [
            await lookups.ask("true.example.com", "A"),
            await lookups.ask("false.example.com", "A"),
            await lookups.ask("false.example.com", "A", checking_disabled=True),
        ]

    with serving(ZONES) as (nameserver, _):
        assert asyncio.run(asked(nameserver)) == [
            replace(ok("192.0.2.3"), is_validated=True),
            Answer(found=Found.TEMPFAIL, is_servfail=True),
            ok("192.0.2.3"),
        ]


def test_a_run_asks_each_question_once_and_the_next_run_asks_again() -> None:
    async def run(nameserver: Nameserver) -> int:
        lookups = Lookups([nameserver])
        names = ["example.com", "Example.COM.", "example.com"]
        await asyncio.gather(*(lookups.ask(name, "A") for name in names))
        await lookups.ask("example.com", "A")
        return lookups.count

    with serving(ZONES) as (nameserver, zones):
        assert [asyncio.run(run(nameserver)) for _ in range(2)] == [1, 1]
        assert zones.asked == [("example.com", "A")] * 2


def test_a_run_ends_at_its_deadline_with_everything_unknown() -> None:
    async def run(nameserver: Nameserver) -> list[Answer]:
        lookups = Lookups([nameserver], deadline_s=0.3)
        first = await asyncio.gather(*(lookups.ask(f"{n}.example.com", "A") for n in range(300)))
        return [*first, await lookups.ask("later.example.com", "A")]

    nameserver, taker = silent()
    with taker:
        begin = time.monotonic()
        answers = asyncio.run(run(nameserver))
    assert set(answers) == {Answer(found=Found.TEMPFAIL)}
    assert time.monotonic() - begin < 3


def test_questions_are_asked_side_by_side() -> None:
    async def run(nameserver: Nameserver) -> float:
        lookups, begin = Lookups([nameserver]), time.monotonic()
        await asyncio.gather(*(lookups.ask(f"{n}.example.com", "A") for n in range(40)))
        return time.monotonic() - begin

    with serving(ZONES, latency_s=0.1) as (nameserver, _):
        assert asyncio.run(run(nameserver)) < 40 * 0.1 / 4
