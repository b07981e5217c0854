"""The story that the demo tells: a sample list, three ESPs with trouble, what came of it."""

import csv
import io
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from config.esp_config import EspConfig, EspName
from database.models import Campaign
from services.campaigns import NewCampaign, create, report, stands_still
from services.simulator.happenings import Happening, Rates, happenings
from services.simulator.modes import Mode
from services.simulator.records import Mail
from services.simulator.server import SIMULATED, Simulator
from services.system import System

PEOPLE = 360
SENDGRID_TAKES = 120
SES_DAILY_LIMIT = 100
LATENCY_S = 0.15
RATES = Rates(bounce=0.02, complaint=0.004, machine_open=0.15, open=0.35, click=0.08)
PATIENCE_S = 60.0

_FIRST = ("Zoë", "Noah", "Amina", "Luis", "Mei", "Jonas", "Priya", "Olga", "Tariq", "Freya")
_LAST = ("Okafor", "Lindqvist", "García", "Nowak", "Tanaka", "O'Brien", "Haddad", "Costa", "Meyer")
_DOMAINS = ("example.com", "example.net", "example.org")
_FAULTY = (
    ("not-an-address", "Otto", "No", "reader", "Rome"),
    ("jörg@example.com", "Jörg", "Meyer", "reader", "Bonn"),
    ("reader1@example.com", "Twice", "Given", "reader", "Oslo"),
)
_CITIES = ("Lagos", "Malmö", "Bogotá", "Gdańsk", "Kyoto")

