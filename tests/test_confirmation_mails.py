"""Mails that ask to confirm, through the whole engine: they go out beside any campaign, the link
of every mail of ours works, and who left over HTTP is not written to afterwards."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from app import create_app
from config.esp_config import EspName
from config.settings import load_settings
from database.models import Campaign, CampaignKind, CampaignStatus, Subscriber, Suppression
from database.session import Database
from services.mailing import Identity, Mailing, Sample
from services.simulator.modes import Mode
from services.simulator.records import Mail
from services.system import System
from tests.rig import LINK_KEY, NEW, Rig, rig
from tests.web import API_KEY, SECRET_KEY, call
from utils.tokens import UnsubscribeLink, email_hash

ANN = "ann@example.net"
SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def at(database: Database) -> Iterator[Rig]:
    with rig(database, now) as made:
        yield made


@pytest.fixture
def client(at: Rig) -> Iterator[FlaskClient]:
    """The API on the rig's own database and engine."""
    settings = load_settings(
        {
            "API_KEY": API_KEY,
            "SECRET_KEY": SECRET_KEY,
            "DATABASE_URL": str(at.database.url),
            "FROM_NAME": "Example News",
        },
        None,
    )
    system = System(
        settings=settings,
        database=at.database,
        hash_key=at.installation.hash_key,
        link_keys=(LINK_KEY,),
        clock=now,
        esps=at.configs,
        engine=at.start(),
    )
    assert system.engine is not None
    while not system.engine.may_send:
        system.engine.wait_for_stand(0.01)
    with create_app(system=system).test_client() as client:
        yield client


def sign_up(client: FlaskClient, at: Rig, email: str = ANN, **said: bool) -> Mail:
    """The confirmation mail, once its campaign is through."""
    answer = call(client, "POST", "/add-subscriber", json={"email": email, **said})
    assert answer.json is not None
    told = at.wait(answer.json["confirmation"]["campaign_id"])
    assert told["status"] == "sent", told
    return at.simulator.mails(to=email)[0]


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def unsubscribe_path(mail: Mail) -> str:
    return path_of((mail.headers or {})["List-Unsubscribe"].strip("<>"))


def status(at: Rig, email: str = ANN) -> str:
    with at.database.read() as session:
        found = session.scalars(select(Subscriber).where(Subscriber.email_key == email)).one()
        return found.status.value


@pytest.mark.parametrize("esp", [SENDGRID, SES, POSTMARK])
def test_the_mail_is_plain_and_its_link_confirms(
    at: Rig, client: FlaskClient, esp: EspName
) -> None:
    for other in {SENDGRID, SES, POSTMARK} - {esp}:
        at.simulator.behave(other, Mode.UNAUTHORIZED)
    mail = sign_up(client, at, double_opt_in=True)
    assert (mail.esp, mail.subject, mail.html) == (esp, "Please confirm your subscription", None)
    assert "Example News" in (mail.sender or "")
    [url] = re.findall(r"https?://\S+/confirm\?token=\S+", mail.text or "")
    assert status(at) == "pending"
    assert call(client, "POST", path_of(url), headers={}).status_code == 200
    assert status(at) == "active"


