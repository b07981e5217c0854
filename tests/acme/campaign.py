"""A campaign through ACME alone, from its variables to its mails; prints what came of it.

Run as a process in a tree that has learned ACME: `python -m tests.acme.campaign FOLDER`.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

from config.esp_config import EspName
from config.settings import load_settings
from database.models import Campaign
from list_manager import import_csv
from services.campaigns import NewCampaign, create, report, sends_page, stands_still
from services.standing import load
from services.system import System
from tests.acme.server import API_KEY, Acme

PEOPLE = (
    "email,first_name\n"
    + "".join(f"reader{n}@example.net,Zoë {n}\n" for n in range(250))
    + "wrong@example.net,W\ngone@example.net,G\n"
)
NEWS = NewCampaign(
    name="News",
    subject="Hello {{ first_name }}",
    html="<p>Hello {{ first_name }}, <a href='{{ unsubscribe_url }}'>leave</a></p>",
    text="Hello {{ first_name }}",
    from_email="news@example.com",
    from_name="Example",
    reply_to=None,
    audience={},
    esp=EspName("acme"),
    track_opens=False,
    track_clicks=False,
    tags=(),
)


def environment(acme: Acme, folder: Path) -> dict[str, str]:
    return {
        "SENDING_MODE": "live",
        "DATABASE_URL": f"sqlite:///{folder}/email.db",
        "API_KEY": "5up3r-Random-Key-For-Tests-9182",
        "SECRET_KEY": "An0ther-Random-Secret-Of-Forty-Characters-Or-More",
        "PUBLIC_BASE_URL": "http://127.0.0.1:5000",
        "FROM_EMAIL": "news@example.com",
        "POSTAL_ADDRESS": "Example Ltd, 1 Example Street",
        "ACME_API_KEY": API_KEY,
        "ACME_BASE_URL": acme.url,
        "ACME_BATCH_SIZE": "200",
    }


def send(system: System) -> dict[str, Any]:
    engine = system.start()
    with system.database.write() as session:
        campaign_id = create(session, NEWS, now=system.clock(), sandbox=False).id
    engine.wake()
    while True:
        with system.database.read() as session:
            campaign = session.get_one(Campaign, campaign_id)
            if stands_still(campaign):
                sends = sends_page(session, campaign, status=None, after=0, limit=1000)
                told = report(session, campaign, system.clock())
                standings = load(session, system.esps, system.clock())
                day = standings[EspName("acme")].day
                return {**told, "sends": sends, "used": day.used, "limit": day.limit}
        engine.wait_for_stand(0.1)


def main(folder: Path) -> None:
    with Acme() as acme:
        system = System.open(load_settings(environment(acme, folder), None))
        try:
            import_csv(
                system.database,
                io.BytesIO(PEOPLE.encode()),
                hash_key=system.hash_key,
                now=system.clock(),
                refusals=folder / "refused",
            )
            told = send(system)
        finally:
            system.close()
        sys.stdout.write(json.dumps({"told": told, "mails": acme.mails, "calls": acme.calls}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
