"""How an ESP's mail fares, as a whole and at each mailbox provider (facts 6.3).

Two decayed sums for each: what fared well, and what the mailbox provider held against the
ESP. Whatever is the recipient's (no such mailbox, mailbox full) is in neither. Sums are kept
so that events give the same in any order. Beside them each mailbox provider has a window of
the latest outcomes; one in ten blocked, and the ESP rests there, longer each time, while
the others carry that mail.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Table, bindparam, func, select, update
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import EspPerformance, EspPerformanceDay, EspState
from services.brake import COMPLAINTS_PRIOR, Figures

ALL_PROVIDERS = "all"
HALF_LIFE = timedelta(hours=18)
WINDOW = timedelta(days=7)

PRIOR_SUCCESSES, PRIOR_FAILURES = 19.6, 0.4
"""98 % worth 20 mails, so that a new ESP is neither favoured nor shunned."""
PRIOR_MAILS = 20.0
"""What an ESP does as a whole counts for so many mails at each mailbox provider."""
USUAL_COMPLAINTS, HALVING_COMPLAINTS = 0.0005, 0.0025
"""Beyond the usual share, each further such share of complaints halves the score."""

OUTCOMES_PER_WINDOW = 50
MOST_BLOCKS = 5
SHORTEST_REST, LONGEST_REST = timedelta(hours=1), timedelta(hours=12)
PATIENCE = timedelta(hours=6)
"""How long a trial waits for what became of its mails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fare:
    """How a mail fared, as far as one call told, or several alike."""

    mailbox_provider: str
    claimed_at: datetime
    """What it says ages from then on, like the acceptance that it belongs to."""
    delivered: bool
    failure: float
    """1: held against the ESP; less for a delay; 0 otherwise."""
    n: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """How an ESP stands at one mailbox provider now."""

    successes: float = 0.0
    failures: float = 0.0
    rests_until: datetime | None = None
    is_on_trial: bool = False
    """It rested, and what became of the mails since is not known yet: it gets no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reputation:
    """How an ESP fares now."""

    successes: float = 0.0
    failures: float = 0.0
    cells: Mapping[str, Cell] = field(default_factory=dict)
    week: Figures = field(default_factory=Figures)
    """Of the mails sent in the last seven UTC days, today included."""
    complaint_factor: float = 1.0

    @property
    def posterior(self) -> tuple[float, float]:
        """Beta parameters of the chance that a mail fares well."""
        good = PRIOR_SUCCESSES + max(0.0, self.successes)
        return good, PRIOR_FAILURES + max(0.0, self.failures)

    @property
    def share_well(self) -> float:
        """Mean of the posterior; 0..1."""
        a, b = self.posterior
        return a / (a + b)

    @property
    def score(self) -> float:
        """The same, lowered by complaints; 0..1."""
        return self.share_well * self.complaint_factor

    def score_at(self, provider: str) -> float:
        """The same at one mailbox provider, where thin evidence leans on the whole; 0..1."""
        cell = self.cells.get(provider, Cell())
        good = PRIOR_MAILS * self.share_well + cell.successes
        return good / (PRIOR_MAILS + cell.successes + cell.failures) * self.complaint_factor

    def closed_to(self, now: datetime) -> frozenset[str]:
        """Mailbox providers whose mail it gets none of at `now`."""
        return frozenset(
            provider
            for provider, cell in self.cells.items()
            if cell.is_on_trial or (cell.rests_until is not None and cell.rests_until > now)
        )

    def opens_at(self, now: datetime) -> datetime | None:
        """When time alone lets it carry mail again of one of those."""
        rests = [cell.rests_until for cell in self.cells.values() if cell.rests_until is not None]
        return min((until for until in rests if until > now), default=None)


def load_reputations(session: Session, now: datetime) -> dict[EspName, Reputation]:
    """What is known of each ESP that carried anything, in two statements."""
    rows: dict[EspName, dict[str, EspPerformance]] = {}
    for row in session.scalars(_ALL_PERFORMANCE):
        rows.setdefault(row.esp, {})[row.mailbox_provider] = row
    week = _week(session, now)
    return {
        esp: _reputation(rows.get(esp, {}), week.get(esp, Figures()), now)
        for esp in rows.keys() | week.keys()
    }


_ALL_PERFORMANCE = select(EspPerformance)


def note_outcomes(
    session: Session, esp: EspName, now: datetime, *, successes: int, failures: int
) -> None:
    """Add what a call came to. A mail that was accepted counts as well sent until an event
    says otherwise, so an ESP of which no events come is judged by its answers alone."""
    row = _rows(session, esp, [ALL_PROVIDERS], now)[ALL_PROVIDERS]
    _add(row, now, successes=successes, failures=failures)


def note_fares(session: Session, esp: EspName, fares: Sequence[Fare], now: datetime) -> None:
    """Add what events told about mails that an ESP carried."""
    if not fares:
        return
    names = [*sorted({fare.mailbox_provider for fare in fares}), ALL_PROVIDERS]
    rows = _rows(session, esp, names, now)
    for fare in fares:
        cell, at = rows[fare.mailbox_provider], min(fare.claimed_at, now)
        if fare.delivered or fare.failure:
            _add(cell, at, successes=fare.n * fare.delivered, failures=fare.n * fare.failure)
            _note_outcome(cell, fare)
        if fare.failure:
            failures = fare.n * fare.failure
            _add(rows[ALL_PROVIDERS], at, successes=-failures, failures=failures)
    for name in names[:-1]:
        _end_window(rows[name], now)


def note_claimed(
    session: Session, esp: EspName, providers: Mapping[str, int], now: datetime
) -> None:
    """Count what an ESP got of mailbox providers where it is on trial."""
    on_trial = select(EspPerformance).where(
        EspPerformance.esp == esp,
        EspPerformance.mailbox_provider.in_(sorted(providers)),
        EspPerformance.rest_s > 0,
    )
    for row in session.scalars(on_trial):
        if row.window_from is not None and now > row.window_from + PATIENCE:
            row.window_from, row.window_claimed = now, 0
        row.window_claimed += providers[row.mailbox_provider]


def note_heard(session: Session, esp: EspName, now: datetime) -> None:
    """A genuine webhook call of the ESP came in."""
    session.connection().execute(_HEARD, {"carrier": esp, "now": now})


_STATES = cast("Table", EspState.__table__)
_HEARD = (
    update(_STATES)
    .where(_STATES.c.esp == bindparam("carrier"))
    .values(last_event_at=bindparam("now"), unheard=0, unheard_since=None)
)


def note_unheard(session: Session, esp: EspName, accepted: int, now: datetime) -> None:
    """So many more sends were accepted, of which nothing was heard yet."""
    said = {"carrier": esp, "accepted": accepted, "now": now}
    session.connection().execute(_UNHEARD, said)


_UNHEARD = (
    update(_STATES)
    .where(_STATES.c.esp == bindparam("carrier"))
    .values(
        unheard=_STATES.c.unheard + bindparam("accepted"),
        unheard_since=func.coalesce(_STATES.c.unheard_since, bindparam("now")),
    )
)


_NAMED = (
    select(EspPerformance)
    .where(
        EspPerformance.esp == bindparam("carrier"),
        EspPerformance.mailbox_provider.in_(bindparam("names", expanding=True)),
    )
    .order_by(EspPerformance.mailbox_provider)
    .with_for_update()
)


def _rows(
    session: Session, esp: EspName, names: Iterable[str], now: datetime
) -> dict[str, EspPerformance]:
    """The rows with these names, locked in one order, made if need be."""
    wanted = sorted(names)
    found = {
        row.mailbox_provider: row
        for row in session.scalars(
            _NAMED,
            {"carrier": esp, "names": wanted},
            execution_options={"populate_existing": True},
        )
    }
    for name in wanted:
        if name not in found:
            found[name] = EspPerformance(
                esp=esp,
                mailbox_provider=name,
                decayed_at=now,
                **dict.fromkeys(("successes", "failures"), 0.0),
                **dict.fromkeys(
                    ("window_claimed", "window_outcomes", "window_blocks", "rest_s"), 0
                ),
            )
            session.add(found[name])
    return found


def _add(
    row: EspPerformance, at: datetime, *, successes: float = 0.0, failures: float = 0.0
) -> None:
    """Add what counted in full at `at`; the same sum in whatever order."""
    if at > row.decayed_at:
        left = _left(at - row.decayed_at)
        row.successes, row.failures, row.decayed_at = row.successes * left, row.failures * left, at
    counts = _left(row.decayed_at - at)
    row.successes += successes * counts
    row.failures += failures * counts


def _left(age: timedelta) -> float:
    return float(0.5 ** (max(age, timedelta(0)) / HALF_LIFE))


def _note_outcome(cell: EspPerformance, fare: Fare) -> None:
    is_of_window = cell.window_from is None or fare.claimed_at >= cell.window_from
    if is_of_window and (fare.delivered or fare.failure == 1):
        cell.window_outcomes += fare.n
        cell.window_blocks += fare.n * (fare.failure == 1)


def _end_window(cell: EspPerformance, now: datetime) -> None:
    """Rest when too much was blocked; be as before when enough went well."""
    blocks, outcomes = cell.window_blocks, cell.window_outcomes
    if blocks >= MOST_BLOCKS and blocks * OUTCOMES_PER_WINDOW >= MOST_BLOCKS * outcomes:
        rest = min(max(2 * timedelta(seconds=cell.rest_s), SHORTEST_REST), LONGEST_REST)
        cell.rest_s = int(rest.total_seconds())
        cell.rests_until = cell.window_from = now + rest
    elif outcomes >= OUTCOMES_PER_WINDOW:
        cell.rest_s, cell.rests_until = 0, None
    else:
        return
    cell.window_claimed = cell.window_outcomes = cell.window_blocks = 0


def _week(session: Session, now: datetime) -> dict[EspName, Figures]:
    """What became of the mails of the last seven days.

    A day counts as bounced who was refused for good, and as blocked those of them who were
    refused for another reason than their address.
    """
    rows = session.connection().execute(_DAYS_AFTER, {"day": (now - WINDOW).date()})
    return {
        esp: Figures(accepted=int(accepted), complaints=int(complained), invalid=int(invalid))
        for esp, accepted, complained, invalid in rows
    }


_DAYS = cast("Table", EspPerformanceDay.__table__).c
_DAYS_AFTER = (
    select(
        _DAYS.esp,
        func.sum(_DAYS.accepted),
        func.sum(_DAYS.complained),
        func.sum(_DAYS.bounced - _DAYS.blocked),
    )
    .where(_DAYS.mailbox_provider == ALL_PROVIDERS, _DAYS.day > bindparam("day"))
    .group_by(_DAYS.esp)
)


def _reputation(rows: Mapping[str, EspPerformance], week: Figures, now: datetime) -> Reputation:
    whole = rows.get(ALL_PROVIDERS)
    left = _left(now - whole.decayed_at) if whole is not None else 0.0
    return Reputation(
        successes=whole.successes * left if whole is not None else 0.0,
        failures=whole.failures * left if whole is not None else 0.0,
        cells={name: _cell(row, now) for name, row in rows.items() if name != ALL_PROVIDERS},
        week=week,
        complaint_factor=_complaint_factor(week),
    )


def _cell(row: EspPerformance, now: datetime) -> Cell:
    left = _left(now - row.decayed_at)
    waits = row.window_from is not None and now <= row.window_from + PATIENCE
    return Cell(
        successes=row.successes * left,
        failures=row.failures * left,
        rests_until=row.rests_until,
        is_on_trial=waits and row.rest_s > 0 and row.window_claimed >= OUTCOMES_PER_WINDOW,
    )


def _complaint_factor(week: Figures) -> float:
    share = (COMPLAINTS_PRIOR[0] + week.complaints) / (sum(COMPLAINTS_PRIOR) + week.accepted)
    return float(2 ** (-max(0.0, share - USUAL_COMPLAINTS) / HALVING_COMPLAINTS))
