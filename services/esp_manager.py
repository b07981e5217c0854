"""Which ESP gets the next batch, and how large it may be: pure functions of standings."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from random import Random

from config.esp_config import ESPS, EspName
from config.settings import DnsGate, EspDistribution
from database.models import BreakerState
from services.brake import ENOUGH_ACCEPTED, LIMITS, USUAL, Limits, limits_now, why_brake
from services.standing import Standing

LOWEST_SHARE = 0.80
"""An ESP that loses more than one mail in five does more harm than waiting does. Complaints
are no part of it: they brake, at the ESP's own limits."""

ENOUGH_UNHEARD = 100
"""So many mails come to some event, unless nobody tells us of any."""
SILENCE = timedelta(hours=1)
"""ESPs tell of a delivery within minutes."""


def why_not(
    standing: Standing, now: datetime, *, domain: str | None = None, probing: bool = False
) -> str | None:
    """Why an ESP may get no batch now, in words for a person; `None` when it may.

    `domain`: whose mail it is, where faults in DNS keep it back. `probing`: its probe is
    under way, and nothing else may be.
    """
    if domain is not None and (fault := standing.dns_faults.get(domain)) is not None:
        return f"may not send for {domain}, by its DNS: {fault}"
    if (bad := brake_of(standing, now)) is not None:
        return f"brakes: {bad}"
    breaker = standing.breaker
    if breaker.state is BreakerState.OPEN and breaker.open_until and breaker.open_until > now:
        return f"rests until {_clock(breaker.open_until)} after: {breaker.last_error}"
    if breaker.wants_probe() and probing:
        return f"is being probed after: {breaker.last_error}"
    if breaker.throttled_until is not None and breaker.is_throttled(now):
        return f"asked us to wait until {_clock(breaker.throttled_until)}: {breaker.last_error}"
    if standing.day.left == 0:
        return f"daily limit of {standing.day.limit} used, until {_clock(standing.day.resets_at)}"
    if standing.month.left == 0:
        month = standing.month
        return f"monthly limit of {month.limit} used, until {_clock(month.resets_at)}"
    fares = standing.reputation
    if fares.week.accepted >= ENOUGH_ACCEPTED and fares.share_well < LOWEST_SHARE:
        return f"reputation {fares.share_well:.0%} is below {LOWEST_SHARE:.0%}"
    return None


def brake_of(standing: Standing, now: datetime) -> str | None:
    """Which of its figures of seven days brakes an ESP, in words for a person."""
    if not standing.may_brake:
        return None
    return why_brake(standing.reputation.week, limits_of(standing, now))


def limits_of(standing: Standing, now: datetime) -> Limits:
    """The rates above which an ESP brakes, as an override may have raised them."""
    return limits_now(LIMITS.get(standing.esp, USUAL), standing.override, now)


def why_all_brake(standings: Collection[Standing], now: datetime) -> str | None:
    """Why no ESP of these is to carry anything until a person looks; `None`: one may, or
    will by itself."""
    reasons = [f"{s.esp} brakes: {bad}" for s in standings if (bad := brake_of(s, now))]
    return "; ".join(reasons) if reasons and len(reasons) == len(standings) else None


def eligible_again_at(standing: Standing, now: datetime) -> datetime | None:
    """When time alone makes an ESP eligible; `None` when it is, or time alone does not."""
    if brake_of(standing, now) is not None:
        return None
    breaker = standing.breaker
    times = [
        breaker.open_until if breaker.state is BreakerState.OPEN else None,
        breaker.throttled_until,
        standing.day.resets_at if standing.day.left == 0 else None,
        standing.month.resets_at if standing.month.left == 0 else None,
    ]
    return max((time for time in times if time is not None and time > now), default=None)


def why_not_all(standing: Standing, now: datetime, *, domain: str | None = None) -> str:
    """Why an ESP may not get just any mail now, in words for a person."""
    closed = ", ".join(sorted(standing.reputation.closed_to(now)))
    return (
        why_not(standing, now, domain=domain)
        or f"rests at {closed}, where too much of it was blocked"
    )


def opens_at(standing: Standing, now: datetime) -> datetime | None:
    """When time alone lets an ESP carry more than it may now; `None` when it does not."""
    if why_not(standing, now) is None:
        return standing.reputation.opens_at(now)
    return eligible_again_at(standing, now)


def rank(
    standings: Collection[Standing],
    now: datetime,
    *,
    rng: Random,
    domain: str | None = None,
    distribution: EspDistribution = EspDistribution.PRIORITY,
    claimed: Mapping[EspName, int] | None = None,
    probing: Collection[EspName] = (),
) -> list[EspName]:
    """The eligible ESPs, the one for the next batch first.

    `priority`: by priority, and within one by Thompson sampling (each draws from its
    posterior), which finds the better one without ever writing the other off; ranking by
    a lower bound would starve the one with little data.
    `balanced`: the one with the fewest recipients `claimed` in this campaign first.
    """
    eligible = [
        standing
        for standing in standings
        if why_not(standing, now, domain=domain, probing=standing.esp in probing) is None
    ]
    if distribution is EspDistribution.BALANCED:
        counts = claimed or {}
        eligible.sort(key=lambda standing: (counts.get(standing.esp, 0), standing.priority))
    else:
        eligible.sort(key=lambda standing: (standing.priority, -_draw(standing, rng)))
    return [standing.esp for standing in eligible]


def batch_size(standing: Standing, *, most: int) -> int:
    """Recipients the next batch may have: never more than one second's allowance (at least
    1), what the quota leaves, or `most`; a probe has one."""
    if standing.breaker.wants_probe():
        return 1
    sizes = [most, standing.batch_size]
    if standing.per_second is not None:
        sizes.append(max(1, int(standing.per_second)))
    if standing.left is not None:
        sizes.append(standing.left)
    return min(sizes)


def webhook_silence(standing: Standing, now: datetime) -> str | None:
    """What there is to say of an ESP that takes mails and tells of none; `None`: it tells."""
    since = standing.unheard_since
    if standing.unheard < ENOUGH_UNHEARD or since is None or now - since < SILENCE:
        return None
    return f"accepted {standing.unheard} mails since {_clock(since)} and told of none of them"


def webhook_warning(standing: Standing, now: datetime, public_base_url: str) -> str | None:
    """The same with what to do about it."""
    silence = webhook_silence(standing, now)
    if silence is None:
        return None
    setup = webhook_setup(standing.esp, public_base_url)
    return f"{standing.esp} {silence}: is its webhook set up? {setup}".rstrip()


def webhook_setup(esp: EspName, public_base_url: str) -> str:
    """The steps after which an ESP tells this installation of events."""
    return ESPS[esp].webhook_setup.format(url=f"{public_base_url}/engagement-webhook/{esp}")


def gated_domain(address: str, gate: DnsGate) -> str | None:
    """The domain of a From address, where faults in its DNS keep mail back."""
    return address.rpartition("@")[2].lower() if gate is DnsGate.BLOCK else None


def _draw(standing: Standing, rng: Random) -> float:
    fares = standing.reputation
    return rng.betavariate(*fares.posterior) * fares.complaint_factor


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
