"""A campaign's figures by ESP and mailbox provider: exact, from counters, in one statement."""

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select

from config.esp_config import EspName
from database.models import Campaign, CampaignTally, EmailSend, SendStatus, TallyKind
from services import campaign_control
from services.base import Outcome
from services.campaign_control import Resolution
from services.campaign_figures import rates
from services.campaigns import report, reports
from services.event_recorder import record_events
from services.events import BounceClass, Event, EventKind
from tests.ledgers import HASH_KEY, Ledgers, at
from tests.people import either_database, postgres
from tests.statements import counted
from utils.tokens import send_ref

__all__ = ["at", "either_database", "postgres"]  # fixtures

SENDGRID, SES = EspName.SENDGRID, EspName.SES
PROVIDERS = ("gmail", "other", "yahoo")
NO_RATES = {
    "delivered": 0.0,
    "bounced": 0.0,
    "complained": None,
    "opened": None,
    "clicked": None,
    "unsubscribed": None,
}
NOTHING = {
    **dict.fromkeys(("accepted", "delivered", "deferred", "hard_bounced", "soft_bounced"), 0),
    **dict.fromkeys(("blocked", "dropped", "complained", "opened", "clicked"), 0),
    **dict.fromkeys(("unsubscribed", "machine_opened", "machine_clicked"), 0),
}


def planned(at: Ledgers, each: int) -> int:
    """A campaign to `each` people at each mailbox provider, one after the other."""
    for number in range(each):
        for provider in PROVIDERS:
            at.add_people(1, f"p{{}}-{number}@{provider}.example", mailbox_provider=provider)
    campaign = at.create()
    at.plan(campaign)
    return campaign


def tell(at: Ledgers, esp: EspName, send: EmailSend, *kinds: EventKind, **more: Any) -> None:
    ref = send_ref(HASH_KEY, campaign_id=send.campaign_id, send_id=send.id, attempt=send.attempt)
    events = [
        Event(
            key=f"{send.id}-{kind}",
            kind=kind,
            occurred_at=at.now,
            payload={},
            send_ref=ref,
            address=send.email_key,
            **more,
        )
        for kind in kinds
    ]
    with at.database.write() as session:
        record_events(session, esp, events, hash_key=HASH_KEY, now=at.now)


def carried(at: Ledgers, campaign: int) -> dict[str, int]:
    with at.database.read() as session:
        rows = select(CampaignTally.key, CampaignTally.n).where(
            CampaignTally.campaign_id == campaign, CampaignTally.kind == TallyKind.CARRIED
        )
        return {key: n for key, n in session.execute(rows) if n}


def by_row(at: Ledgers, campaign: int) -> dict[str, int]:
    return Counter(
        f"{send.esp}/{send.mailbox_provider}"
        for send in at.sends(campaign)
        if send.status is SendStatus.ACCEPTED
    )


def test_figures_are_told_by_esp_and_by_mailbox_provider(at: Ledgers) -> None:
    campaign = planned(at, 2)
    at.record(at.claimed(campaign, 4), *[Outcome.ACCEPTED] * 4)
    at.record(at.claimed(campaign, 2, SES), Outcome.ACCEPTED, Outcome.RECIPIENT_REJECTED)
    first, second, third, fourth, fifth, _ = at.sends(campaign)
    tell(at, SENDGRID, first, EventKind.DELIVERED, EventKind.UNSUBSCRIBED)
    tell(at, SENDGRID, second, EventKind.DEFERRED, EventKind.DELIVERED, EventKind.COMPLAINED)
    tell(at, SENDGRID, third, EventKind.BOUNCED, bounce_class=BounceClass.HARD)
    tell(at, SENDGRID, fourth, EventKind.BOUNCED, bounce_class=BounceClass.BLOCKED)
    tell(at, SES, fifth, EventKind.DELIVERED)
    told = at.report(campaign)
    assert told["delivery_by_esp"] == {
        "sendgrid": {
            **NOTHING,
            **{"accepted": 4, "delivered": 2, "deferred": 1, "hard_bounced": 1, "blocked": 1},
            **{"complained": 1, "unsubscribed": 1},
            "rates": {
                "delivered": 0.5,
                "bounced": 0.5,
                "complained": 0.5,
                "opened": 0.0,
                "clicked": 0.0,
                "unsubscribed": 0.5,
            },
        },
        "ses": {
            **{**NOTHING, "accepted": 1, "delivered": 1},
            "rates": {**dict.fromkeys(NO_RATES, 0.0), "delivered": 1.0},
        },
    }
    gmail, other, yahoo = map(told["delivery_by_provider"].get, PROVIDERS)
    assert gmail == {
        **{**NOTHING, "accepted": 2, "delivered": 1, "blocked": 1, "unsubscribed": 1},
        "rates": {
            **{**dict.fromkeys(NO_RATES, 0.0), "delivered": 0.5, "bounced": 0.5},
            "unsubscribed": 1.0,
        },
    }
    assert (other["accepted"], other["delivered"], other["complained"]) == (2, 2, 1)
    assert yahoo == {
        **{**NOTHING, "accepted": 1, "hard_bounced": 1},
        "rates": {**NO_RATES, "bounced": 1.0},
    }
    assert told["rates"] == {
        "delivered": 0.6,
        "bounced": 0.4,
        "complained": 0.333333,
        "opened": 0.0,
        "clicked": 0.0,
        "unsubscribed": 0.333333,
    }
    assert carried(at, campaign) == by_row(at, campaign)


