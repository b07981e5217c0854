"""One ESP's account: a request comes in, its behaviour is drawn, mails are taken and booked."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.simulator.dialect import (
    AccountState,
    Dialect,
    Entry,
    Fault,
    Limit,
    Parcel,
    Refused,
    proxy_page,
)
from services.simulator.fates import fate_of
from services.simulator.http1 import Request, Response
from services.simulator.ledger import Ledger
from services.simulator.limits import AccountLimits, Meter
from services.simulator.modes import ERRORS, PER_MESSAGE, Behaviour, Board, Mode, Scope
from services.simulator.records import Call
from services.simulator.shape import WrongShape
from services.simulator.suppression_lists import CAUSES, Cause, Listed, SuppressionLists

SILENT = frozenset(
    {
        Mode.RESET_BEFORE,
        Mode.RESET_AFTER,
        Mode.CLOSE_BEFORE,
        Mode.CLOSE_AFTER,
        Mode.HANG_BEFORE,
        Mode.HANG_AFTER,
        Mode.REFUSE,
    }
)
"""Modes in which no answer leaves."""

REFUSALS = PER_MESSAGE | ERRORS | {Mode.UNAUTHORIZED, Mode.TOO_LARGE, Mode.MAINTENANCE}
"""Modes that answer in the ESP's own words of refusal."""

LIMIT_MODES = {Limit.PER_SECOND: Mode.THROTTLE, Limit.DAILY: Mode.QUOTA}

GARBAGE = b"<!doctype html><p>It works!"


NOTHING = Response(status=0)
"""What a silent mode would answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back; whether and how it leaves is the behaviour's."""

    response: Response
    behaviour: Behaviour


@dataclass(slots=True)
class _Visit:
    request: Request
    now: datetime
    behaviour: Behaviour = field(default_factory=Behaviour)
    parcel: Parcel | None = None
    recipients: int = 0
    taken: list[Entry] = field(default_factory=list)


