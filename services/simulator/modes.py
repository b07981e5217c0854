"""How an ESP can be told to behave: the vocabulary of control calls."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from config.esp_config import EspName


class Mode(StrEnum):
    """What an ESP does with a call. "Taken" means: the mails are in the simulator's ledger."""

    OK = "ok"
    """Takes what the real ESP would take. Taken."""
    UNAUTHORIZED = "unauthorized"
    """The key is not known (401, at SES 403). Not taken."""
    SUSPENDED = "suspended"
    """The account may not send (403, AccountSuspendedException, ErrorCode 413). Not taken."""
    UNVERIFIED = "unverified"
    """The sender is not verified (403, MessageRejected "not verified", 400). Not taken."""
    THROTTLE = "throttle"
    """Too fast (429, in each ESP's words). Not taken."""
    QUOTA = "quota"
    """The plan is used up (401 "Maximum credits exceeded", daily quota, 405). Not taken."""
    MESSAGE_REJECTED = "message_rejected"
    """This sender or content is refused, whoever the recipient is. Not taken."""
    TOO_LARGE = "too_large"
    """413. Not taken."""
    ERROR_500 = "error_500"
    """500 in the ESP's shape. Not taken, unless `taken`; the client cannot know."""
    ERROR_502 = "error_502"
    """As `error_500`, with 502."""
    ERROR_503 = "error_503"
    """As `error_500`, with 503."""
    ERROR_504 = "error_504"
    """As `error_500`, with 504."""
    MAINTENANCE = "maintenance"
    """Postmark alone: 503 and ErrorCode 100, which says that nothing was taken. Not taken."""
    RESET_BEFORE = "reset_before"
    """A reset (RST) once the request's head is there, before its body is read. Not taken."""
    RESET_AFTER = "reset_after"
    """Takes the mails, then a reset instead of an answer. Taken."""
    CLOSE_BEFORE = "close_before"
    """Reads the body, then closes (FIN) without an answer. Not taken."""
    CLOSE_AFTER = "close_after"
    """Takes the mails, then closes (FIN) without an answer. Taken."""
    HANG_BEFORE = "hang_before"
    """Reads the body and never answers, until the client leaves. Not taken."""
    HANG_AFTER = "hang_after"
    """Takes the mails and never answers, until the client leaves. Taken."""
    REFUSE = "refuse"
    """Nobody listens: connections are refused and idle ones closed. Not taken."""
    GARBAGE = "garbage"
    """The ESP's status of success with a body that is not JSON. Taken, unless `taken` is false."""
    EMPTY = "empty"
    """200 with an empty body, also where success is 202. Taken, unless `taken` is false."""
    CUT = "cut"
    """The answer breaks off: Content-Length promises more. Taken, unless `taken` is false."""
    SHORT_RESULTS = "short_results"
    """One result too few, the last; all the same all are taken. Not at SendGrid."""
    PARTIAL = "partial"
    """Every `every`-th message fails with the ESP's own `codes` and is not taken, the others are.

    SendGrid takes all or nothing, so there it is a 400 that names those recipients.
    """
    REDIRECT = "redirect"
    """302 to the control listener, which counts who follows. Not taken."""
    DRIP = "drip"
    """Takes the mails and answers byte by byte, `latency_s` (or 0.05 s) apart. Taken."""


class Scope(StrEnum):
    """Which calls a behaviour concerns."""

    SEND = "send"
    """Calls that carry mail."""
    LOOKUP = "lookup"
    """Calls that ask about the account."""
    ALL = "all"
    """Both."""


TAKES = frozenset(
    {
        Mode.OK,
        Mode.RESET_AFTER,
        Mode.CLOSE_AFTER,
        Mode.HANG_AFTER,
        Mode.GARBAGE,
        Mode.EMPTY,
        Mode.CUT,
        Mode.SHORT_RESULTS,
        Mode.PARTIAL,
        Mode.DRIP,
    }
)
"""Modes whose calls are taken; all others take nothing."""

ERRORS = frozenset({Mode.ERROR_500, Mode.ERROR_502, Mode.ERROR_503, Mode.ERROR_504})
TAKEN_OPTIONAL = ERRORS | {Mode.GARBAGE, Mode.EMPTY, Mode.CUT}
"""Modes that leave the client in the dark either way, so that `taken` may be chosen."""

PER_MESSAGE = frozenset(
    {Mode.SUSPENDED, Mode.UNVERIFIED, Mode.THROTTLE, Mode.QUOTA, Mode.MESSAGE_REJECTED}
)
"""Modes that an ESP with results may also put into each result of a 200."""

_NOT_AT: dict[EspName, frozenset[Mode]] = {
    EspName.SENDGRID: frozenset({Mode.MAINTENANCE, Mode.SHORT_RESULTS}),
    EspName.SES: frozenset({Mode.MAINTENANCE}),
}


_KINDS: dict[str, Any] = {
    "mode": str,
    "after": int,
    "count": int,
    "latency_s": int | float,
    "scope": str,
    "taken": bool,
    "html": bool,
    "per_message": bool,
    "every": int,
    "codes": list | tuple,
}