def test_a_campaign_of_which_nothing_went_out_has_no_figures(at: Ledgers) -> None:
    told = at.report(planned(at, 1))
    assert (told["delivery_by_esp"], told["delivery_by_provider"]) == ({}, {})
    assert told["rates"] == dict.fromkeys(NO_RATES)


@pytest.mark.parametrize("early", [[0], [0, 1, 4], [2, 5]])
def test_an_event_before_the_answer_counts_its_mail_at_its_provider_once(
    at: Ledgers, early: list[int]
) -> None:
    campaign = planned(at, 2)
    batch = at.claimed(campaign, 6)
    for place in early:
        tell(at, SENDGRID, at.sends(campaign)[place], EventKind.DELIVERED)
    at.record(batch, *[Outcome.ACCEPTED] * 6)
    expected = {f"sendgrid/{provider}": 2 for provider in PROVIDERS}
    assert carried(at, campaign) == by_row(at, campaign) == expected


def test_an_unknown_send_counts_at_its_provider_when_an_event_or_a_person_settles_it(
    at: Ledgers,
) -> None:
    campaign = planned(at, 2)
    at.record(at.claimed(campaign, 6), *[Outcome.UNKNOWN] * 6)
    assert carried(at, campaign) == {}
    tell(at, SENDGRID, at.sends(campaign)[0], EventKind.DELIVERED)
    assert carried(at, campaign) == {"sendgrid/gmail": 1}
    with at.database.write() as session:
        found = session.get_one(Campaign, campaign)
        campaign_control.resolve(session, found, Resolution.ACCEPT, 5, at.now)
    expected = {f"sendgrid/{provider}": 2 for provider in PROVIDERS}
    assert carried(at, campaign) == by_row(at, campaign) == expected


def test_a_page_of_campaigns_is_told_in_as_many_statements_as_one(at: Ledgers) -> None:
    first = planned(at, 1)
    at.record(at.claimed(first, 3), *[Outcome.ACCEPTED] * 3)
    for _ in range(3):
        at.create()
    with at.database.read() as session:
        page = list(session.scalars(select(Campaign).order_by(Campaign.id)))
        with counted(at.database, "") as alone:
            one = report(session, page[0], at.now)
        with counted(at.database, "") as all_of_them:
            assert reports(session, page, at.now)[0] == one
    assert (len(alone), len(all_of_them)) == (1, 1)


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({}, dict.fromkeys(NO_RATES)),
        ({"accepted": 3, "delivered": 2, "opened": 1}, {"delivered": 0.666667, "opened": 0.5}),
        ({"accepted": 2, "opened": 1}, {"delivered": 0.0, "opened": None}),
        ({"accepted": 2, "delivered": 1, "opened": 2}, {"delivered": 0.5, "opened": 1.0}),
    ],
    ids=["nothing", "shares", "opens without deliveries", "more opens than deliveries"],
)
def test_a_rate_is_a_share_of_something_or_nothing(
    figures: dict[str, int], told: dict[str, float | None]
) -> None:
    found = rates(Counter(figures))
    assert {name: found[name] for name in told} == told
