"""The promise when an ESP misbehaves, in each way that is known, while the others are well.

One server per ESP meets one fault after another, each in a campaign of its own. Between two
faults its clock goes forward, so that the ESP's rest ends and it is tried again.
"""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from config.esp_config import EspName
from services.simulator.modes import ERRORS, PER_MESSAGE, TAKEN_OPTIONAL, Mode, modes_of
from services.simulator.server import SIMULATED
from tests.faults import oracle
from tests.faults.clock import Clock
from tests.faults.driver import Mailing, Server, Site, site_in
from tests.faults.http_client import Answer
from tests.faults.promises import BATCH, CONCURRENCY, SETTINGS, figures, unknown
from tests.faults.tiers import FIGURES, Tier
from tests.faults.wire_faults import WIRE_FAULTS, Front

RECIPIENTS = 60
FAILURES_TO_OPEN = 5
MOST_UNKNOWN = CONCURRENCY * BATCH + FAILURES_TO_OPEN - 1
"""Of one fault: what was under way when it began, then one recipient a call until it rests."""
REST_S = 3_700.0
"""Longer than any rest of an ESP, but for a quota that is used up."""
QUOTA_S = 32 * 86_400.0
CLEAR = {
    *PER_MESSAGE,
    *{Mode.OK, Mode.UNAUTHORIZED, Mode.TOO_LARGE, Mode.REDIRECT, Mode.MAINTENANCE, Mode.PARTIAL},
}
"""Modes in which the ESP says what it took: nobody may end as unknown."""
SLOW = {Mode.HANG_BEFORE, Mode.HANG_AFTER, Mode.DRIP}
BASE_URLS = {
    EspName.SENDGRID: "SENDGRID_BASE_URL",
    EspName.SES: "AWS_ENDPOINT_URL_SESV2",
    EspName.POSTMARK: "POSTMARK_BASE_URL",
}

CALLED = """SELECT COUNT(*) FROM send_batches
WHERE detail IS NULL OR detail NOT LIKE 'cannot connect:%'"""
SUPPRESSED = """SELECT p.email_key FROM subscribers p
JOIN suppressions x ON x.email_hash = p.email_hash"""

Fault = dict[str, Any]
"""An order for `Simulator.behave`."""


def faults_of(esp: EspName) -> list[Fault]:
    """Every mode of an ESP, with each of its variants."""
    faults: list[Fault] = []
    for mode in modes_of(esp):
        faults.append({"mode": mode})
        if mode in ERRORS:
            faults.append({"mode": mode, "html": True})
        if mode in TAKEN_OPTIONAL:
            faults.append({"mode": mode, "taken": mode in ERRORS})
        if mode in PER_MESSAGE and esp is not EspName.SENDGRID:
            faults += [{"mode": mode, "per_message": said} for said in (False, True)]
    return faults


def site_of(folder: Path, esp: EspName, **settings: str) -> Any:
    """It gives all mail to one ESP while that is well, and to the others while it is not."""
    order = {f"{name.upper()}_PRIORITY": "1" if name is esp else "2" for name in SIMULATED}
    command = (sys.executable, "-m", "tests.faults.serve_with_a_clock", str(folder / "clock"))
    shared = {**SETTINGS, "ESP_DISTRIBUTION": "priority", **order, **settings}
    return site_in(folder, settings=shared, command=command)


@pytest.fixture(params=SIMULATED)
def esp(request: pytest.FixtureRequest) -> EspName:
    return EspName(request.param)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


