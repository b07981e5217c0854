"""How often each fault is tried: in every run of the tests, and with `./setup.sh test --long`."""

import os
from dataclasses import dataclass

TIER = "FAULT_TIER"
FIGURES = "figures"
"""The property of a test's report that says what its run came to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    failpoint_campaigns: int
    """At each failpoint; the server dies there one to three times in each."""
    failpoint_deaths: tuple[int, ...]
    """In one campaign, one after another; chance chooses among these."""
    api_campaigns: int
    """The same at each failpoint of what the API said yes to."""
    random_campaigns: int
    """In each of two runs, with five kills in each campaign."""
    sigterm_campaigns: int
    """With five stops in each."""
    idempotency_races: int
    suppression_rounds: int
    """With 50 people who leave in each."""
    esp_fault_rounds: int
    """Each way to misbehave, that often at each ESP that has it: some 200 faults a round."""
    clock_campaigns: int
    """In which the clock jumps, up to four times in each."""
    two_sender_campaigns: int
    """With three kills in each; as many again where a PostgreSQL answers."""
    backups: int
    """Of each three one whose server is killed meanwhile, and one that is killed itself."""
    postgres_stops: int
    """Every third with a kill of the server while the database is away."""
    disk_failures: int
    """Of fsync and of writes, in turn, from a moment on or for a while."""
    webhooks: int
    """Different events, told twice or more."""
    test_takes_s: int


SHORT = Tier(
    failpoint_campaigns=1,
    failpoint_deaths=(2,),
    api_campaigns=1,
    random_campaigns=2,
    sigterm_campaigns=1,
    idempotency_races=50,
    suppression_rounds=1,
    esp_fault_rounds=1,
    clock_campaigns=3,
    two_sender_campaigns=1,
    backups=3,
    postgres_stops=2,
    disk_failures=2,
    webhooks=3_000,
    test_takes_s=120,
)
LONG = Tier(
    failpoint_campaigns=40,
    failpoint_deaths=(1, 2, 3),
    api_campaigns=40,
    random_campaigns=50,
    sigterm_campaigns=20,
    idempotency_races=2_000,
    suppression_rounds=40,
    esp_fault_rounds=4,
    clock_campaigns=100,
    two_sender_campaigns=40,
    backups=60,
    postgres_stops=20,
    disk_failures=20,
    webhooks=100_000,
    test_takes_s=2_700,
)


def is_long() -> bool:
    return os.environ.get(TIER) == "long"
