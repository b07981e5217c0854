"""The rules of the house about imports: they point down only, and two sides never meet.

A module without a layer fails: give it a row in `LAYERS`. A row stands for the module
of that name and for everything below it; the longest row that fits counts.
"""

import ast
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import pytest

from config.esp_config import ESPS
from config.settings import ROOT

ADAPTERS = tuple(esp.adapter.rpartition(".")[0] for esp in ESPS.values())
"""The module of each ESP. With those whose names go on from its own (`services.sendgrid_merge`)
it meets none of another's."""

LAYERS: dict[str, int] = {
    # 6: processes
    "app": 6,
    "cli": 6,
    "commands": 6,
    "test_system": 6,
    # 5: talks HTTP
    "api": 5,
    # 4: what the system does
    "email_sender": 4,
    "services.audience_size": 4,
    "services.braking": 4,
    "services.calls": 4,
    "services.campaign_answers": 4,
    "services.campaign_step": 4,
    "services.campaign_control": 4,
    "services.campaign_figures": 4,
    "services.campaign_floor": 4,
    "services.campaigns": 4,
    "services.demo": 4,
    "services.event_recorder": 4,
    "services.event_replay": 4,
    "services.dns_accounts": 4,
    "services.dns_watch": 4,
    "services.housekeeping": 4,
    "services.ledger": 4,
    "services.mailing": 4,
    "services.opt_in": 4,
    "services.restoring": 4,
    "services.self_test": 4,
    "services.suppression_sync": 4,
    "services.system": 4,
    "services.trial": 4,
    "services.unsubscribe_spool": 4,
    "services.webhooks": 4,
    # 3: decisions
    "list_manager": 3,
    "lists": 3,
    "services.brake": 3,
    "services.brake_overrides": 3,
    "services.breaker": 3,
    "services.content": 3,
    "services.esp_manager": 3,
    "services.forecast": 3,
    "services.pace": 3,
    "services.dns_results": 3,
    "services.reputation": 3,
    "services.standing": 3,
    # 2: the outside world
    **dict.fromkeys(ADAPTERS, 2),
    "database": 2,
    "services.adapters": 2,
    "services.domain_records": 2,
    "services.http_transport": 2,
    "services.suppression_calls": 2,
    "services.simulator": 2,
    "services.webhook_fields": 2,
    "services.json_forms": 2,
    "services.wire": 2,
    # 1: words and tools
    "services.base": 1,
    "services.events": 1,
    "services.suppression_lists": 1,
    "utils": 1,
    # 0: a leaf
    "config": 0,
}

ESP_SIDE = (
    *ADAPTERS,
    *("services.adapters", "services.http_transport", "services.simulator", "services.wire"),
    "services.json_forms",
    *("services.domain_records", "services.suppression_calls", "services.webhook_fields"),
)
DATABASE_SIDE = ("database", "sqlalchemy", "alembic")

# What a module may not import although the layers allow it.
NEVER: dict[str, tuple[str, ...]] = {
    "database": ESP_SIDE,
    **dict.fromkeys(ESP_SIDE, DATABASE_SIDE),
    **{
        module: (*DATABASE_SIDE, "services.adapters", *sorted(set(ADAPTERS) - {module}))
        for module in ADAPTERS
    },
}

# What only these may import.
ONLY: dict[str, tuple[str, ...]] = {
    "dotenv": ("config",),
    "flask": ("app", "api"),
    "flask_openapi": ("app", "api"),
    "werkzeug": ("app", "api"),
}

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
OUTSIDE = {"bench", "docs", "tests"}
"""They look at the system from outside, so they may import anything."""


def sources() -> dict[str, str]:
    """Every module of the project by its dotted name; empty `__init__.py` files left out."""
    found = {}
    for path in chain(ROOT.glob("*.py"), *(folder.rglob("*.py") for folder in folders())):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        source = path.read_text()
        if source.strip():
            found[name] = source
    return found


