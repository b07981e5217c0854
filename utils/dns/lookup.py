"""One DNS question and its answer, which is one of four: never guess from a failure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import dns.exception
import dns.rdatatype
import dns.resolver

from config.values import Nameserver

DEADLINE_S = 5.0


class Found(StrEnum):
    """What a question came to. Only the first three say anything about the zone."""

    OK = "ok"
    NODATA = "nodata"
    """The name exists, without this type."""
    NXDOMAIN = "nxdomain"
    TEMPFAIL = "tempfail"
    """No answer, or a server that cannot tell: unknown, never "not there"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The records of one name and type, each as text (a TXT in one piece)."""

    found: Found
    records: tuple[str, ...] = ()


class Resolver:
    """Asks the given name servers, or the system's; at most `DEADLINE_S` a question."""

    def __init__(self, nameservers: Sequence[Nameserver] = ()) -> None:
        self._resolver = dns.resolver.Resolver(configure=not nameservers)
        self._resolver.lifetime = DEADLINE_S
        self._resolver.use_edns(0, 0, 1232)
        if nameservers:
            self._resolver.nameservers = [server.address for server in nameservers]
            self._resolver.nameserver_ports = {
                server.address: server.port for server in nameservers
            }

    def ask(self, name: str, kind: str) -> Answer:
        """The records of `name` of type `kind` ("TXT", "MX", …); never raises for an answer."""
        try:
            answer = self._resolver.resolve(name, kind, search=False)
        except dns.resolver.NXDOMAIN:
            return Answer(found=Found.NXDOMAIN)
        except dns.resolver.NoAnswer:
            return Answer(found=Found.NODATA)
        except (dns.exception.DNSException, OSError):
            return Answer(found=Found.TEMPFAIL)
        return Answer(found=Found.OK, records=tuple(_text(record) for record in answer))


def _text(record: object) -> str:
    strings = getattr(record, "strings", None)
    if strings is not None:
        return b"".join(strings).decode("utf-8", "replace")
    return str(record)
