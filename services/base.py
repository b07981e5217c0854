"""The contract with any ESP: what the engine hands over, and what an adapter answers.

The unit is a batch: one call to one ESP. A message travels as a *skeleton* that all
recipients share, and the *slot values* of each recipient, so that an adapter can use
the ESP's own merge fields and send the skeleton once per call.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from config.esp_config import EspName

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 1_000_000
"""A larger answer is no answer of an ESP: the outcome of that call is unknown."""

REASON_CHARS = 500
"""Stored reasons are cut here: they come from outside."""


class Outcome(StrEnum):
    """What became of one send, named for what the engine does next."""

    ACCEPTED = "accepted"
    """The ESP took it: final."""
    RECIPIENT_REJECTED = "recipient_rejected"
    """This recipient is final; never tried at another ESP."""
    MESSAGE_REJECTED = "message_rejected"
    """Not taken, and every ESP would refuse this content or sender: the campaign pauses."""
    THROTTLED = "throttled"
    """Not taken: the same ESP later, another one at once if it has capacity."""
    ESP_UNAVAILABLE = "esp_unavailable"
    """Not taken: the next ESP now; this one rests."""
    NOT_TAKEN = "not_taken"
    """Not taken because of others in the same call: again, nobody is to blame."""
    UNKNOWN = "unknown"
    """It may have been taken: no other ESP, no retry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendResult:
    """What an ESP said about one send of a batch."""

    outcome: Outcome
    message_id: str | None = None
    reason: str | None = None
    """The ESP's code and words, cut at `REASON_CHARS`; never a secret."""
    suppress: bool = False
    """The ESP holds the address inactive, so nobody should write to it."""
    retry_after_s: float | None = None
    resets_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAnswer:
    """An ESP's answer to a call: one result per recipient of the batch, in its order."""

    http_status: int
    results: tuple[SendResult, ...]


class EspError(Exception):
    """The call as a whole has one outcome. Subclasses say what the caller should do."""

    outcome: ClassVar[Outcome]

    def __init__(
        self,
        reason: str,
        *,
        http_status: int | None = None,
        retry_after_s: float | None = None,
        resets_at: datetime | None = None,
    ) -> None:
        super().__init__(reason[:REASON_CHARS])
        self.reason = reason[:REASON_CHARS]
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.resets_at = resets_at


class Throttled(EspError):
    """Nothing was taken. Wait `retry_after_s` (or back off), then the same ESP."""

    outcome = Outcome.THROTTLED


class EspUnavailable(EspError):
    """Nothing was taken. The next ESP, now: this one is down, or our account on it is.

    `resets_at` is set when a quota is used up and the ESP says when it turns.
    """

    outcome = Outcome.ESP_UNAVAILABLE


class OutcomeUnknown(EspError):
    """No other ESP: the mails may be on their way. Wait for webhooks, or for a person."""

    outcome = Outcome.UNKNOWN


class MessageRejected(EspError):
    """Nothing was taken. Stop the campaign: every ESP would refuse this sender or content."""

    outcome = Outcome.MESSAGE_REJECTED


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A text cut at its slots: `literals` has one item more than there are slots."""

    literals: tuple[str, ...]

    @property
    def slots(self) -> int:
        return len(self.literals) - 1

    def fill(self, values: Sequence[str]) -> str:
        """The whole text of one recipient; `values` has one item per slot."""
        if len(values) != self.slots:
            raise ValueError(f"{self.slots} slots, {len(values)} values")
        pieces = [self.literals[0]]
        for value, literal in zip(values, self.literals[1:], strict=True):
            pieces += (value, literal)
        return "".join(pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What all recipients of a batch share. At least one of `html` and `text` is set."""

    from_email: str
    from_name: str | None = None
    reply_to: str | None = None
    subject: Skeleton
    html: Skeleton | None = None
    text: Skeleton | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    track_opens: bool = False
    track_clicks: bool = False
    transactional: bool = False
    """Asked for by its one recipient just now (a confirmation), and no bulk mail: for ESPs
    that keep the two apart."""


class Recipient(NamedTuple):
    """One send: where to, our id for it, and the values of the message's slots.

    Values are final (HTML slots are escaped already); an adapter ships them as they are.
    """

    send_ref: str
    """`cx_send_id`: `[A-Za-z0-9_-]`, at most 64 characters, carries no address."""
    address: str
    subject: tuple[str, ...] = ()
    html: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    headers: Mapping[str, str] = MappingProxyType({})


def header_texts(recipient: Recipient) -> tuple[str, ...]:
    """All that becomes a header of their mail."""
    headers = recipient.headers
    return (recipient.address, recipient.send_ref, *recipient.subject, *headers, *headers.values())


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One call to one ESP."""

    message: Message
    recipients: tuple[Recipient, ...]

    @cached_property
    def columns(self) -> "Columns":
        """The same recipients, field by field: what is asked of all of them is asked at once."""
        return Columns._make(zip(*self.recipients, strict=True))

    @cached_property
    def header_text(self) -> str:
        """All that becomes a header of some recipient's mail."""
        every = self.columns
        own = chain.from_iterable(chain.from_iterable(one.items()) for one in every.headers)
        return "".join(
            chain(every.address, every.send_ref, chain.from_iterable(every.subject), own)
        )

    @cached_property
    def body_text(self) -> str:
        """All values in the bodies."""
        return "".join(chain.from_iterable(self.columns.html + self.columns.text))

    @property
    def header_values(self) -> Sequence[Sequence[str]]:
        """Of recipients who have the same headers: a column for each of these."""
        return list(zip(*(one.values() for one in self.columns.headers), strict=True))

    @cached_property
    def slot_values(self) -> Sequence[Sequence[str]]:
        """A column for each slot: those of the subject, of the HTML, of the text."""
        every = self.columns
        parts = (every.subject, every.html, every.text)
        return [column for part in parts for column in zip(*part, strict=True)]

    @cached_property
    def most_chars(self) -> int:
        """No recipient's slot values have more characters together."""
        return sum(max(map(len, values)) for values in self.slot_values)


class Columns(NamedTuple):
    """The fields of `Recipient`, for each of a batch."""

    send_ref: tuple[str, ...]
    address: tuple[str, ...]
    subject: tuple[tuple[str, ...], ...]
    html: tuple[tuple[str, ...], ...]
    text: tuple[tuple[str, ...], ...]
    headers: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What an ESP's account look-up said; `None` where it says nothing."""

    per_second: float | None = None
    daily_limit: int | None = None
    daily_used: int | None = None
    monthly_limit: int | None = None
    monthly_used: int | None = None
    sending_enabled: bool | None = None
    detail: str = ""


class EspAdapter(ABC):
    """One ESP. Thread-safe: the engine calls `send` from several threads at once."""

    name: ClassVar[EspName]
    max_batch: ClassVar[int]
    """Recipients that one call of this ESP may carry."""

    @abstractmethod
    def fit(self, batch: Batch) -> int:
        """How many of the first recipients one call can carry (1 or more).

        Keeps the ESP's limits of count and size, and gives a recipient whose mail needs
        a call of its own (a value the ESP's merge would misread) that call: 1.
        """

    @abstractmethod
    def send(self, batch: Batch) -> BatchAnswer:
        """Make exactly one call with a batch that `fit`s; no retry, no redirect.

        Raises an `EspError` when one outcome holds for the whole call.
        """

    @abstractmethod
    def account(self) -> Account:
        """Look the account up without sending. Raises an `EspError` when it cannot."""


SEND_REF_KEY = "cx_send_id"
"""The name under which our id travels: SendGrid custom_args, SES tags, Postmark Metadata."""
