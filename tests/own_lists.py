"""What the tests of the ESPs' own suppression lists share: an installation beside a simulator."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from config.esp_config import EspName
from config.settings import load_settings
from database.models import SuppressionReason
from database.session import Database
from services.adapters import build_adapter, build_suppression_list
from services.simulator.server import Simulator
from services.system import System
from tests.canned_esp import batch
from tests.conftest import Clock
from tests.people import HASH_KEY
from tests.rig import configs_at
from tests.web import API_KEY, SECRET_KEY
from utils.tokens import link_key


@pytest.fixture
def simulator(clock: Clock) -> Iterator[Simulator]:
    with Simulator(clock=clock) as simulator:
        yield simulator


@pytest.fixture
def system(either_database: Database, simulator: Simulator, clock: Clock) -> System:
    settings = load_settings({"API_KEY": API_KEY, "SECRET_KEY": SECRET_KEY}, None)
    return System(
        settings=settings,
        database=either_database,
        hash_key=HASH_KEY,
        link_keys=(link_key(SECRET_KEY),),
        clock=clock,
        esps=configs_at(simulator.base_urls),
    )


def mail(simulator: Simulator, esp: EspName, *addresses: str) -> None:
    adapter = build_adapter(configs_at(simulator.base_urls)[esp])
    one = batch(1)
    for address in addresses:
        adapter.send(replace(one, recipients=(one.recipients[0]._replace(address=address),)))


def on_list(system: System, esp: EspName) -> dict[str, SuppressionReason]:
    own_list = build_suppression_list(system.esps[esp])
    return {entry.address: entry.reason for page in own_list.pull(None) for entry in page}
