"""What the ledger's model knows of people: who may be written to, and who asked to be.

Written again here, without a look at the database, so that a slip in its conditions is seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.events import SuppressionReason

LINK_WORKS = timedelta(days=7)


@dataclass(slots=True, kw_only=True)
class Request:
    """A sign-up that was answered with a mail to confirm it."""

    campaign: int
    opt_in: int
    email: str
    subscriber: int
    at: datetime
    lifts: bool
    is_confirmed: bool = False
    is_forgotten: bool = False


@dataclass(slots=True)
class People:
    """By address. Whoever leaves is in `left` until they confirm that they are back."""

    ids: dict[str, int] = field(default_factory=dict)
    """Who is on the list, under which id."""
    pending: set[str] = field(default_factory=set)
    left: dict[str, dict[SuppressionReason, datetime]] = field(default_factory=dict)
    back_at: dict[str, datetime] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    """Of whom nothing may be left that names them."""
    requests: list[Request] = field(default_factory=list)

    @property
    def active(self) -> set[str]:
        return set(self.ids) - self.pending - set(self.left)

    def leave(
        self,
        email: str,
        reason: SuppressionReason,
        now: datetime,
        *,
        happened_at: datetime | None = None,
    ) -> None:
        """What happened before they came back is undone by that."""
        back_at = self.back_at.get(email)
        if happened_at is not None and back_at is not None and happened_at <= back_at:
            return
        reasons = self.left.setdefault(email, {})
        if reason not in reasons:
            reasons[reason] = now
            self.pending.discard(email)

    def erase(self, email: str) -> None:
        self.ids.pop(email)
        self.pending.discard(email)
        self.erased.add(email)
        for request in self._of(email):
            request.is_forgotten = True

    def put_on_list(self, email: str, subscriber: int, *, pending: bool) -> None:
        self.ids[email] = subscriber
        self.erased.discard(email)
        if pending:
            self.pending.add(email)

    def confirm(self, request: Request, now: datetime) -> None:
        if self.left.pop(request.email, None):
            self.back_at[request.email] = now
        self.pending.discard(request.email)
        request.is_confirmed = True

    def verdict(self, request: Request, now: datetime) -> str:
        reasons = self.left.get(request.email, {})
        if request.is_forgotten or self.ids.get(request.email) != request.subscriber:
            return "gone"
        if request.is_confirmed:
            return "confirmed" if request.email in self.active else "used"
        if now - request.at > LINK_WORKS:
            return "expired"
        holds = any(
            not request.lifts if since <= request.at else reason is SuppressionReason.MANUAL
            for reason, since in reasons.items()
        )
        return "held" if holds else "open"

    def may_get(self, campaign: int, email: str, subscriber: int, now: datetime) -> bool:
        """A mail of this campaign that was planned for the person who had this id."""
        if self.ids.get(email) != subscriber:
            return False
        return email in self.active or any(
            self._asked_for(one, now) for one in self._of(email) if one.campaign == campaign
        )

    def _asked_for(self, request: Request, now: datetime) -> bool:
        is_open = not (request.is_confirmed or request.is_forgotten)
        if not is_open or now - request.at >= LINK_WORKS:
            return False
        reasons = self.left.get(request.email, {})
        if request.lifts and all(since <= request.at for since in reasons.values()):
            return True
        return request.email in self.pending and not reasons

    def _of(self, email: str) -> Iterator[Request]:
        return (request for request in self.requests if request.email == email)
