"""The tests of faults draw their moments from a seed that a failure prints."""

import os
import random
from collections.abc import Generator
from typing import Any

import pytest

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
