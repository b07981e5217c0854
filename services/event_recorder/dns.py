"""Refusals that blame the DNS of the domain that mail came from: it is checked soon."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from database.models import Campaign, DnsDue
from services.event_recorder.resolving import Told
from services.events import EventKind
from utils.dns.blame import blamed

_REFUSALS = (EventKind.BOUNCED, EventKind.DEFERRED)


def note_dns_blame(session: Session, told: Iterable[Told], now: datetime) -> None:
    """Ask for a check of each domain whose DNS a mailbox provider found fault with."""
    codes = {
        one.send.campaign_id: code
        for one in told
        if one.send is not None
        and one.event.kind in _REFUSALS
        and (code := blamed(one.event.code, one.event.detail))
    }
    if not codes:
        return
    campaigns = select(Campaign.id, Campaign.from_email).where(Campaign.id.in_(codes))
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    due = {
        address.rpartition("@")[2].lower(): codes[campaign_id]
        for campaign_id, address in session.execute(campaigns)
    }
    for domain in sorted(due):
        row = {"domain": domain, "reason": f"a refusal with {due[domain]}", "since": now}
        again = dialect.insert(DnsDue).values(row)
        session.execute(
            again.on_conflict_do_update(
                index_elements=["domain"], set_={"since": again.excluded.since}
            )
        )
