"""The web process: `create_app()` for a server of your own, `python3 app.py` to serve.

gunicorn runs inside this process: one worker (one process owns a SQLite database for
sending) with many threads, since a request that sends a campaign waits in its thread.
"""

import gc

from utils.environment import ensure_environment

if __name__ == "__main__":
    # Imports leave 280,000 objects that stay: a quarter of their time went into looking for garbage
    # among these. `_collect_less` turns it on again.
    gc.disable()
    ensure_environment()

import ctypes
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from flask import Flask, Response, request
from flask.json.provider import DefaultJSONProvider
from gunicorn.app.base import BaseApplication
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.middleware.proxy_fix import ProxyFix

from api import (
    auth,
    campaigns,
    confirm,
    dns,
    errors,
    esps,
    health,
    imports,
    limits,
    metrics,
    people,
    preferences,
    segments,
    sending,
    subscribers,
    unsubscribe,
    webhooks,
)
from api.openapi import Api, docs
from api.slow_clients import PatientWorker
from api.system import attach
from api.unreadable import ALWAYS
from config.settings import ROOT, Settings, SettingsError, load_settings, secrets_of
from database.migrate import SchemaNewerThanCode
from services.housekeeping import Housekeeper
from services.system import System, WrongDatabase
from utils import failpoints, logs

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1_000_000
THREADS = 64
GRACEFUL_TIMEOUT_S = 40
"""Longer than an ESP may take to answer (30 s): what is in flight ends, and is recorded."""

BLUEPRINTS = (
    health.api,
    imports.api,
    segments.api,
    people.api,
    subscribers.api,
    sending.api,
    campaigns.api,
    esps.api,
    dns.api,
    metrics.api,
    webhooks.api,
)
"""The calls of the API: one line for each part."""
PAGES = (unsubscribe.pages, confirm.pages, preferences.pages, docs)
"""What is for browsers and mail programs."""

_ONLY_HTTPS = {"Strict-Transport-Security": "max-age=31536000"}


def create_app(settings: Settings | None = None, system: System | None = None) -> Flask:
    """The app, its database brought to the current schema."""
    system = system or System.open(settings or load_settings())
    app = Api(__name__)
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY_BYTES, PROPAGATE_EXCEPTIONS=False)
    assert isinstance(app.json, DefaultJSONProvider)  # Flask's own, unless one is set
    app.json.sort_keys = False
    # `//` for `/` would be answered with a redirect, to the Host that the request names.
    app.url_map.merge_slashes = False
    if hops := system.settings.trusted_proxy_hops:
        proxied = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)
        app.wsgi_app = proxied  # type: ignore[method-assign] # as Flask documents it
    attach(app, system)
    metrics.register(app, system)
    app.before_request(_begin)
    errors.register(app)
    limits.register(app, system)
    auth.register(app)
    app.before_request(_take_your_time)
    for api in BLUEPRINTS:
        app.register_api(api)
    for pages in PAGES:
        app.register_blueprint(pages)
    app.after_request(_finish)
    if system.settings.public_base_url.startswith("https://"):
        app.after_request(_ask_for_https)
    return app


def _begin() -> None:
    """What is logged while a request is answered carries its id."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=errors.request_id())


def _take_your_time() -> None:
    """The key was right, or none is needed: only the former may be slow."""
    if request.url_rule is not None and request.url_rule.rule not in auth.PUBLIC_RULES:
        PatientWorker.reading.pop(request.environ.get("gunicorn.socket"), None)


def _ask_for_https(response: Response) -> Response:
    response.headers.update(_ONLY_HTTPS)
    return response


def _finish(response: Response) -> Response:
    for name, value in ALWAYS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = errors.request_id()
    log.info(
        "request",
        extra={
            "method": request.method,
            "route": request.url_rule.rule if request.url_rule else None,
            "status": response.status_code,
        },
    )
    return response


class _Worker(PatientWorker):
    """The threads, and the moments at which the system stops."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: claim nothing more, so that requests that wait are answered now."""
        if (system := getattr(self.app, "system", None)) is not None:
            system.stop_claiming()
        super().handle_exit(sig, frame)

    # Ctrl-C ends as gently: an ESP's answer that is on its way must be recorded.
    handle_quit = handle_exit


