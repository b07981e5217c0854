"""The description and the server agree: no answer that /openapi.json does not tell of."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app import create_app
from services.system import System
from tests.test_api_sending import simulator, wait_until_sending
from tests.web import API_KEY, system

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is in requirements-dev.txt")

__all__ = ["simulator", "system"]

schema_checks = pytest.importorskip("schemathesis.specs.openapi.checks")

CHECKS = (
    schemathesis.checks.not_a_server_error,
    schema_checks.status_code_conformance,
    schema_checks.content_type_conformance,
    schema_checks.response_schema_conformance,
)
EXAMPLES = 12


@pytest.fixture
def running(system: System, simulator: object) -> Iterator[System]:
    system.start()
    wait_until_sending(system)
    yield system
    system.close()


def operations(schema: Any) -> dict[str, Any]:
    found = (result.ok() for result in schema.get_all_operations())
    return {f"{one.method.upper()} {one.path}": one for one in found}


def test_no_answer_is_undocumented_and_nothing_breaks(running: System) -> None:
    schema = schemathesis.openapi.from_wsgi("/openapi.json", create_app(system=running))
    for operation in operations(schema).values():
        _try_out(operation)


def _try_out(operation: Any) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), key=st.sampled_from([API_KEY, "wrong"]))
    def each(case: Any, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=1"}
        response = case.call(headers=headers)
        case.validate_response(response, checks=CHECKS)

    each()
