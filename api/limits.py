"""Too many calls: who is counted, by what, and the 429 that says when to come back.

Nothing that must not be lost is refused: no webhook is counted, and no link that we signed is
counted by its address, since mailbox providers post the unsubscribes of thousands of people
from a few. A link by itself is counted, and then only posts: looking changes nothing, and when one
is refused the same was done thirty times.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_network
from typing import cast

from flask import Flask, current_app, request
from sqlalchemy.exc import SQLAlchemyError

from api.errors import Problem
from api.system import the_system
from config.settings import Settings
from database.rate_limits import RateLimit, RateLimits
from services.system import System
from utils.ip_addresses import read_ip
from utils.tokens import read_confirm_token, read_unsubscribe_token

log = logging.getLogger(__name__)

_NAME = "limits"

LINK = RateLimit(name="calls with this link", most=30)
"""Posts to one page with one link: more than any person or mail program makes."""
TEST_MAIL = RateLimit(name="test mails", most=100, within=timedelta(hours=1))
"""They go to any address, so no limit of campaigns holds them."""
OPT_IN_CALLER = RateLimit(
    name="confirmation mails for that address (consent.ip)", most=20, within=timedelta(hours=1)
)
"""Mails that ask for a confirmation, for those who signed up from one address."""

NEVER_COUNTED = frozenset(
    {
        *("/healthz", "/readyz"),
        *("/bounce-webhook", "/complaint-webhook", "/engagement-webhook"),
        *("/bounce-webhook/<esp>", "/complaint-webhook/<esp>", "/engagement-webhook/<esp>"),
    }
)
"""What watches us may ask often; an ESP may give an event up that is refused."""
_LINKS: dict[str, Callable[[tuple[bytes, ...], str], object | None]] = {
    "/unsubscribe": read_unsubscribe_token,
    "/preferences": read_unsubscribe_token,
    "/confirm": read_confirm_token,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an installation allows, and its counts."""

    counts: RateLimits
    key: RateLimit
    wrong_key: RateLimit
    public: RateLimit
    opt_in: RateLimit

    @classmethod
    def of(cls, settings: Settings, counts: RateLimits) -> "Limits":
        hour = timedelta(hours=1)
        return cls(
            counts=counts,
            key=RateLimit(name="calls with this key", most=settings.api_calls_per_minute),
            wrong_key=RateLimit(
                name="wrong keys from your address", most=settings.wrong_keys_per_minute
            ),
            public=RateLimit(name="calls from your address", most=settings.public_calls_per_minute),
            opt_in=RateLimit(
                name="confirmation mails", most=settings.opt_in_mails_per_hour, within=hour
            ),
        )


def register(app: Flask, system: System) -> None:
    counts = RateLimits(system.database, system.hash_key)
    app.extensions[_NAME] = Limits.of(system.settings, counts)


def count_public() -> None:
    """Count a call that needs no key. Raises the 429."""
    rule = request.url_rule.rule if request.url_rule else ""
    if rule in NEVER_COUNTED:
        return
    read = _LINKS.get(rule)
    link = read(the_system().link_keys, request.args.get("token", "")) if read else None
    if link is None:
        _take(_limits().public, caller())
    elif request.method == "POST":
        _take(LINK, f"{rule} {link}")


def count_wrong_key() -> None:
    """Raises the 429 for an address that sent too many."""
    _take(_limits().wrong_key, caller())


def count_right_key(key: str) -> None:
    """Count a call with a key of ours. Raises the 429; also for an address that sent too many wrong
    ones, or guessing would have no limit."""
    limits = _limits()
    _take(limits.key, key, barred=(limits.wrong_key, caller()))


def count_opt_in_mail(ip: str | None) -> None:
    """Count a mail that asks somebody to confirm, who signed up from `ip`. Raises the 429;
    within the transaction that would send it, so that nothing of it stays."""
    if ip is not None:
        _take(OPT_IN_CALLER, _network(ip))
    _take(_limits().opt_in, "all")


def count_test_mail() -> None:
    """Raises the 429."""
    _take(TEST_MAIL, "all")


def caller() -> str:
    """The network that a request is counted for."""
    return _network(request.remote_addr or "")


def _network(address: str) -> str:
    """An IPv6 subscriber has 2^64 addresses; an IPv4 address in IPv6 form is itself. What is no
    address is counted together, or each other text would have a limit of its own."""
    ip = read_ip(address)
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped or ip_network((ip, 64), strict=False))
    return str(ip or "no address")


def _limits() -> Limits:
    return cast(Limits, current_app.extensions[_NAME])


def _take(limit: RateLimit, who: str, *, barred: tuple[RateLimit, str] | None = None) -> None:
    """A count that cannot be kept refuses nobody: what it guards is guarded by more than it."""
    try:
        refusal = _limits().counts.take(limit, who, the_system().clock(), barred=barred)
    except SQLAlchemyError as error:
        log.error("calls cannot be counted: %s", error)
        return
    if refusal is not None:
        raise Problem(
            "too-many-requests",
            f"There were too many {refusal.limit.name}. Come back in {refusal.seconds} s.",
            headers={"Retry-After": str(refusal.seconds)},
        )
