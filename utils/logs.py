"""Logs as one JSON object a line, with the request and campaign they belong to.

Addresses are cut to their domain above DEBUG: a log is read by more people than the list.
Secrets of the installation are in no line, whatever an error of a library says.
"""

import json
import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any

import structlog

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)")
_QUIET = ("urllib3", "botocore", "boto3", "python_http_client", "alembic")

_SHORTEST_SECRET = 6
"""What is shorter is no secret, and would be found in words."""

Event = MutableMapping[str, Any]

_secrets: list[str] = []


def keep_secret(values: Iterable[str]) -> None:
    """From now on, none of these is in a line of the log."""
    known = {value for value in values if len(value) >= _SHORTEST_SECRET}
    # As they are, and as they are inside JSON; the longest first, since one may hold another.
    spelled = known | {json.dumps(value)[1:-1] for value in known}
    _secrets[:] = sorted(spelled, key=len, reverse=True)


def set_up(level: int = logging.INFO) -> None:
    """Send the logs of this process to standard error."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_addresses,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
                hide_secrets,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def hide_addresses(_logger: object, _method: str, event: Event) -> Event:
    """Every address in a text becomes `…@domain`, except at DEBUG."""
    if event.get("level") != "debug":
        for name, value in event.items():
            if isinstance(value, str):
                event[name] = _ADDRESS.sub(r"…@\1", value)
    return event


def hide_secrets(_logger: object, _method: str, rendered: object) -> str:
    """The line without any secret that `keep_secret` was told of."""
    line = str(rendered)
    for secret in _secrets:
        line = line.replace(secret, "[secret]")
    return line
