"""Who confirms that they want our mail is taken off the ESPs' own lists, or it never reaches them."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from socket import socket
from typing import Any

import pytest
from sqlalchemy import select

from config.esp_config import EspName
from database.models import Subscriber, Suppression, SuppressionReason
from list_manager import erase, find_traces, suppress, suppression_of
from lists.opt_ins import Verdict
from lists.suppression_sync import Lift, Lifts, Taken, next_lifts, note_released, released
from services.adapters import build_adapter
from services.base import Outcome
from services.housekeeping import RELEASE_AGAIN_AFTER, Housekeeper
from services.simulator.modes import Mode, Scope
from services.simulator.server import Simulator
from services.suppression_lists import A_COMPLAINT, Released
from services.suppression_sync import MOST_FAILURES, Release, pull_all, push_all, release
from services.system import System
from tests.canned_esp import CannedEsp, answer, batch
from tests.conftest import Clock
from tests.opting_in import ask, links, say_yes
from tests.own_lists import mail, on_list, simulator, system
from tests.people import HASH_KEY, add, either_database, postgres, who
from utils.addresses import normalise

__all__ = ["either_database", "postgres", "simulator", "system"]  # fixtures

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
HARD, COMPLAINT = SuppressionReason.HARD_BOUNCE, SuppressionReason.COMPLAINT
ANN, BOB, CY = "ann@example.net", "bob@example.net", "cy@example.net"


def hold(system: System, address: str, reason: SuppressionReason = HARD) -> None:
    with system.database.write() as session:
        suppress(session, who(address), reason=reason, source="operator", now=system.clock())


def held(system: System, *addresses: str, reason: SuppressionReason = HARD) -> None:
    """On the list, suppressed by us, and on the list of every ESP."""
    for address in addresses:
        add(system.database, address)
        hold(system, address, reason)
    system.clock.forward(minutes=1)  # type: ignore[attr-defined]
    push_all(system)


def come_back(system: System, *addresses: str) -> None:
    """Each is asked, says yes, and the moment is over in which rows are too young."""
    for address in addresses:
        ask(system.database, address, system.clock(), resubscribe=True)
        assert say_yes(system.database, links(system.database)[-1], system.clock()) is (
            Verdict.CONFIRMED
        )
    system.clock.forward(minutes=1)  # type: ignore[attr-defined]


def is_suppressed(system: System, address: str) -> bool:
    with system.database.read() as session:
        return suppression_of(session, who(address), system.clock()) is not None


def lists(system: System) -> dict[EspName, set[str]]:
    return {esp: set(on_list(system, esp)) for esp in system.esps}


def lift_rows(system: System) -> list[int]:
    with system.database.read() as session:
        lifted = Suppression.reason == SuppressionReason.LIFTED
        return list(session.scalars(select(Suppression.id).where(lifted).order_by(Suppression.id)))


def noted(system: System, esp: EspName) -> tuple[int, list[int]]:
    """How far it came, and whom it could not let go of."""
    with system.database.read() as session:
        return released(session, esp)


def test_who_confirmed_is_off_every_list_by_the_next_pass_and_nobody_else(
    system: System, clock: Clock
) -> None:
    held(system, ANN, BOB)
    come_back(system, ANN)
    Housekeeper(system).turn(clock())
    assert lists(system) == {SENDGRID: {BOB}, SES: {BOB}, POSTMARK: {BOB}}
    pull_all(system, full=True)
    push_all(system, full=True)
    assert lists(system) == {SENDGRID: {BOB}, SES: {BOB}, POSTMARK: {BOB}}
    assert (is_suppressed(system, ANN), is_suppressed(system, BOB)) == (False, True)


def test_mail_is_taken_again_where_it_was_refused(
    system: System, simulator: Simulator, clock: Clock
) -> None:
    """Of the three only Postmark refuses; the others take the mail and drop it."""
    held(system, "reader0@example.net")
    adapter = build_adapter(system.esps[POSTMARK])
    assert adapter.send(batch(1)).results[0].outcome is Outcome.RECIPIENT_REJECTED
    come_back(system, "reader0@example.net")
    Housekeeper(system).turn(clock())
    assert adapter.send(batch(1)).results[0].outcome is Outcome.ACCEPTED


def test_what_an_esp_itself_found_is_lifted_there_too(
    system: System, simulator: Simulator, clock: Clock
) -> None:
    add(system.database, "bounce@example.net")
    mail(simulator, SENDGRID, "bounce@example.net")
    mail(simulator, POSTMARK, "bounce@example.net")
    pull_all(system)
    clock.forward(minutes=1)
    come_back(system, "bounce@example.net")
    Housekeeper(system).turn(clock())
    assert lists(system) == {SENDGRID: set(), SES: set(), POSTMARK: set()}


def test_who_left_by_way_of_the_esp_after_confirming_stays_on_its_list(
    system: System, simulator: Simulator, clock: Clock
) -> None:
    """Its webhook may be lost, and an ESP may be asked long after the confirmation."""
    person = "unsubscribe@example.net"
    add(system.database, person)
    hold(system, person)
    come_back(system, person)
    clock.forward(days=30)
    mail(simulator, SENDGRID, person)
    Housekeeper(system).turn(clock())
    assert lists(system) == {SENDGRID: {person}, SES: set(), POSTMARK: set()}
    assert is_suppressed(system, person)


def test_a_pull_before_the_release_suppresses_nobody_again(system: System) -> None:
    held(system, ANN)
    come_back(system, ANN)
    assert [one.taken for one in pull_all(system, full=True)] == [Taken(seen=1, back=1)] * 3
    assert not is_suppressed(system, ANN)


def test_a_complaint_stays_at_the_esp_that_has_it_and_suppresses_nobody_again(
    system: System, simulator: Simulator, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    person = "complaint@example.net"
    add(system.database, person)
    for esp in (SENDGRID, SES, POSTMARK):
        mail(simulator, esp, person)
    pull_all(system)
    clock.forward(minutes=1)
    come_back(system, person)
    with caplog.at_level(logging.INFO, "services.housekeeping"):
        Housekeeper(system).turn(clock())
    [row] = lift_rows(system)
    assert [record.getMessage() for record in caplog.records] == [
        f"sendgrid: row {row} stays on its list: {A_COMPLAINT}",
        f"ses: row {row} stays on its list: {A_COMPLAINT}",
        f"postmark: row {row} stays on its list: You do not have the required authority to"
        " change it.",
    ]
    assert lists(system) == {SENDGRID: {person}, SES: {person}, POSTMARK: {person}}
    assert [one.taken.back for one in pull_all(system, full=True)] == [1, 1, 1]
    assert not is_suppressed(system, person)


def test_each_release_is_logged_by_its_row_and_never_by_the_address(
    system: System, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    held(system, ANN)
    come_back(system, ANN)
    with caplog.at_level(logging.INFO, "services.housekeeping"):
        Housekeeper(system).turn(clock())
    [row] = lift_rows(system)
    assert [record.getMessage() for record in caplog.records] == [
        f"sendgrid: row {row} is off its list unsubscribes",
        f"ses: row {row} is off its list BOUNCE",
        f"postmark: row {row} is off its list broadcast",
    ]


# who is to be released


def lifts(system: System, after: int = 0) -> Lifts | None:
    with system.database.read() as session:
        return next_lifts(session, after, system.clock())


def leave(system: System) -> None:
    hold(system, ANN, SuppressionReason.UNSUBSCRIBED)


def pause(system: System) -> None:
    with system.database.write() as session:
        suppress(
            session,
            who(ANN),
            reason=SuppressionReason.PAUSED,
            source="page",
            until=system.clock() + timedelta(days=30),
            now=system.clock(),
        )


def be_erased(system: System) -> None:
    now = system.clock()
    with system.database.write() as session:
        traces = find_traces(session, ANN, now)
        erase(session, normalise(ANN), traces, hash_key=HASH_KEY, now=now)


def come_back_twice(system: System) -> None:
    leave(system)
    system.clock.forward(days=2)  # type: ignore[attr-defined]
    come_back(system, ANN)


@pytest.mark.parametrize(
    ("since", "people"),
    [
        (lambda system: None, [ANN]),
        (pause, [ANN]),
        (leave, []),
        (be_erased, []),
        (come_back_twice, [ANN]),
    ],
)
def test_only_who_is_on_the_list_and_gave_no_new_reason_is_released(
    system: System, since: Any, people: list[str]
) -> None:
    held(system, ANN, BOB)
    come_back(system, ANN)
    since(system)
    system.clock.forward(minutes=1)  # type: ignore[attr-defined]
    found = lifts(system)
    assert found is not None
    assert found.people == tuple(
        Lift(row=row, address=address)
        for row, address in zip(lift_rows(system)[-1:], people, strict=False)
    )
    assert lifts(system, found.through) is None


def test_the_address_is_the_one_that_mail_goes_to(system: System) -> None:
    held(system, ANN)
    with system.database.write() as session:
        session.scalars(select(Subscriber)).one().email = "Ann@Example.net"
    come_back(system, ANN)
    found = lifts(system)
    assert found is not None
    assert [one.address for one in found.people] == ["Ann@Example.net"]


def test_the_youngest_rows_wait_for_the_next_pass(system: System, clock: Clock) -> None:
    held(system, ANN)
    before = lifts(system)
    come_back(system, ANN)
    assert before is not None
    clock.forward(minutes=-1)
    assert lifts(system, before.through) is None
    clock.forward(seconds=5)
    assert lifts(system, before.through) is not None


# what goes wrong


def test_an_esp_that_fails_is_asked_again_later_and_after_a_restart_and_holds_up_no_other(
    system: System, simulator: Simulator, clock: Clock
) -> None:
    held(system, ANN)
    come_back(system, ANN)
    keeper = Housekeeper(system)
    simulator.behave(SES, Mode.ERROR_500, scope=Scope.LOOKUP)
    keeper.turn(clock())
    simulator.behave(SES, Mode.OK, scope=Scope.LOOKUP)
    assert lists(system) == {SENDGRID: set(), SES: {ANN}, POSTMARK: set()}
    clock.forward(minutes=1)
    keeper.turn(clock())
    assert lists(system)[SES] == {ANN}
    clock.now += RELEASE_AGAIN_AFTER
    keeper.turn(clock())
    assert lists(system)[SES] == set()


def test_a_restart_forgets_nobody_who_is_to_be_released(
    system: System, simulator: Simulator, clock: Clock
) -> None:
    held(system, ANN)
    come_back(system, ANN)
    simulator.behave(SES, Mode.UNAUTHORIZED, scope=Scope.LOOKUP)
    Housekeeper(system).turn(clock())
    simulator.behave(SES, Mode.OK, scope=Scope.LOOKUP)
    Housekeeper(system).turn(clock())
    assert lists(system)[SES] == set()


@pytest.fixture
def failing(system: System) -> Iterator[set[str]]:
    """Addresses of whose entries SES cannot speak; its list is empty."""
    addresses: set[str] = set()
    with CannedEsp() as canned:

        def act(sock: socket) -> bool:
            _, is_about_one, address = canned.requests[-1].path.partition("/addresses/")
            if not is_about_one:
                return answer(200, {"SuppressedDestinationSummaries": []})(sock)
            if address.replace("%40", "@") in addresses:
                return answer(500)(sock)
            return answer(404, {}, {"x-amzn-ErrorType": "NotFoundException"})(sock)

        canned.act = act
        system.esps = {**system.esps, SES: replace(system.esps[SES], base_url=canned.url)}
        yield addresses


def confirmed(system: System, n: int) -> dict[str, int]:
    """So many came back; the row that lifts each."""
    people = [f"p{n}@example.net" for n in range(n)]
    for address in people:
        add(system.database, address)
        hold(system, address)
    come_back(system, *people)
    return dict(zip(people, lift_rows(system), strict=True))


def released_now(system: System) -> list[tuple[int, bool]]:
    """What one pass tells of SES: the rows in order, and whether each is released."""
    return [(told.row, told.error is None) for told in release(system, system.esps[SES])]


def test_one_address_that_fails_holds_up_nobody_and_is_tried_again_last(
    system: System, failing: set[str]
) -> None:
    rows = list(confirmed(system, 3).values())
    failing.add("p0@example.net")
    assert list(release(system, system.esps[SES])) == [
        Release(row=rows[0], error="500: Internal Server Error"),
        *(Release(row=row, became=Released()) for row in rows[1:]),
    ]
    assert noted(system, SES) == (rows[-1], [rows[0]])
    come_back_as_well(system, CY)
    assert released_now(system) == [(lift_rows(system)[-1], True), (rows[0], False)]
    failing.clear()
    assert released_now(system) == [(rows[0], True)]
    assert noted(system, SES)[1] == []
    assert released_now(system) == []


def come_back_as_well(system: System, address: str) -> None:
    add(system.database, address)
    hold(system, address)
    come_back(system, address)


def test_addresses_that_always_fail_hold_up_nobody_however_many_they_are(
    system: System, failing: set[str]
) -> None:
    """Each pass goes on behind the last one, with those that are new and those that failed."""
    people = confirmed(system, 2 * MOST_FAILURES + 1)
    rows = list(people.values())
    bad, good = rows[:-1], rows[-1]
    failing.update(list(people)[:-1])
    first, second = bad[:MOST_FAILURES], bad[MOST_FAILURES:]
    failures = [[(row, False) for row in part] for part in (first, second)]
    assert released_now(system) == failures[0]
    assert released_now(system) == failures[1]
    assert released_now(system) == [(good, True), *failures[0]]
    assert noted(system, SES) == (good, [*second, *first])
    assert released_now(system) == failures[1]
    assert noted(system, SES) == (good, [*first, *second])


def test_only_failures_in_a_row_stop_a_pass(system: System, failing: set[str]) -> None:
    people = confirmed(system, 4 * MOST_FAILURES)
    failing.update(list(people)[::2])
    rows = list(people.values())
    told = released_now(system)
    assert told[: len(rows)] == [(row, n % 2 == 1) for n, row in enumerate(rows)]
    assert noted(system, SES) == (rows[-1], rows[::2])


def test_an_esp_that_fails_for_several_is_not_asked_for_everybody(
    system: System, failing: set[str]
) -> None:
    people = confirmed(system, MOST_FAILURES + 2)
    failing.update(people)
    rows = list(people.values())[:MOST_FAILURES]
    assert released_now(system) == [(row, False) for row in rows]
    assert noted(system, SES) == (rows[-1], rows)


@pytest.mark.parametrize("since", [leave, be_erased])
def test_who_failed_and_is_not_to_be_released_any_more_is_forgotten(
    system: System, failing: set[str], since: Any
) -> None:
    come_back_as_well(system, ANN)
    failing.add(ANN)
    [(ann, _)] = released_now(system)
    assert noted(system, SES) == (ann, [ann])
    since(system)
    assert released_now(system) == []
    assert noted(system, SES)[1] == []


def test_who_failed_and_left_by_way_of_the_esp_stays_on_its_list(
    system: System, simulator: Simulator, clock: Clock
) -> None:
    person = "unsubscribe@example.net"
    add(system.database, person)
    hold(system, person)
    come_back(system, person)
    [row] = lift_rows(system)
    with system.database.write() as session:
        note_released(session, SENDGRID, row, [row])
    clock.forward(days=30)
    mail(simulator, SENDGRID, person)
    assert list(release(system, system.esps[SENDGRID])) == []
    assert set(on_list(system, SENDGRID)) == {person}


def test_a_pass_that_is_cut_short_is_made_again(system: System) -> None:
    held(system, ANN, BOB)
    come_back(system, ANN, BOB)
    next(release(system, system.esps[SENDGRID]))
    assert lists(system)[SENDGRID] == {BOB}
    assert len(list(release(system, system.esps[SENDGRID]))) == 2
    assert lists(system)[SENDGRID] == set()


def test_an_esp_that_joins_later_lets_go_of_everybody_from_before(
    system: System, clock: Clock
) -> None:
    held(system, ANN)
    come_back(system, ANN)
    every = system.esps
    system.esps = {SENDGRID: every[SENDGRID]}
    keeper = Housekeeper(system)
    keeper.turn(clock())
    system.esps = every
    assert lists(system) == {SENDGRID: set(), SES: {ANN}, POSTMARK: {ANN}}
    keeper.turn(clock())
    assert lists(system) == {SENDGRID: set(), SES: set(), POSTMARK: set()}
