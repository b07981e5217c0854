"""What an address says about itself when it comes in: a role, a throw-away mailbox, no mail server.

Facts: `facts/dns_deliverability.md` 5.6. Nobody's mail server is ever asked whether a mailbox
exists: providers block whoever does that.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import cache, lru_cache
from importlib import import_module
from typing import Protocol

from utils.addresses import Address, likely_domain
from utils.dns.lookup import Answer, Found


class Risk(StrEnum):
    """Why an address may not be worth writing to."""

    HARD_ROLE = "hard_role"
    """Read by whoever fights spam, or by nobody: never gets a newsletter."""
    ROLE = "role"
    """A task, not a person: whoever reads it may not be who signed up."""
    DISPOSABLE = "disposable"
    """A mailbox that is thrown away after minutes."""


# Mail to these is a complaint, a trap, or goes nowhere, whoever asked for it.
HARD_ROLES = frozenset(
    (
        *("abuse", "postmaster", "mailer-daemon", "maildaemon", "null", "undisclosed-recipients"),
        *("spam", "phish", "phishing", "ispfeedback", "unsubscribe", "noreply", "no-reply"),
    )
)
# The rest of Mailchimp's list of what a file must not bring.
ROLES = HARD_ROLES | frozenset(
    (
        *("admin", "billing", "compliance", "devnull", "dns", "ftp", "hostmaster", "inoc"),
        *("ispsupport", "list", "list-request", "noc", "privacy", "registrar", "root"),
        *("security", "support", "sysadmin", "tech", "usenet", "uucp", "webmaster", "www"),
    )
)

WORDS = {
    Risk.HARD_ROLE: "role: mail to this address is read by no person who could have asked for it",
    Risk.ROLE: "role: this is the address of a task, not of a person",
    Risk.DISPOSABLE: "disposable: mailboxes of this domain are thrown away after use",
}


def role_of(address: Address) -> Risk | None:
    """What the part before the @ says; `abuse+list` is `abuse`."""
    return _role(address.key.partition("@")[0])


def is_disposable(domain: str) -> bool:
    """Whether `domain` (lower case), or one that it lies under, gives throw-away mailboxes."""
    return _is_disposable(domain)


_DOMAINS_KEPT = 1 << 16
Refuse = Callable[[Address], str | None]
"""Why an address is not taken from a file; `None` when it is."""


def refusals(*, roles: bool = False, disposable: bool = False) -> Refuse:
    """The rule for a file of people. `roles` and `disposable` are taken where that is said;
    the hard roles never are."""
    barred = HARD_ROLES if roles else ROLES
    passed: set[str] = set()

    # Runs for each line of a file of millions: as few steps as can be for an address that passes.
    def refuse(address: Address) -> str | None:
        local, domain = address.key.split("@")
        if local in barred or ("+" in local and local.partition("+")[0] in barred):
            return WORDS[Risk.ROLE if _role(local) is Risk.ROLE else Risk.HARD_ROLE]
        if domain in passed:
            return None
        if not disposable and _is_disposable(domain):
            return WORDS[Risk.DISPOSABLE]
        if len(passed) < _DOMAINS_KEPT:
            passed.add(domain)
        return None

    return refuse


class Mx(StrEnum):
    """Whether a domain takes mail."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """The DNS could not tell: nothing follows from that."""


class Asks(Protocol):
    """What is needed of `utils.dns.lookup.Resolver`."""

    def ask(self, name: str, kind: str) -> Answer: ...


def takes_mail(resolver: Asks, domain: str) -> Mx:
    """By its MX records or, where it has none, its address (RFC 5321 5.1); a null MX (RFC 7505)
    says no."""
    answer = resolver.ask(domain, "MX")
    if answer.found is Found.OK:
        hosts = [record.split()[-1] for record in answer.records if record.split()]
        return Mx.YES if any(host != "." for host in hosts) else Mx.NO
    if answer.found is not Found.NODATA:
        return Mx.NO if answer.found is Found.NXDOMAIN else Mx.UNKNOWN
    found = {resolver.ask(domain, kind).found for kind in ("A", "AAAA")}
    if Found.OK in found:
        return Mx.YES
    return Mx.UNKNOWN if Found.TEMPFAIL in found else Mx.NO


def _role(local: str) -> Risk | None:
    name = local.partition("+")[0]
    if name in HARD_ROLES:
        return Risk.HARD_ROLE
    return Risk.ROLE if name in ROLES else None


@lru_cache(maxsize=1 << 12)
def _is_disposable(domain: str) -> bool:
    known, given = _disposable_domains(), domain
    while "." in domain:
        if domain in known:
            # gmial.com is on the list: whoever typed it is more likely to have meant Gmail.
            return likely_domain(given) is None
        domain = domain.partition(".")[2]
    return False


@cache
def _disposable_domains() -> frozenset[str]:
    """Ten thousand names, read when the first address comes in and not when a process starts."""
    return frozenset(import_module("disposable_email_domains").blocklist)
