"""Who opened and clicked: the touches of a send, judged anew whenever one is added.

A verdict rests on all touches of the send and on those of others at the same moment (a
gateway opens the mails of all its readers at once), so it is the same in whatever order
they are told, and a late one may change it.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Row, Select, Table, and_, bindparam, literal_column, or_, select
from sqlalchemy.orm import Session

from database.models import EmailSend, TallyKind, WebhookEvent
from lists.touches import Counts, Touch, counts, interest, judge, last_interest
from services.event_recorder.resolving import Told, locked_sends, slices
from services.event_recorder.sends import SendChange, change_of
from services.events import EventKind

CROWD = 5
"""So many recipients touched from one place, with one program, within a minute of each other."""
MINUTE = timedelta(seconds=60)
SPANS_PER_QUERY, FEW_SPANS = 100, 8

TOUCHES = (EventKind.OPENED, EventKind.CLICKED)
# The partial index is used only where the statement says the very words of its condition.
_EVENTS = cast("Table", WebhookEvent.__table__)
_IS_TOUCH = _EVENTS.c.kind.in_([literal_column("'opened'"), literal_column("'clicked'")])
_TOUCHES_OF = select(
    _EVENTS.c.id,
    _EVENTS.c.send_id,
    _EVENTS.c.kind,
    _EVENTS.c.occurred_at,
    _EVENTS.c.agent,
    _EVENTS.c.link,
    _EVENTS.c.origin,
).where(_EVENTS.c.send_id.in_(bindparam("sends", expanding=True)), _IS_TOUCH)


_Row = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person did with one mail, as far as it can be told."""

    interest: float = 0.0
    last_at: datetime | None = None
    counts: Counts = field(default_factory=Counts)


@dataclass(slots=True)
class Judged:
    """A send whose verdict may have changed."""

    change: SendChange
    before: Verdict
    after: Verdict

    @property
    def machines(self) -> dict[TallyKind, int]:
        """By how much the counts of what machines did change."""
        before, after = self.before.counts, self.after.counts
        return {
            TallyKind.MACHINE_OPENED: after.machine_opened - before.machine_opened,
            TallyKind.MACHINE_CLICKED: after.machine_clicked - before.machine_clicked,
        }


def judge_touches(
    session: Session, changes: dict[int, SendChange], told: Iterable[Told]
) -> list[Judged]:
    """Judge the sends with new touches, or with a delivery beside old ones; notes it in `changes`.

    Sends of others that a new touch makes part of a crowd are added to `changes`.
    """
    touches = [one for one in told if one.send is not None and one.event.kind in TOUCHES]
    new = {one.id: one for one in touches if not one.was_counted}
    wanted = {one.send.id for one in touches if one.send is not None}
    wanted |= {
        i for i, change in changes.items() if change.send.delivered_at != change.delivered_at
    }
    if not wanted:
        return []
    crowds = _Crowds(session, wanted, new)
    for send_id, send in locked_sends(session, crowds.drawn_in - changes.keys()).items():
        changes[send_id] = change_of(send, ())
    wanted |= crowds.drawn_in
    rows = _touches(session, wanted)
    judged = []
    for send_id in sorted(rows):
        change = changes[send_id]
        before = [row for row in rows[send_id] if row.id not in new]
        verdict = _verdict(rows[send_id], change.delivered_at, crowds.after)
        change.interest = verdict.interest
        change.opened, change.clicked = verdict.counts.opened, verdict.counts.clicked
        judged.append(
            Judged(change, _verdict(before, change.send.delivered_at, crowds.before), verdict)
        )
    return judged


def last_interest_of(session: Session, subscriber_id: int, email_key: str) -> datetime | None:
    """The newest sign of interest of a person, over all their sends: a repair, seldom needed,
    when what had been the newest turns out to be a machine's."""
    campaigns = select(EmailSend.campaign_id).distinct()
    sends = session.execute(
        select(EmailSend.id, EmailSend.delivered_at).where(
            EmailSend.campaign_id.in_(campaigns),
            EmailSend.email_key == email_key,
            EmailSend.subscriber_id == subscriber_id,
            EmailSend.interest > 0,
        )
    ).all()
    delivered = {row.id: row.delivered_at for row in sends}
    rows = _touches(session, delivered)
    crowds = _Crowds(session, set(delivered), {})
    times = [_verdict(rows[i], delivered[i], crowds.after).last_at for i in rows]
    return max((time for time in times if time is not None), default=None)


