"""The certificates with which Amazon SNS signs: from the operator's directory, else fetched."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

from services.base import EspError
from services.events import NotReachable
from services.http_transport import Transport
from utils.sns_signature import SigningCertificate

FETCH_TIMEOUT_S = 5.0
PATIENCE_S = 2.0
"""How long a thread waits for another's fetch. Amazon needs some 0.3 s; when it cannot be
reached, forged calls must not hold all our threads."""
MAX_CERT_BYTES = 16_384
REST = timedelta(minutes=1)
"""A certificate that could not be had is not asked for again before."""
FETCHES_PER_REST = 10
"""In all: whoever makes up names must not make us ask Amazon without end. One or two are
in use at a time, and those that we have are no fetch."""

log = logging.getLogger(__name__)

Fetch = Callable[[str], bytes]
"""The bytes at an address; raises an `EspError`."""


def fetch(url: str) -> bytes:
    """From the host itself, whose TLS certificate is checked; no proxy, no redirect."""
    transport = Transport(
        connections=1, connect_timeout_s=FETCH_TIMEOUT_S, read_timeout_s=FETCH_TIMEOUT_S
    )
    answer = transport.exchange("GET", url, {}, None)
    return answer.body if answer.status == 200 else b""


@dataclass(frozen=True, slots=True)
class _Attempt:
    started_at: datetime
    result: Future[SigningCertificate] = field(default_factory=Future)


class Certificates:
    """Thread-safe. A certificate once had is kept; of several who want the same new one, one
    asks and the others wait for its answer."""

    def __init__(self, directory: Path | None, fetch: Fetch = fetch) -> None:
        self._directory, self._fetch = directory, fetch
        self._held: dict[str, SigningCertificate] = {}
        self._attempts: dict[str, _Attempt] = {}
        self._lock = Lock()

    def get(self, url: str, file_name: str, now: datetime) -> SigningCertificate:
        """The certificate at `url`, an address of Amazon's; raises `NotReachable`."""
        held = self._held.get(url)
        if held is None:
            path = self._directory / file_name if self._directory else None
            is_pinned = path is not None and path.is_file()
            held = _pinned(path) if path and is_pinned else self._fetched(url, now)
            self._held[url] = held
        return held

    def _fetched(self, url: str, now: datetime) -> SigningCertificate:
        attempt, is_ours = self._attempt(url, now)
        if is_ours:
            try:
                attempt.result.set_result(self._load(url))
            except BaseException as error:  # the threads that wait must hear of it, too
                attempt.result.set_exception(error)
                raise
        try:
            return attempt.result.result(PATIENCE_S)
        except NotReachable as error:
            # Of another thread, whose traceback is not to grow with each of us.
            raise NotReachable(str(error)) from None
        except TimeoutError as error:
            raise NotReachable("the certificate is being fetched") from error

    def _attempt(self, url: str, now: datetime) -> tuple[_Attempt, bool]:
        """The attempt that is under way or failed lately, or one that is the caller's to make."""
        with self._lock:
            recent = {
                one: attempt
                for one, attempt in self._attempts.items()
                if abs(now - attempt.started_at) < REST
            }
            self._attempts = recent
            if url in recent:
                return recent[url], False
            if len(recent) >= FETCHES_PER_REST:
                raise NotReachable(f"{len(recent)} certificates were asked for within a minute")
            recent[url] = _Attempt(now)
            return recent[url], True

    def _load(self, url: str) -> SigningCertificate:
        try:
            pem = self._fetch(url)
            if len(pem) > MAX_CERT_BYTES:
                raise ValueError(f"over {MAX_CERT_BYTES} bytes")
            return SigningCertificate.from_pem(pem)
        except (EspError, ValueError) as error:
            log.warning("SNS: the certificate %s cannot be had: %s", url, error)
            raise NotReachable(f"no certificate at {url}") from error


def _pinned(path: Path) -> SigningCertificate:
    try:
        return SigningCertificate.from_pem(path.read_bytes())
    except (OSError, ValueError) as error:
        log.warning("SNS_CERT_DIR: %s is not a certificate that can be read: %s", path.name, error)
        raise NotReachable(f"{path.name} in SNS_CERT_DIR cannot be read") from error
