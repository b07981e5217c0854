"""The tests of faults draw their moments from a seed that a failure prints."""

import os
import random
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.faults.tiers import FIGURES, LONG, SHORT, Tier, is_long

pytest.register_assert_rewrite("tests.faults.promises")

SEED = "FAULT_SEED"
_seed_key = pytest.StashKey[int]()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Another one each time, unless the variable FAULT_SEED repeats it."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(10**9))
    request.node.stash[_seed_key] = seed
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture
def database_settings() -> Mapping[str, str]:
    """Where a `site` keeps its data: in the test's folder, unless a test says more."""
    return {}


@pytest.fixture(scope="session")
def tier() -> Tier:
    """How often each fault is tried in this run."""
    return LONG if is_long() else SHORT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if is_long():
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.timeout(LONG.test_takes_s))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was done to the server, and what came of it. (Not where `-n` spreads the tests.)"""
    for report in terminalreporter.getreports(""):  # those of set-up and teardown
        figures = dict(report.user_properties).get(FIGURES)
        if report.when == "teardown" and figures:
            said = ", ".join(f"{name} {n}" for name, n in figures.items())
            terminalreporter.write_line(f"{report.nodeid.partition('::')[2]}: {said}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and _seed_key in item.stash:
        long = "--long " if is_long() else ""
        again = f"{SEED}={item.stash[_seed_key]} ./setup.sh test {long}{item.nodeid!r}"
        report.sections.append(("the same again", again))
    return report
