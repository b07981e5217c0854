"""Whose address a request has, behind proxies of our own and of strangers."""

from dataclasses import replace

import pytest
from flask import request

from app import create_app
from services.system import System
from tests.web import call, system

__all__ = ["system"]


@pytest.mark.parametrize(
    ("hops", "forwarded", "address"),
    [
        (0, "203.0.113.9", "127.0.0.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.1, 203.0.113.9", "198.51.100.1"),
    ],
)
def test_only_as_many_forwarded_addresses_are_believed_as_there_are_proxies(
    system: System, hops: int, forwarded: str, address: str
) -> None:
    system.settings = replace(system.settings, trusted_proxy_hops=hops)
    app = create_app(system=system)
    seen: list[str | None] = []
    app.before_request(lambda: seen.append(request.remote_addr))
    call(app.test_client(), "GET", "/healthz", headers={"X-Forwarded-For": forwarded})
    assert seen == [address]
