"""Signing up with a confirmation: who is asked, how often, and in what words.

The mail is a campaign of kind `confirmation` with one recipient: planned, claimed, called and
recorded like any other, but not listed (`services.ledger.confirmation`).
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from database.models import CampaignKind, OptIn, Subscriber, SubscriberStatus
from list_manager import Added, AddedAs, Consent, Person, add_subscriber, keep_pending
from lists.opt_ins import CONFIRM_WITHIN, asked_at, next_mail_at
from services.campaigns import NewCampaign, create, one_at_a_time
from services.content import prepared
from services.mailing import Identity
from utils.tokens import ConfirmLink

SUBJECT = "Please confirm your subscription"
TEXT = """Hello,

somebody, and we hope it was you, asked us to write to this address.

If you want our mails, please open this page and press the button:
{url}

It works for {days} days. If it was not you, do nothing, and nothing will come of it.
If you never want to hear from us: {{{{ unsubscribe_url }}}}
"""
"""Plain and short, without image, so that nobody is harmed who gets it unasked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who asks: what signs the link, and what stands in the mail."""

    identity: Identity
    from_email: str
    from_name: str | None
    postal_address: str
    sandbox: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What became of the mail that asks a person to confirm."""

    campaign_id: int | None
    """`None`: none is sent now, as the limits have it."""
    next_possible_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedUp:
    added: Added
    asking: Asking | None = None
    """`None` where there is nothing to confirm."""


def sign_up(
    session: Session,
    person: Person,
    *,
    sender: Sender,
    now: datetime,
    double_opt_in: bool,
    resubscribe: bool,
) -> SignedUp:
    """Put a person on the list, after their confirmation where that is asked for.

    `double_opt_in`: somebody new is pending until they confirm. `resubscribe`: somebody who is
    suppressed is asked too; nothing about them changes before they confirm.
    """
    if not (double_opt_in or resubscribe):
        added = add_subscriber(session, person, hash_key=sender.identity.hash_key, now=now)
        return SignedUp(added=added)
    one_at_a_time(session, f"opt-in {person.address.key}")
    added = add_subscriber(
        session,
        person,
        hash_key=sender.identity.hash_key,
        now=now,
        status=SubscriberStatus.PENDING if double_opt_in else SubscriberStatus.ACTIVE,
    )
    if added.outcome is AddedAs.SUPPRESSED and not resubscribe:
        return SignedUp(added=added)
    who = added.subscriber or keep_pending(
        session, person, hash_key=sender.identity.hash_key, now=now
    )
    added = Added(outcome=added.outcome, subscriber=who, suppression=added.suppression)
    if added.outcome is not AddedAs.SUPPRESSED and who.status is SubscriberStatus.ACTIVE:
        return SignedUp(added=added)
    asking = _ask(session, who, person.consent or Consent(), sender, now, lifts=resubscribe)
    return SignedUp(added=added, asking=asking)


def _ask(
    session: Session,
    who: Subscriber,
    consent: Consent,
    sender: Sender,
    now: datetime,
    *,
    lifts: bool,
) -> Asking:
    asked = asked_at(session, who.email_hash)
    if (at := next_mail_at(asked, now)) > now:
        return Asking(campaign_id=None, next_possible_at=at)
    opt_in = OptIn(
        email_hash=who.email_hash,
        subscriber_id=who.id,
        lifts=lifts,
        source=consent.source,
        ip=consent.ip,
        created_at=now,
    )
    session.add(opt_in)
    session.flush()
    mail = _mail(opt_in, who.email_key, sender)
    opt_in.campaign_id = create(session, mail, now=now, sandbox=sender.sandbox).id
    session.flush()
    return Asking(campaign_id=opt_in.campaign_id, next_possible_at=next_mail_at([now, *asked], now))


def _mail(opt_in: OptIn, email_key: str, sender: Sender) -> NewCampaign:
    url = sender.identity.confirm_url(
        ConfirmLink(email_hash=opt_in.email_hash, opt_in_id=opt_in.id, issued_at=opt_in.created_at)
    )
    name = f"Confirmation {opt_in.id}"
    content = prepared(
        subject=SUBJECT,
        html=None,
        text=TEXT.format(url=url, days=CONFIRM_WITHIN.days),
        name=name,
        address=sender.postal_address,
    )
    return NewCampaign(
        kind=CampaignKind.CONFIRMATION,
        name=name,
        subject=SUBJECT,
        html=None,
        text=content.text,
        from_email=sender.from_email,
        from_name=sender.from_name,
        reply_to=None,
        audience={"emails": [email_key]},
        esp=None,
        track_opens=False,
        track_clicks=False,
        tags=(),
    )