MAILING = NewCampaign(
    name="Demo newsletter",
    subject="{{ first_name }}, the news from {{ attributes.city }}",
    html=(
        "<h1>Hello {{ first_name }}</h1>\n"
        "<p>This is a newsletter for readers in {{ attributes.city }}.</p>\n"
        "<p>Example Ltd, 1 Example Street, Example Town<br>\n"
        '<a href="{{ unsubscribe_url }}">Unsubscribe</a></p>\n'
    ),
    text=(
        "Hello {{ first_name }},\n\n"
        "this is a newsletter for readers in {{ attributes.city }}.\n\n"
        "Example Ltd, 1 Example Street, Example Town\n"
        "Unsubscribe: {{ unsubscribe_url }}\n"
    ),
    from_email="news@example.com",
    from_name="Example News",
    reply_to=None,
    audience={},
    esp=None,
    track_opens=False,
    track_clicks=False,
    tags=("demo",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What the demo came to, as our ledger and as the ESPs themselves tell it."""

    report: dict[str, Any]
    received: Mapping[EspName, int]
    duplicates: int
    sample: str
    words: Mapping[EspName, str]
    happened: Mapping[str, int]
    """What became of the mails, as the ESPs told it."""
    faults: tuple[str, ...] = field(default=())
    """What should not be: empty, or the demo failed."""


def sample_list() -> bytes:
    """A CSV file as people have them: with two rows that cannot be used and one given twice."""
    file = io.StringIO()
    rows = csv.writer(file)
    rows.writerow(("email", "first_name", "last_name", "tags", "city"))
    for number in range(1, PEOPLE + 1):
        rows.writerow(
            (
                f"reader{number}@{_DOMAINS[number % 3]}" if number > 1 else "reader1@example.com",
                _FIRST[number % len(_FIRST)],
                _LAST[number % len(_LAST)],
                "reader;customer" if number % 4 == 0 else "reader",
                _CITIES[number % len(_CITIES)],
            )
        )
    rows.writerows(_FAULTY)
    return file.getvalue().encode()


def limits(configured: Mapping[EspName, EspConfig]) -> dict[EspName, EspConfig]:
    """Ranks and limits with which the story always goes the same way."""
    return {
        esp: replace(
            configured[esp],
            priority=priority,
            batch_size=20,
            concurrency=2,
            per_second=None,
            daily_limit=SES_DAILY_LIMIT if esp is EspName.SES else None,
            monthly_limit=None,
        )
        for priority, esp in enumerate(SIMULATED, start=1)
    }


def send(system: System, webhooks_to: str) -> Iterator[dict[str, Any]]:
    """Send the mailing, with SendGrid closing the account half-way; reports as it goes."""
    simulator = system.start_simulator()
    simulator.post_webhooks_to(webhooks_to, rates=RATES)
    _misbehave(simulator)
    engine = system.start()
    with system.database.write() as session:
        campaign = create(session, MAILING, now=system.clock(), sandbox=True)
    engine.wake()
    still = False
    while not still:
        engine.wait_for_stand(0.1)
        with system.database.read() as session:
            campaign = session.get_one(Campaign, campaign.id)
            still = stands_still(campaign)
            told = report(session, campaign, system.clock())
        yield told


def listen(system: System, told: dict[str, Any]) -> dict[str, Any]:
    """Wait until all that happened to the mails was told; the report then."""
    assert system.simulator is not None
    deadline = time.monotonic() + PATIENCE_S
    while not system.simulator.courier.is_done and time.monotonic() < deadline:
        time.sleep(0.05)
    with system.database.read() as session:
        campaign = session.get_one(Campaign, told["campaign_id"])
        return report(session, campaign, system.clock())


def ending(system: System, told: dict[str, Any]) -> Ending:
    """Compare what our ledger says with what the ESPs received, and with what they told."""
    assert system.simulator is not None
    happened = _happened(system.simulator)
    received = system.simulator.accepted()
    duplicates = len(system.simulator.duplicates())
    mails = system.simulator.mails(limit=1)
    return Ending(
        report=told,
        received=received,
        duplicates=duplicates,
        sample=_as_text(mails[0]) if mails else "",
        words={
            EspName.SENDGRID: f"closed the account after {SENDGRID_TAKES}",
            EspName.SES: f"its daily limit is {SES_DAILY_LIMIT}",
            EspName.POSTMARK: "took the rest",
        },
        happened=happened,
        faults=tuple(_faults(told, received, duplicates, happened)),
    )


def _misbehave(simulator: Simulator) -> None:
    for esp in SIMULATED:
        simulator.behave(esp, Mode.OK, latency_s=LATENCY_S)
    simulator.behave(EspName.SENDGRID, Mode.SUSPENDED, after=SENDGRID_TAKES, latency_s=LATENCY_S)


def _happened(simulator: Simulator) -> dict[str, int]:
    """Drawn from the mails themselves, in the words of a campaign's `delivery`."""
    counted: Counter[Happening] = Counter()
    for mail in simulator.mails(limit=None):
        counted.update(happenings(mail, RATES, ()))
    return {
        "delivered": counted[Happening.DELIVERED],
        "bounced": counted[Happening.HARD_BOUNCE],
        "complained": counted[Happening.COMPLAINT],
        "opened": counted[Happening.OPEN],
        "clicked": counted[Happening.CLICK],
        "unsubscribed": 0,
    }


def _faults(
    told: Mapping[str, Any],
    received: Mapping[EspName, int],
    duplicates: int,
    happened: Mapping[str, int],
) -> Iterator[str]:
    if told["status"] != "sent":
        yield f"the campaign is {told['status']}: {told['reason']}"
    if told["planned"] != sum(told["counts"].values()) + sum(told["skipped"].values()):
        yield "the counts do not add up"
    if {esp.value: n for esp, n in received.items() if n} != told["by_esp"]:
        yield "the ESPs received other numbers than our ledger has"
    if told["delivery"] != happened:
        yield f"the ESPs told {happened}, and our ledger has {told['delivery']}"
    if duplicates:
        yield f"{duplicates} people got it twice"


def _as_text(mail: Mail) -> str:
    headers = {
        "From": mail.sender,
        "To": mail.recipient,
        "Subject": mail.subject,
        **(mail.headers or {}),
    }
    lines = [f"  {name}: {value}" for name, value in headers.items()]
    return "\n".join([*lines, "", *(f"  {line}" for line in (mail.text or "").splitlines())])