class Desk:
    """Used by the simulator's one thread, so that nothing happens between two calls."""

    def __init__(
        self,
        dialect: Dialect,
        ledger: Ledger,
        *,
        limits: AccountLimits | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.board = Board()
        self.meter = Meter(limits or AccountLimits(), rolls=dialect.day_rolls)
        self.violations: Counter[Limit] = Counter()
        """How often a call broke a limit of this ESP."""
        self.suppressions = SuppressionLists()
        self.elsewhere = ""
        """Where `Mode.REDIRECT` sends the client."""
        self._dialect = dialect
        self._ledger = ledger
        self._clock = clock

    def reset(self) -> None:
        """All is well again, nothing is used up; the account's limits stay."""
        self.board.put(Behaviour())
        self.meter.clear()
        self.violations.clear()
        self.suppressions.clear()

    def strike_early(self, head: Request) -> Behaviour | None:
        """The behaviour that ends this call before its body is read, if one does."""
        try:
            behaviour = self.board.draw_before_body(self._dialect.scope(head))
        except Refused:
            return None
        if behaviour is not None:
            self._book(_Visit(head, self._clock(), behaviour), None)
        return behaviour

    def serve(self, request: Request) -> Reply:
        """Answer a request; what is taken is in the ledger when this returns."""
        visit = _Visit(request, self._clock())
        try:
            response = self._respond(visit)
        except Refused as refused:
            self._note_violations(refused.limit)
            response = refused.response
        except WrongShape:
            response = self._dialect.malformed()
        self._book(visit, None if visit.behaviour.mode in SILENT else response.status)
        return Reply(response, visit.behaviour)

    def _respond(self, visit: _Visit) -> Response:
        self._dialect.authorise(visit.request)
        scope = self._dialect.scope(visit.request)
        visit.behaviour = behaviour = self.board.draw(scope)
        instead = self._instead(behaviour, scope, visit.now)
        if scope is Scope.LOOKUP:
            return instead or self._look_up(visit)
        if behaviour.takes or (instead is None and behaviour.mode in PER_MESSAGE):
            answer = self._take(visit)
            return instead or answer
        return instead or NOTHING

    def _instead(self, behaviour: Behaviour, scope: Scope, now: datetime) -> Response | None:
        """The answer that stands in for the true one."""
        match behaviour.mode:
            case Mode.REDIRECT:
                return Response(status=302, headers={"Location": self.elsewhere})
            case Mode.EMPTY:
                return Response(status=200)
            case Mode.GARBAGE:
                status = self._dialect.success_status if scope is Scope.SEND else 200
                return Response(status=status, body=GARBAGE)
            case mode if mode in REFUSALS and not self._speaks_per_message(behaviour, scope):
                return self._refusal(behaviour, now)
        return None

    def _refusal(self, behaviour: Behaviour, now: datetime) -> Response:
        code = behaviour.codes[0] if behaviour.codes else None
        response = self._dialect.refusal(behaviour.mode, now.timestamp(), code)
        return proxy_page(response.status) if behaviour.html else response

    def _speaks_per_message(self, behaviour: Behaviour, scope: Scope) -> bool:
        return scope is Scope.SEND and self._dialect.says_per_message(behaviour)

    def _look_up(self, visit: _Visit) -> Response:
        answer = self._dialect.suppressions(visit.request, self.suppressions, visit.now)
        if answer is not None:
            return answer
        limits = self.meter.limits
        account = AccountState(
            used=self.meter.used(visit.now),
            daily_limit=limits.daily_limit,
            per_second=limits.per_second,
            is_suspended=self.board.behaviour.mode is Mode.SUSPENDED,
        )
        return self._dialect.look_up(visit.request, account)

    def _take(self, visit: _Visit) -> Response:
        parcel = visit.parcel = self._dialect.read(visit.request)
        visit.recipients = _count(parcel.entries)
        self._note_violations(*(e.fault.limit for e in parcel.entries if e.fault is not None))
        if visit.behaviour.mode in PER_MESSAGE | {Mode.PARTIAL}:
            self._dialect.spoil(parcel, visit.behaviour)
        self._refuse_listed(parcel)
        is_refused = self._dialect.all_or_nothing and any(e.fault for e in parcel.entries)
        if not (is_refused or parcel.is_rehearsal):
            self._admit(parcel, visit.now)
            visit.taken = [entry for entry in parcel.entries if entry.fault is None]
            self._list_people(parcel, visit)
        self._dialect.identify([entry for entry in parcel.entries if entry.fault is None])
        if visit.behaviour.mode is Mode.SHORT_RESULTS and not parcel.is_single:
            parcel.entries = parcel.entries[:-1]
        return self._dialect.answer(parcel)

    def _refuse_listed(self, parcel: Parcel) -> None:
        for entry in parcel.entries:
            stream = self._dialect.stream(entry)
            held = tuple(one for one in entry.recipients if self.suppressions.holds(stream, one))
            if held:
                entry.fault = entry.fault or self._dialect.fault_of_listed(held)

    def _list_people(self, parcel: Parcel, visit: _Visit) -> None:
        """Put those on the ESP's list whom a mail brings there."""
        for entry in parcel.entries:
            for address in entry.recipients:
                cause = CAUSES.get(fate_of(address))
                # Who was on it all the time is also there when the mail was refused for it.
                if cause is not None and (entry.fault is None or cause is Cause.INACTIVE):
                    listed = Listed(address=address, cause=cause, at=visit.now)
                    self.suppressions.add(self._dialect.stream(entry), listed)

    def _admit(self, parcel: Parcel, now: datetime) -> None:
        """Hold the account's limits: raises `Refused`, or gives surplus entries a fault."""
        for limit, mode in LIMIT_MODES.items():
            room = self.meter.room(limit, now)
            opens = [entry for entry in parcel.entries if entry.fault is None]
            if _count(opens) <= room:
                continue
            if limit not in self._dialect.limits_per_message:
                raise Refused(self._dialect.refusal(mode, now.timestamp()), limit=limit)
            self._note_violations(limit)
            code = self._dialect.fault_codes[mode][0]
            for index, entry in enumerate(parcel.entries):
                if entry.fault is None:
                    room -= len(entry.recipients)
                    entry.fault = self._surplus(mode, code, index, entry) if room < 0 else None

    def _surplus(self, mode: Mode, code: str, index: int, entry: Entry) -> Fault:
        return self._dialect.fault(mode, code, index, entry)

    def _note_violations(self, *limits: Limit | None) -> None:
        """Count a call once per limit that it breaks."""
        self.violations.update({limit for limit in limits if limit is not None})

    def _book(self, visit: _Visit, status: int | None) -> None:
        taken = _count(visit.taken)
        call = Call(
            esp=self._dialect.esp,
            at=visit.now,
            method=visit.request.method,
            path=visit.request.path,
            mode=visit.behaviour.mode.value,
            status=status,
            recipients=visit.recipients,
            taken=taken,
        )
        parcel = visit.parcel or Parcel(payload=None, entries=[])
        self._ledger.record(call, visit.taken, lambda entry: self._dialect.content(parcel, entry))
        self.board.note_taken(taken)
        self.meter.take(taken, visit.now)


def _count(entries: list[Entry]) -> int:
    return sum(len(entry.recipients) for entry in entries)
