"""A name server on loopback, UDP and TCP, that answers like a resolver from zones in text.

A zone is text as in a zone file, with names in full: `example.com TXT "v=spf1 ~all"`, a line
a record, with a TTL in seconds before the type where it matters; a line `example.com SERVFAIL`,
`TIMEOUT`, `TRUNCATE`, `REFUSED` or `GARBAGE`, `BOMB` (or with a type before it, `example.com TXT TIMEOUT`)
makes the server behave so for that name; of DNSSEC: `BOGUS` (SERVFAIL unless checking is disabled)
and `VALIDATED` (AD). Names that no line has and that lie under none are NXDOMAIN.
"""

import contextlib
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from config.values import Nameserver

TROUBLES = ("SERVFAIL", "TIMEOUT", "TRUNCATE", "REFUSED", "GARBAGE", "BOMB", "BOGUS", "VALIDATED")
TTL = 300
PATIENCE_S = 1.2
"""For `lookup.DEADLINE_S` in tests: what times out does so for good, and cores are shared."""


@dataclass
class Zones:
    """What the server knows, and what it was asked."""

    text: str
    latency_s: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Name and type, in the order they came in, over UDP or TCP."""

    def __post_init__(self) -> None:
        self._records: dict[dns.name.Name, dict[int, dns.rrset.RRset]] = {}
        self._troubles: dict[tuple[dns.name.Name, str], str] = {}
        for line in filter(None, (one.split(";;")[0].strip() for one in self.text.splitlines())):
            self._add(*line.split(maxsplit=2))

    def _add(self, owner: str, kind: str, rest: str = "") -> None:
        name = dns.name.from_text(owner)
        if kind in TROUBLES or rest in TROUBLES:
            self._troubles[name, "" if kind in TROUBLES else kind] = rest or kind
            self._records.setdefault(name, {})
            return
        ttl = TTL
        if kind.isdigit():
            ttl = int(kind)
            kind, rest = rest.split(maxsplit=1)
        rdtype = dns.rdatatype.from_text(kind)
        rdata = dns.rdata.from_text(
            dns.rdataclass.IN, rdtype, rest, origin=dns.name.root, relativize=False
        )
        of_name = self._records.setdefault(name, {})
        if rdtype not in of_name:
            of_name[rdtype] = dns.rrset.RRset(name, dns.rdataclass.IN, rdtype)
        of_name[rdtype].add(rdata, ttl=ttl)

    def answer(self, wire: bytes, *, is_tcp: bool) -> bytes | None:
        """What goes back; `None`: nothing ever does."""
        query = dns.message.from_wire(wire)
        [question] = query.question
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((question.name.to_text(omit_final_dot=True).lower(), kind))
        if self.latency_s:
            time.sleep(self.latency_s)
        lower = question.name.canonicalize()
        trouble = self._troubles.get((lower, kind)) or self._troubles.get((lower, ""))
        response = dns.message.make_response(query, recursion_available=True)
        if trouble == "TIMEOUT":
            return None
        if trouble == "GARBAGE":
            return wire[:2] + b"\x84\x00" + b"\xff" * 20
        if trouble == "BOMB" and is_tcp:
            return bomb(query)
        if trouble == "BOGUS" and not query.flags & dns.flags.CD:
            trouble = "SERVFAIL"
        if trouble in ("SERVFAIL", "REFUSED"):
            response.set_rcode(dns.rcode.from_text(trouble))
            return response.to_wire()
        self._fill(response, question.name, question.rdtype)
        if trouble == "VALIDATED":
            response.flags |= dns.flags.AD
        if trouble in ("TRUNCATE", "BOMB") and not is_tcp:
            response.answer.clear()
            response.flags |= dns.flags.TC
        return response.to_wire(max_size=65535) if is_tcp else self._to_udp(response, query)

    @staticmethod
    def _to_udp(response: dns.message.Message, query: dns.message.Message) -> bytes:
        size = query.payload if query.edns >= 0 else 512
        try:
            return response.to_wire(max_size=max(512, size))
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            return response.to_wire()

    def _fill(self, response: dns.message.Message, name: dns.name.Name, rdtype: int) -> None:
        """Follow CNAMEs as a resolver does, round a loop as often as it likes."""
        for _ in range(20):
            here = self._records.get(name.canonicalize())
            if here is None:
                if not any(one.is_subdomain(name) for one in self._records):
                    response.set_rcode(dns.rcode.NXDOMAIN)
                return
            if rdtype in here:
                response.answer.append(here[rdtype])
                return
            alias = here.get(dns.rdatatype.CNAME)
            if alias is None:
                return
            response.answer.append(alias)
            name = alias[0].target


def bomb(query: dns.message.Message) -> bytes:
    """64 kB of answers, each named by the last of 8,000 compression pointers, one to the next:
    whoever follows them all takes 30 million steps."""
    [question] = query.question
    asked = question.name.to_digestable() + struct.pack("!HH", question.rdtype, 1)
    wire = bytearray(struct.pack("!HHHHHH", query.id, 0x8180, 1, 0, 0, 0) + asked)
    pointers = (0x3FFF - len(wire) - 12) // 2
    wire += struct.pack("!HHHIH", 0xC00C, 65280, 1, TTL, 2 * pointers)
    to = 12
    for _ in range(pointers):
        at = len(wire)
        wire += struct.pack("!H", 0xC000 | to)
        to = at
    answers = 1
    while len(wire) < 65_000:
        wire += struct.pack("!HHHIH", 0xC000 | to, 65280, 1, TTL, 0)
        answers += 1
    struct.pack_into("!H", wire, 6, answers)
    return bytes(wire)


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    max_packet_size = 65535


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextlib.contextmanager
def serving(text: str, *, latency_s: float = 0.0) -> Iterator[tuple[Nameserver, Zones]]:
    """A server of these zones, until the block ends."""
    zones = Zones(text, latency_s)

    class OverUdp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, connection = self.request
            if (found := zones.answer(wire, is_tcp=False)) is not None:
                connection.sendto(found, self.client_address)

    class OverTcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while len(head := self.rfile.read(2)) == 2:
                found = zones.answer(self.rfile.read(struct.unpack("!H", head)[0]), is_tcp=True)
                if found is None:
                    return
                self.wfile.write(struct.pack("!H", len(found)) + found)

    with _same_port(OverUdp, OverTcp) as (udp, tcp):
        for server in (udp, tcp):
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Nameserver("127.0.0.1", tcp.server_address[1]), zones
        for server in (udp, tcp):
            server.shutdown()


@contextlib.contextmanager
def _same_port(
    over_udp: type[socketserver.BaseRequestHandler], over_tcp: type[socketserver.BaseRequestHandler]
) -> Iterator[tuple[_Udp, _Tcp]]:
    """Both servers, on one free port."""
    while True:
        with _Tcp(("127.0.0.1", 0), over_tcp) as tcp:
            try:
                udp = _Udp(tcp.server_address[:2], over_udp)
            except OSError:
                continue
            with udp:
                yield udp, tcp
                return


def silent() -> tuple[Nameserver, socket.socket]:
    """A name server that takes everything and says nothing, for as long as the socket lives."""
    taker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taker.bind(("127.0.0.1", 0))
    return Nameserver("127.0.0.1", taker.getsockname()[1]), taker