class _Server(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        for name, value in {
            "bind": f"{host}:{self._settings.port}",
            "worker_class": _Worker,
            "workers": 1,
            "threads": THREADS,
            "worker_connections": 1000,
            # The worker's own loop beats every second; a request may wait in its thread
            # for as long as it likes.
            "timeout": 60,
            "graceful_timeout": GRACEFUL_TIMEOUT_S,
            "keepalive": 15,
            "control_socket_disable": True,
            "limit_request_line": 4094,
            "limit_request_fields": 60,
            "umask": 0o077,
            "proc_name": "email-delivery",
            "loglevel": "warning",
            "when_ready": self._greet,
            "worker_exit": _close,
        }.items():
            self.cfg.set(name, value)

    def _greet(self, _arbiter: object) -> None:
        print(_greeting(self._settings), flush=True)  # noqa: T201 - a person waits for it

    def load(self) -> Flask:
        """Called in the worker: an open database must not cross a fork."""
        self.system = System.open(self._settings)
        self.system.start()
        self.housekeeper = Housekeeper(self.system)
        self.housekeeper.start()
        if self.system.simulator is not None:
            self.system.simulator.post_webhooks_to(_own_address(self._settings))
            mails = self.system.simulator.control_url
            words = f"The mails of the sandbox can be read at {mails}"
            print(words, flush=True)  # noqa: T201 - a person waits for it
        _share_heaps()
        return create_app(system=self.system)


def _collect_less() -> None:
    """Look for garbage after 50,000 new objects, not 700, and never among the 280,000 of what
    was imported: a seventh of the work of recording a thousand events was that. What lived
    longer is looked at after twice that, and all after four times: nobody but this finds it, and
    a campaign to a million people took 15 MB more where that was five times, and 25."""
    gc.freeze()
    gc.set_threshold(50_000, 2, 2)
    gc.enable()


_M_ARENA_MAX = -8
"""Of mallopt(3)."""


def _share_heaps() -> None:
    """glibc gives each of many threads a heap of its own, which keeps the most that it ever needed:
    a campaign to a million people took 14 MB more. Elsewhere there is no such thing to say."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def _close(_arbiter: object, worker: Any) -> None:
    """The worker has answered its last request."""
    if (housekeeper := getattr(worker.app, "housekeeper", None)) is not None:
        housekeeper.close()
    if (system := getattr(worker.app, "system", None)) is not None:
        system.close()


def serve() -> None:
    """Run until SIGTERM. Faults in settings or database end the start with a line each."""
    os.umask(0o077)
    logs.set_up()
    try:
        settings = load_settings()
        System.open(settings).close()
    except SettingsError as error:
        sys.exit(str(error))
    except (SchemaNewerThanCode, WrongDatabase, SQLAlchemyError, OSError) as error:
        sys.exit(f"the database cannot be used: {getattr(error, 'orig', error)}")
    logs.keep_secret(secrets_of(settings))
    for warning in (*settings.warnings, *open_to_others(ROOT / ".env")):
        print(warning, file=sys.stderr)  # noqa: T201 - a start is watched by a person
    failpoints.arm(settings.failpoint)
    _collect_less()
    _Server(settings).run()


def open_to_others(secrets: Path) -> Iterator[str]:
    """A warning, if other users of the machine can get at a file of secrets."""
    if secrets.exists() and secrets.stat().st_mode & 0o077:
        yield f"{secrets} can be read or written by others: chmod 600 {secrets}"


@contextmanager
def serving(system: System) -> Iterator[str]:
    """The app in this process, on a free port of loopback; its address. For the demo."""
    with make_server("127.0.0.1", 0, create_app(system=system), _Threads, _Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """The app logs its requests itself."""


def _own_address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _greeting(settings: Settings) -> str:
    return (
        f"{_own_address(settings)} ({settings.sending_mode} mode; calls at /docs; "
        f"the key is API_KEY in {ROOT / '.env'})"
    )


if __name__ == "__main__":
    serve()
