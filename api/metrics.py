"""`/metrics` for Prometheus: from the kept counters of the database, so that a restart
forgets nothing, and from the requests of this process."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import Flask, Response, current_app, g, request
from flask_openapi.blueprint import APIBlueprint
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from database.models import Campaign, EspPerformanceDay, SubscriberCount
from services import standing
from services.esp_manager import why_not
from services.reputation import ALL_PROVIDERS
from services.standing import Standing
from services.system import System

api = APIBlueprint("metrics", __name__)

_NAME = "metrics"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Anybody may make up others, and each would be kept as long as the process runs."""
_OUTCOMES = ("accepted", "rejected", "unknown")


def register(app: Flask, system: System) -> None:
    """Count the requests of `app`, and read the rest from its system when asked."""
    registry = CollectorRegistry()
    registry.register(_Kept(system))
    seconds = Histogram(
        "http_request_seconds",
        "Requests by route",
        ["method", "route", "status"],
        registry=registry,
    )
    app.extensions[_NAME] = registry

    def begin() -> None:
        g.began_at = time.monotonic()

    def end(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        took = time.monotonic() - g.get("began_at", time.monotonic())
        method = request.method if request.method in _METHODS else "other"
        seconds.labels(method, route, response.status_code).observe(took)
        return response

    app.before_request(begin)
    app.after_request(end)


_TEXT = {
    "description": "Prometheus' text form",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


@api.get("/metrics", responses={200: _TEXT})
def metrics() -> Response:
    """The figures of this installation in Prometheus' text form."""
    registry: CollectorRegistry = current_app.extensions[_NAME]
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Kept(Collector):
    """What the database keeps: campaigns, sends by ESP, how ESPs stand, the list."""

    def __init__(self, system: System) -> None:
        self._system = system

    def describe(self) -> Iterable[Metric]:
        return ()  # or registering would ask the database

    def collect(self) -> Iterator[Metric]:
        system = self._system
        sends = system.engine is not None and system.engine.may_send
        yield _gauge("email_engine_sends", "1 when this process sends", [], {(): int(sends)})
        with system.database.read() as session:
            yield _campaigns(session)
            yield _sends_by_esp(session)
            yield _people(session)
            standings = standing.load(session, system.esps, system.clock())
        yield from _standings(standings.values(), system)


def _campaigns(session: Session) -> Metric:
    rows = session.execute(select(Campaign.status, func.count()).group_by(Campaign.status))
    values = {(status.value,): n for status, n in rows}
    return _gauge("email_campaigns", "Campaigns by status", ["status"], values)


def _sends_by_esp(session: Session) -> Metric:
    metric = CounterMetricFamily(
        "email_sends", "Sends by ESP and outcome", labels=["esp", "outcome"]
    )
    columns = [func.sum(getattr(EspPerformanceDay, name)) for name in _OUTCOMES]
    rows = session.execute(
        select(EspPerformanceDay.esp, *columns)
        .where(EspPerformanceDay.mailbox_provider == ALL_PROVIDERS)
        .group_by(EspPerformanceDay.esp)
    )
    for esp, *counts in rows:
        for outcome, n in zip(_OUTCOMES, counts, strict=True):
            metric.add_metric([esp.value, outcome], int(n))
    return metric


def _people(session: Session) -> Metric:
    values = {(row.status.value,): row.n for row in session.scalars(select(SubscriberCount))}
    return _gauge("email_subscribers", "People on the list by status", ["status"], values)


def _standings(standings: Iterable[Standing], system: System) -> Iterator[Metric]:
    now = system.clock()
    known = list(standings)
    yield _gauge(
        "email_esp_available",
        "1 when an ESP may get mail now",
        ["esp"],
        {(s.esp.value,): int(why_not(s, now, domain=system.gated_domain) is None) for s in known},
    )
    yield _gauge(
        "email_esp_quota_used",
        "Recipients that an ESP got in this window",
        ["esp", "window"],
        {
            (s.esp.value, window): getattr(s, window).used
            for s in known
            for window in ("day", "month")
        },
    )
    yield _gauge(
        "email_esp_reputation",
        "0 to 100",
        ["esp"],
        {(s.esp.value,): round(100 * s.reputation.score, 1) for s in known},
    )


def _gauge(
    name: str, text: str, labels: list[str], values: Mapping[Any, float]
) -> GaugeMetricFamily:
    metric = GaugeMetricFamily(name, text, labels=labels)
    for said, value in values.items():
        metric.add_metric(list(said), value)
    return metric