@pytest.mark.parametrize("kind", ["campaign", "confirmation", "confirmation to come back"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"data": {"List-Unsubscribe": "One-Click"}}, id="urlencoded"),
        pytest.param(
            {"data": {"List-Unsubscribe": "One-Click"}, "content_type": "multipart/form-data"},
            id="multipart",
        ),
        pytest.param({}, id="empty"),
    ],
)
def test_the_one_click_link_of_every_kind_of_mail_works(
    at: Rig, client: FlaskClient, kind: str, body: dict[str, object]
) -> None:
    """T17: 200, and the person is suppressed."""
    if kind == "confirmation":
        mail = sign_up(client, at, double_opt_in=True)
    else:
        call(client, "POST", "/add-subscriber", json={"email": ANN})
        if kind == "campaign":
            at.send()
        else:
            at.suppress(ANN)
            sign_up(client, at, resubscribe=True)
        mail = at.simulator.mails(to=ANN)[0]
    assert (mail.headers or {})["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert call(client, "POST", unsubscribe_path(mail), headers={}, **body).status_code == 200
    assert status(at) == "unsubscribed"
    with at.database.read() as session:
        held = session.scalars(select(Suppression.email_hash)).all()
    assert held == [email_hash(at.installation.hash_key, ANN)]


def test_the_link_of_a_test_mail_works_and_takes_nobody_off(at: Rig, client: FlaskClient) -> None:
    body = {"subject": "x", "html": "<p>x</p>", "test_to": [ANN]}
    assert call(client, "POST", "/send-campaign", json=body).status_code == 200
    path = unsubscribe_path(at.simulator.mails(to=ANN)[0])
    assert call(client, "POST", path, headers={}).status_code == 200
    with at.database.read() as session:
        assert session.scalars(select(Suppression)).all() == []


def test_a_confirmation_does_not_wait_behind_a_large_campaign(at: Rig, client: FlaskClient) -> None:
    for esp in (SENDGRID, SES, POSTMARK):
        at.simulator.behave(esp, latency_s=0.1)
        at.configure(esp, batch_size=2, concurrency=1)
    at.add_people(600)
    large = at.create()
    at.wait(large, CampaignStatus.SENDING)
    sign_up(client, at, double_opt_in=True)
    told = at.report(large)
    assert told["status"] == "sending"
    assert told["counts"]["queued"] > 300
    call(client, "POST", f"/campaigns/{large}/cancel")


def test_who_left_is_not_written_to_after_the_answer_while_a_campaign_runs(
    at: Rig, client: FlaskClient
) -> None:
    """Nothing that is claimed after the answer carries them."""
    people = [f"person{n}@example.net" for n in range(150)]
    at.simulator.behave(SENDGRID, latency_s=0.05)
    at.configure(SENDGRID, batch_size=1, concurrency=1)
    at.add_people(150)
    campaign = at.create()
    at.wait(campaign, CampaignStatus.SENDING)
    assert at.engine is not None
    while not at.simulator.mails(to=people[2]):
        at.engine.wait_for_stand(0.01)
    some_path = unsubscribe_path(at.simulator.mails(to=people[0])[0])
    assert call(client, "POST", some_path, headers={}).status_code == 200
    for email in people[100:]:  # they use the link of an older mail
        assert call(client, "POST", _older_link(at, email), headers={}).status_code == 200
    before = {mail.recipient for mail in at.simulator.mails(limit=1000)}
    told = at.wait(campaign)
    reached = {mail.recipient for mail in at.simulator.mails(limit=1000)}
    under_way = reached & set(people[100:]) - before
    assert (told["status"], told["skipped"], under_way) == ("sent", {"suppressed": 50}, set())


def _older_link(at: Rig, email: str) -> str:
    with at.database.read() as session:
        person = session.scalars(select(Subscriber).where(Subscriber.email_key == email)).one()
    identity = Identity(
        hash_key=at.installation.hash_key, link_key=LINK_KEY, public_base_url="https://m.example"
    )
    link = UnsubscribeLink(email_hash=person.email_hash, subscriber_id=person.id, send_id=0)
    return path_of(identity.unsubscribe_url(link))


def test_an_unknown_confirmation_goes_once_more_and_then_rests(
    at: Rig, client: FlaskClient
) -> None:
    at.simulator.behave(SENDGRID, Mode.RESET_AFTER, count=1)
    at.configure(SES, daily_limit=1)
    sign_up(client, at, double_opt_in=True)
    assert len(at.simulator.mails(to=ANN)) == 2

    for esp in (SENDGRID, SES, POSTMARK):
        at.simulator.behave(esp, Mode.RESET_AFTER, count=5)
    bob = "bob@example.net"
    answer = call(client, "POST", "/add-subscriber", json={"email": bob, "double_opt_in": True})
    assert answer.json is not None
    told = at.wait(answer.json["confirmation"]["campaign_id"])
    assert (told["status"], told["counts"]["unknown"]) == ("needs_review", 1)
    assert len(at.simulator.mails(to=bob)) == 2


@pytest.mark.parametrize("kind", CampaignKind)
def test_only_a_confirmation_is_transactional(kind: CampaignKind) -> None:
    identity = Identity(hash_key=b"k" * 32, link_key=LINK_KEY, public_base_url="https://m.example")
    mailing = Mailing(replace(NEW, kind=kind), identity)
    message = mailing.batch([Sample(email=ANN)]).message
    assert message.transactional == (kind is CampaignKind.CONFIRMATION)


def test_an_ordinary_campaign_is_never_sent_again_by_itself(at: Rig, client: FlaskClient) -> None:
    at.simulator.behave(SENDGRID, Mode.RESET_AFTER, count=1)
    at.add_people(1)
    assert at.send()["counts"]["unknown"] == 1


def test_a_stale_confirmation_goes_on_after_a_restart(at: Rig) -> None:
    """Whoever asked for it still waits: only a mailing can be out of date."""
    at.add_people(1)
    confirmation, mailing = at.create(subject="a"), at.create(subject="b")
    old = datetime(2026, 1, 1, tzinfo=UTC)
    with at.database.write() as session:
        for campaign in session.scalars(select(Campaign)):
            campaign.last_step_at = old
        session.get_one(Campaign, confirmation).kind = CampaignKind.CONFIRMATION
    at.start()
    assert at.wait(confirmation)["status"] == "sent"
    assert at.wait(mailing)["status"] == "paused"