def _verdict(
    rows: Sequence[_Row], delivered_at: datetime | None, crowded: Collection[int]
) -> Verdict:
    touches = [
        Touch(
            kind=row.kind,
            at=row.occurred_at,
            agent=row.agent,
            link=row.link,
            crowded=row.id in crowded,
        )
        for row in rows
    ]
    if not touches:
        return Verdict()
    labels = judge(touches, delivered_at)
    return Verdict(
        interest(touches, labels), last_interest(touches, labels), counts(touches, labels)
    )


def _touches(session: Session, send_ids: Collection[int]) -> Mapping[int, list[_Row]]:
    found: dict[int, list[_Row]] = defaultdict(list)
    for some in slices(sorted(send_ids)):
        rows = session.connection().execute(_TOUCHES_OF, {"sends": some}).all()
        for row in rows:
            found[row.send_id].append(row)
    return found


class _Crowds:
    """Which touches are part of a crowd, without the new ones and with them."""

    def __init__(self, session: Session, send_ids: set[int], new: Mapping[int, Told]) -> None:
        self.before: set[int] = set()
        self.after: set[int] = set()
        self.drawn_in: set[int] = set()
        """Sends of touches that became part of one through a new touch."""
        for wanted in (send_ids, self.drawn_in):
            for rows in self._by_origin(session, set(wanted)):
                self._look(rows, new)

    def _by_origin(self, session: Session, send_ids: set[int]) -> Iterable[list[_Row]]:
        """All touches of each origin that could be in a crowd with one of these sends."""
        times: dict[int, list[datetime]] = defaultdict(list)
        for rows in _touches(session, send_ids).values():
            for row in rows:
                if row.origin is not None:
                    times[row.origin].append(row.occurred_at)
        spans = [
            (origin, span) for origin in sorted(times) for span in _spans(sorted(times[origin]))
        ]
        found: dict[int, list[_Row]] = defaultdict(list)
        for some in slices(spans, SPANS_PER_QUERY):
            places = FEW_SPANS if len(some) <= FEW_SPANS else SPANS_PER_QUERY
            near = session.connection().execute(_near(places), _said(some, places)).all()
            for row in near:
                if row.send_id is not None:  # of another installation, or of a campaign deleted
                    found[row.origin].append(row)
        for rows in found.values():
            yield sorted(rows, key=lambda row: row.occurred_at)

    def _look(self, rows: list[_Row], new: Mapping[int, Told]) -> None:
        if len(rows) < CROWD:
            return
        times = [row.occurred_at for row in rows]
        for row in rows:
            near = rows[
                bisect_left(times, row.occurred_at - MINUTE) : bisect_right(
                    times, row.occurred_at + MINUTE
                )
            ]
            with_new = len({one.send_id for one in near}) >= CROWD
            without = len({one.send_id for one in near if one.id not in new}) >= CROWD
            if with_new:
                self.after.add(row.id)
            if without and row.id not in new:
                self.before.add(row.id)
            if with_new and not without:
                self.drawn_in.add(row.send_id)


_Span = tuple[int, tuple[datetime, datetime]]
"""An origin, and a stretch of time."""


# To build one takes longer than all else that is done about crowds, so there are two sizes.
@lru_cache
def _near(n: int) -> Select[Any]:
    """The touches in `n` spans."""
    c = _EVENTS.c
    spans = (
        and_(
            c.origin == bindparam(f"origin{i}"),
            c.occurred_at.between(bindparam(f"first{i}"), bindparam(f"last{i}")),
        )
        for i in range(n)
    )
    return select(c.id, c.send_id, c.origin, c.occurred_at).where(or_(*spans))


def _said(spans: Sequence[_Span], places: int) -> dict[str, Any]:
    """Its parameters; the last span stands in all places that are left."""
    said: dict[str, Any] = {}
    for i in range(places):
        origin, (first, last) = spans[min(i, len(spans) - 1)]
        said |= {f"origin{i}": origin, f"first{i}": first, f"last{i}": last}
    return said


def _spans(times: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
    """Stretches that hold all that may be in a crowd with what happened at these times."""
    spans: list[tuple[datetime, datetime]] = []
    for time in times:
        first, last = time - 2 * MINUTE, time + 2 * MINUTE
        if spans and first <= spans[-1][1]:
            spans[-1] = (spans[-1][0], last)
        else:
            spans.append((first, last))
    return spans
