"""What the tests of faults share: a seed that a failure prints, and a site of their own."""

import os
import random
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.simulator.server import Simulator
from tests.faults.driver import Site

SEED = "FAULT_SEED"
_seed_key = pytest.StashKey[int]()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Another one each time, unless the variable FAULT_SEED repeats it."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(10**9))
    request.node.stash[_seed_key] = seed
    return random.Random(f"{seed} {request.node.name}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and _seed_key in item.stash:
        again = f"{SEED}={item.stash[_seed_key]} ./setup.sh test {item.nodeid!r}"
        report.sections.append(("the same again", again))
    return report


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    """Makes the test's site; all that it started ends with the test."""
    with Simulator(keep_newest=1_000_000) as simulator:
        sites: list[Site] = []

        def make(**how: Any) -> Site:
            sites.append(Site(folder=tmp_path, simulator=simulator, **how))
            return sites[-1]

        yield make
        for site in sites:
            site.close()