def modes_of(esp: EspName) -> tuple[Mode, ...]:
    """The modes that this ESP can be in."""
    return tuple(mode for mode in Mode if mode not in _NOT_AT.get(esp, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What one ESP does from now on, until it is told otherwise."""

    mode: Mode = Mode.OK
    after: int = 0
    """Calls are still taken until this many recipients have been: it fails half-way.

    The call that reaches the number is taken whole, the next one meets the mode.
    """
    count: int | None = None
    """The mode holds for this many calls, then all is well; None: until changed."""
    latency_s: float = 0.0
    """Wait before each answer of the mode; what is taken is taken before the wait."""
    scope: Scope = Scope.SEND
    taken: bool | None = None
    """Whether mails are taken, for the modes of `TAKEN_OPTIONAL`; None: as the mode says."""
    html: bool = False
    """The errors 500 to 504: an HTML page, as a proxy would write it, instead of JSON."""
    per_message: bool | None = None
    """For the modes of `PER_MESSAGE`: in each result of a 200 instead of for the whole call.

    None is the ESP's usual way: per message are SES `quota`, and all of them but
    `throttle` at Postmark.
    """
    every: int = 3
    """`partial`: the third, sixth, ... message fails."""
    codes: tuple[str, ...] = ()
    """The ESP's own codes instead of the usual ones, in turn for messages, else the first.

    SES: entry statuses or exception names; Postmark: ErrorCodes. SendGrid has none.
    """

    @property
    def takes(self) -> bool:
        return self.mode in TAKES if self.taken is None else self.taken

    @classmethod
    def from_words(cls, document: Mapping[str, Any]) -> Self:
        """From the fields of an order. Raises ValueError in words for the caller."""
        values = dict(document)
        if unknown := sorted(set(values) - {spec.name for spec in fields(cls)}):
            raise ValueError(f"unknown fields: {', '.join(unknown)}")
        for name, kind in _KINDS.items():
            if not isinstance(values.get(name), kind | None):
                raise ValueError(f"{name} is of the wrong type")
        values = {name: value for name, value in values.items() if value is not None}
        values["mode"] = Mode(values.get("mode", Mode.OK))
        values["scope"] = Scope(values.get("scope", Scope.SEND))
        values["codes"] = tuple(str(code) for code in values.get("codes", ()))
        return cls(**values)

    def check(self, esp: EspName) -> None:
        """Raises ValueError when this ESP cannot behave so."""
        if self.mode in _NOT_AT.get(esp, ()):
            raise ValueError(f"{esp} has no mode {self.mode}")
        problems = (problem for problem, wrong in self._contradictions(esp).items() if wrong)
        if problem := next(problems, None):
            raise ValueError(problem)

    def _contradictions(self, esp: EspName) -> dict[str, bool]:
        return {
            "after, count and latency_s cannot be negative, nor every or count 0": (
                min(self.after, self.latency_s) < 0
                or self.every < 1
                or (self.count is not None and self.count < 1)
            ),
            f"taken cannot be chosen for {self.mode}": (
                self.taken is not None and self.mode not in TAKEN_OPTIONAL
            ),
            f"{self.mode} has no html variant": self.html and self.mode not in ERRORS,
            f"{self.mode} cannot be said per message": (
                self.per_message is not None and self.mode not in PER_MESSAGE
            ),
            "sendgrid answers without results and without codes": (
                esp is EspName.SENDGRID and (bool(self.per_message) or bool(self.codes))
            ),
            "the codes of postmark are numbers": (
                esp is EspName.POSTMARK and not all(code.isdecimal() for code in self.codes)
            ),
            "refused connections cannot be counted or slowed; set another mode to end it": (
                self.mode is Mode.REFUSE and (self.count is not None or self.latency_s > 0)
            ),
        }


class Board:
    """What one ESP has been told, and how far it is with it. Used by one thread."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self._taken = 0
        self._struck = 0

    def put(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._taken = 0
        self._struck = 0

    def note_taken(self, recipients: int) -> None:
        self._taken += recipients

    @property
    def is_refusing(self) -> bool:
        return self.behaviour.mode is Mode.REFUSE and self._is_due

    def draw(self, scope: Scope) -> Behaviour:
        """The behaviour of the call at hand; counts it when it meets the mode."""
        if not self._concerns(scope):
            return Behaviour()
        self._struck += 1
        return self.behaviour

    def draw_before_body(self, scope: Scope) -> Behaviour | None:
        """As `draw`, when the mode strikes before the body is read; else None."""
        is_early = self.behaviour.mode is Mode.RESET_BEFORE and self._concerns(scope)
        return self.draw(scope) if is_early else None

    @property
    def _is_due(self) -> bool:
        count = self.behaviour.count
        return self._taken >= self.behaviour.after and (count is None or self._struck < count)

    def _concerns(self, scope: Scope) -> bool:
        return self.behaviour.scope in (scope, Scope.ALL) and self._is_due
