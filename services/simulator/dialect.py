"""What the three ESPs' dialects have in common: a call is read, booked, answered."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from config.esp_config import EspName
from services.simulator.http1 import Request, Response, html_response
from services.simulator.modes import Behaviour, Mode, Scope
from services.simulator.shape import JsonObject, WrongShape
from services.simulator.sns import Topic
from services.simulator.suppression_lists import SuppressionLists


class Limit(StrEnum):
    """A limit of an ESP that a call can break."""

    PER_SECOND = "per_second"
    """Recipients per second."""
    DAILY = "daily"
    """Recipients per day."""
    RECIPIENTS = "recipients"
    """Recipients (personalizations, entries, messages) per call."""
    BYTES = "bytes"
    """Size of a call or of one message."""
    VALUES = "values"
    """Size of what is merged in for one recipient."""
    HEADERS = "headers"
    """Number, length, characters or names of headers."""
    LABELS = "labels"
    """Tags, categories, custom arguments, metadata."""


class Refused(Exception):
    """The call as a whole is answered with `response`, and nothing is taken."""

    def __init__(self, response: Response, *, limit: Limit | None = None) -> None:
        super().__init__(f"{response.status} {response.body[:200]!r}")
        self.response = response
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one message of a call is not taken, in the ESP's words."""

    code: str
    text: str
    limit: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A mail as its reader would get it."""

    sender: str
    reply_to: str = ""
    subject: str = ""
    html: str | None = None
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    """What comes back on the ESP's events: custom_args, tags, Metadata."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """One message of a call."""

    recipients: tuple[str, ...]
    send_ref: str | None
    source: JsonObject
    """The part of the call that is this message's own."""
    fault: Fault | None = None
    message_id: str = ""
    is_rendering_failure: bool = False
    """Taken, and then not sent: the ESP could not fill in the template."""


@dataclass(slots=True, kw_only=True)
class Parcel:
    """What one call brings."""

    payload: Any
    entries: list[Entry]
    is_single: bool = False
    """The call is one for a single message, so a fault is the answer of the whole call."""
    is_rehearsal: bool = False
    """Checked and answered as always, but nothing is taken (sandbox mode, test token)."""
    template: Any = None
    """What the dialect prepared once for all entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """What look-ups tell about the account."""

    used: int
    daily_limit: int | None
    per_second: float | None
    is_suspended: bool


class Dialect(ABC):
    """The API of one ESP, without its wire: requests to entries, entries to answers."""

    esp: ClassVar[EspName]
    routes: ClassVar[Mapping[tuple[str, str], Scope]]
    """Method and path -> kind of call; a path that ends in `/` takes one more part."""
    all_or_nothing: ClassVar[bool] = False
    """One faulty message refuses the whole call."""
    limits_per_message: ClassVar[frozenset[Limit]] = frozenset()
    """Account limits that surplus messages meet one by one, not the call as a whole."""
    day_rolls: ClassVar[bool] = False
    """The daily limit counts the last 24 hours, not the day of the calendar."""
    usually_per_message: ClassVar[frozenset[Mode]] = frozenset()
    fault_codes: ClassVar[Mapping[Mode, tuple[str, ...]]]
    """The codes of the messages that a mode spoils, in turn."""
    success_status: ClassVar[int] = 200
    domains: tuple[str, ...] = ("example.com",)
    """That the account may send for, all of them verified."""
    topic: Topic | None = None
    """What its events go through, if somebody has to subscribe to it first."""

    def scope(self, request: Request) -> Scope:
        """Raises `Refused` for what this ESP has no call for."""
        parent, _, last = request.path.rpartition("/")
        for path in (request.path, f"{parent}/") if last else ():
            if (scope := self.routes.get((request.method, path))) is not None:
                return scope
        is_known = bool(last) and any(path == request.path for _, path in self.routes)
        raise Refused(self.no_such_call(405 if is_known else 404))

    @abstractmethod
    def no_such_call(self, status: int) -> Response:
        """404 or 405."""

    @abstractmethod
    def malformed(self) -> Response:
        """The body is no JSON, or not of the shape that the API describes."""

    @abstractmethod
    def authorise(self, request: Request) -> None:
        """Raises `Refused` for a call without a key."""

    @abstractmethod
    def read(self, request: Request) -> Parcel:
        """Raises `Refused` when the ESP would refuse the call as a whole, or `WrongShape`."""

    @abstractmethod
    def identify(self, entries: list[Entry]) -> None:
        """Give the taken entries their message ids."""

    @abstractmethod
    def answer(self, parcel: Parcel) -> Response:
        """The answer to a call that was read, faults and all."""

    @abstractmethod
    def content(self, parcel: Parcel, entry: Entry) -> Content:
        """The mail that reaches the entry's recipients."""

    @abstractmethod
    def look_up(self, request: Request, account: AccountState) -> Response: ...

    @abstractmethod
    def suppressions(
        self, request: Request, lists: SuppressionLists, now: datetime
    ) -> Response | None:
        """The answer to a call about its own list; `None` when it is another look-up."""

    def stream(self, entry: Entry) -> str:
        """Which of the ESP's lists concerns this mail."""
        return ""

    def fault_of_listed(self, addresses: tuple[str, ...]) -> Fault | None:
        """Why a mail to addresses on its list is refused; `None`: it is taken, and dropped."""
        return None

    @abstractmethod
    def refusal(self, mode: Mode, now: float, code: str | None = None) -> Response:
        """The whole call refused, in the ESP's words; `code` instead of its usual one."""

    @abstractmethod
    def fault(self, mode: Mode, code: str, index: int, entry: Entry) -> Fault:
        """Message `index` refused with the ESP's `code`."""

    def spoil(self, parcel: Parcel, behaviour: Behaviour) -> None:
        """Give entries the faults that the behaviour wants."""
        every = behaviour.every if behaviour.mode is Mode.PARTIAL else 1
        codes = behaviour.codes or self.fault_codes[behaviour.mode]
        for turn, index in enumerate(range(every - 1, len(parcel.entries), every)):
            entry, code = parcel.entries[index], codes[turn % len(codes)]
            entry.fault = entry.fault or self.fault(behaviour.mode, code, index, entry)

    def says_per_message(self, behaviour: Behaviour) -> bool:
        if behaviour.per_message is None:
            return behaviour.mode in self.usually_per_message
        return behaviour.per_message


def parse_json(body: bytes) -> Any:
    """Raises `WrongShape` for what is no JSON, or not text: half of a surrogate pair."""
    try:
        document = json.loads(body)
        if b"\\ud" in body or b"\\uD" in body:
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise WrongShape("no JSON") from error
    return document


def is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json"


def proxy_page(status: int) -> Response:
    """An error as the proxy before an ESP writes it."""
    title = f"{status} {Response(status=status).phrase}"
    return html_response(
        status, f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    )