def folders() -> list[Path]:
    return [
        folder
        for folder in ROOT.iterdir()
        if folder.is_dir()
        and not folder.name.startswith(".")
        and folder.name not in OUTSIDE
        and not (folder / "pyvenv.cfg").exists()
    ]


def faults(module: str, source: str) -> Iterator[str]:
    """What `source` does that `module` must not do."""
    if row_of(module, LAYERS) is None:
        yield f"{module} has no layer"
        return
    tree = ast.parse(source)
    for name in sorted(set(imports(module, tree))):
        if not is_allowed(module, name):
            yield f"{module} imports {name}"
    if module != "config.settings" and ENVIRONMENT & set(names_of_os(tree)):
        yield f"{module} reads the environment"


def is_allowed(module: str, name: str) -> bool:
    if any(is_below(name, other) for other in forbidden(module)):
        return False
    only = row_of(name, ONLY)
    if only is not None and row_of(module, dict.fromkeys(ONLY[only])) is None:
        return False
    row = row_of(name, LAYERS)
    return row is None or LAYERS[row] <= LAYERS[str(row_of(module, LAYERS))]


def forbidden(module: str) -> tuple[str, ...]:
    row = row_of(module, NEVER)
    return NEVER[row] if row else ()


def row_of(name: str, table: Mapping[str, object]) -> str | None:
    rows = [row for row in table if is_below(name, row)]
    return max(rows, key=len, default=None)


def is_below(name: str, row: str) -> bool:
    return name == row or name.startswith((f"{row}.", f"{row}_") if row in ADAPTERS else f"{row}.")


def imports(module: str, tree: ast.Module) -> Iterator[str]:
    """Everything imported, at any depth, also inside functions and for types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(module.split(".")[: -node.level]) if node.level else ""
            origin = ".".join(filter(None, (package, node.module)))
            # `from services import sendgrid` imports a module, not a name of `services`.
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def names_of_os(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os":
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (alias.name for alias in node.names)


def test_imports_point_down_only() -> None:
    assert [fault for module, source in sources().items() for fault in faults(module, source)] == []


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("services.magic", "", ["services.magic has no layer"]),
        ("utils.x", "from config.settings import Settings", []),
        ("utils.x", "import database.session", ["utils.x imports database.session"]),
        ("config.x", "from utils import y", ["config.x imports utils.y"]),
        ("database.x", "from services.base import Outcome", []),
        ("database.x", "from services import standing", ["database.x imports services.standing"]),
        ("database.x", "import services.wire", ["database.x imports services.wire"]),
        ("database.models", "from .people import A", []),
        (
            "services.sendgrid",
            "from services.http_transport import Transport\nimport sendgrid, urllib3",
            [],
        ),
        (
            "services.sendgrid",
            "def late():\n    from services import postmark\n    import sqlalchemy.orm",
            [
                "services.sendgrid imports services.postmark",
                "services.sendgrid imports sqlalchemy.orm",
            ],
        ),
        (
            "services.simulator.server",
            "from database.session import Database",
            ["services.simulator.server imports database.session.Database"],
        ),
        ("services.amazon_ses", "from services.amazon_ses_merge import fill", []),
        (
            "services.amazon_ses_merge",
            "from services.postmark import Postmark",
            ["services.amazon_ses_merge imports services.postmark.Postmark"],
        ),
        ("api.campaigns", "import flask\nfrom email_sender import run", []),
        ("api.campaigns", "import app", ["api.campaigns imports app"]),
        ("cli", "from flask import Flask", ["cli imports flask.Flask"]),
        ("services.system", "from api import errors", ["services.system imports api.errors"]),
        ("utils.environment", "import os\nos.execv('', [])", []),
        ("app", "import os\nport = os.environ['PORT']", ["app reads the environment"]),
        ("app", "from os import getenv", ["app reads the environment"]),
        ("config.reader", "import os\nos.getenv('A')", ["config.reader reads the environment"]),
        ("config.settings", "import os\nos.environ", []),
    ],
)
def test_the_rule_sees(module: str, source: str, expected: list[str]) -> None:
    assert list(faults(module, source)) == expected