def test_an_esp_that_fails_in_its_own_words(
    esp: EspName,
    tmp_path: Path,
    stack: ExitStack,
    clock: Clock,
    rng: random.Random,
    tier: Tier,
    record_property: Callable[[str, object], None],
) -> None:
    site = stack.enter_context(site_of(tmp_path, esp))
    server = started(site)
    faults = faults_of(esp) * tier.esp_fault_rounds
    rng.shuffle(faults)
    for number, fault in enumerate(faults):
        mode = Mode(fault["mode"])
        often = rng.choice((1, 2)) if mode in SLOW else rng.choice((None, 1, 3))
        order = {**fault, "count": None if mode is Mode.REFUSE else often}
        order["after"] = rng.randrange(RECIPIENTS // 2)
        calls = len(site.simulator.calls(esp))
        site.simulator.behave(esp, **order)
        mailing = site.new_mailing(f"news-{number}")
        stood = post(server, mailing)
        struck = [call.mode for call in site.simulator.calls(esp)[calls:]]
        assert mode is Mode.REFUSE or mode.value in struck, order
        site.simulator.behave(esp)
        to_the_end(server, mailing, stood)
        assert unknown(site, mailing) <= (0 if mode in CLEAR else MOST_UNKNOWN), order
        clock.move(QUOTA_S if mode is Mode.QUOTA else REST_S)
        try_again(site, server, esp)
    # A kept connection that is closed as the next call begins is no refusal to connect.
    refusals = sum(fault["mode"] is Mode.REFUSE for fault in faults)
    assert_kept(site, esp, server, cut_off=CONCURRENCY * refusals)
    record_property(FIGURES, {"faults": len(faults), **figures(site)})


def test_an_esp_that_answers_with_any_bytes(
    esp: EspName,
    tmp_path: Path,
    stack: ExitStack,
    clock: Clock,
    rng: random.Random,
    tier: Tier,
    record_property: Callable[[str, object], None],
) -> None:
    site = stack.enter_context(site_of(tmp_path, esp))
    front = stack.enter_context(Front(site.simulator.base_urls[esp]).open())
    site.settings = {**site.settings, BASE_URLS[esp]: front.url}
    server = started(site)
    names = list(WIRE_FAULTS) * tier.esp_fault_rounds
    rng.shuffle(names)
    for number, name in enumerate(names):
        fault = WIRE_FAULTS[name]
        front.misbehave(fault, rng.choice((1, 2)))
        mailing = site.new_mailing(f"news-{number}")
        stood = post(server, mailing)
        assert front.struck > 0, name
        front.misbehave(fault, 0)
        to_the_end(server, mailing, stood)
        assert unknown(site, mailing) <= (0 if fault.is_clear else MOST_UNKNOWN), name
        clock.move(REST_S)
        try_again(site, server, esp)
    assert_kept(site, esp, server, withheld=front.withheld)
    record_property(FIGURES, {"faults": len(names), **figures(site)})


def started(site: Site) -> Server:
    server = site.add_server()
    server.start()
    site.add_people(server.client, RECIPIENTS)
    return server


def post(server: Server, mailing: Mailing) -> Answer:
    """Until it stands still: at its end, or since the ESP refused the message itself."""
    answer = server.client.send_campaign(mailing.subject)
    assert answer.status == 200, answer
    return answer


def to_the_end(server: Server, mailing: Mailing, stood: Answer) -> None:
    """Resume a campaign that was paused, now that the ESP is well."""
    if stood.json["status"] == "paused":
        resumed = server.client.call("POST", f"/campaigns/{stood.json['campaign_id']}/resume")
        assert resumed.status == 200, resumed
        stood = server.client.send_to_the_end(mailing.subject)
    assert stood.json["status"] in ("sent", "needs_review"), stood


def try_again(site: Site, server: Server, esp: EspName) -> None:
    """One mail, after its rest: an ESP is given no more before it takes that one. Who was
    refused for good makes room for others."""
    gone = {email for (email,) in site.query(SUPPRESSED)} - site.left
    site.left |= gone
    site.people -= gone
    site.add_people(server.client, len(gone))
    person = min(site.people)
    mailing = site.new_mailing(f"try-{len(site.mailings)}")
    mailing.audience = frozenset({person})
    to_one = {"audience": {"emails": [person]}, "esp": esp.value}
    assert server.client.send_campaign(mailing.subject, **to_one).json["status"] == "sent"


def assert_kept(
    site: Site, esp: EspName, server: Server, *, withheld: int = 0, cut_off: int = 0
) -> None:
    """And the ESP is used again, as if nothing had been.

    `withheld`: calls that never reached it; `cut_off`: how many more may not have.
    """
    last = server.client.send_to_the_end(site.new_mailing("all-is-well").subject)
    assert last.json["by_esp"] == {esp.value: RECIPIENTS}
    query = site.query
    audiences = {mailing.subject: mailing.audience for mailing in site.mailings}
    taken = site.taken()
    assert oracle.examine(query, taken, audiences) == []
    # No call was made twice, whatever became of it.
    posts = sum(call.method == "POST" for call in site.simulator.calls())
    ((called,),) = query(CALLED)
    assert posts + withheld <= called <= posts + withheld + cut_off
    assert site.simulator.followed_redirects == 0
