"""A plain HTTP client: what somebody else's program would do with our API."""

import http.client
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.environment import API_KEY

WITHIN_S = 60.0
LOOK_AGAIN_S = 0.1
HTML = "<p>Hello {{ first_name }}</p><p><a href='{{ unsubscribe_url }}'>Leave</a></p>"


class NoAnswer(Exception):
    """Nobody listened, or the line broke: the call may have been taken or not."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Calls one server with the API key."""

    def __init__(self, port: int) -> None:
        self._place = f"127.0.0.1:{port}"

    def call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        given = {"Authorization": f"Bearer {API_KEY}", **(headers or {})}
        return _exchange(self._place, method, target, body, given)

    def import_people(self, emails: Iterable[str]) -> None:
        """Put these on the list; none of them may be known before."""
        lines = [f"{email},Ann" for email in emails]
        body = "\n".join(["email,first_name", *lines]).encode()
        answer = self.call("POST", "/subscribers/import", body, {"Content-Type": "text/csv"})
        assert (answer.status, answer.json["created"]) == (200, len(lines)), answer

    def send_campaign(self, subject: str, **more: Any) -> Answer:
        """One POST; the subject is its Idempotency-Key, so that it may be repeated."""
        body = json.dumps({"subject": subject, "html": HTML, **more}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": subject}
        return self.call("POST", "/send-campaign", body, {**headers, "Prefer": "wait=60"})

    def send_to_the_end(self, subject: str) -> Answer:
        """Post, and post again while told to come back: the answer that is the last one.

        Raises `NoAnswer` when the server dies.
        """
        answers: list[Answer] = []

        def is_final() -> bool:
            answers.append(self.send_campaign(subject))
            # 202: it goes on; 409: this key's campaign runs; 503: not yet, or no more.
            return answers[-1].status not in (202, 409, 503)

        wait_until(is_final, f"an end of {subject}", look_again_s=LOOK_AGAIN_S)
        assert answers[-1].status == 200, answers[-1]
        return answers[-1]


def unsubscribe(list_unsubscribe: str) -> None:
    """What a mail program does with the header of that name (RFC 8058); it has no key."""
    link = urlsplit(list_unsubscribe.strip("<>"))
    answer = _exchange(
        link.netloc,
        "POST",
        f"{link.path}?{link.query}",
        b"List-Unsubscribe=One-Click",
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status == 200, answer


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    within_s: float = WITHIN_S,
    look_again_s: float = 0.003,
) -> None:
    """Return when `condition` holds; AssertionError when it does not in time."""
    ends_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_at, f"waited {within_s} s for {what}"
        time.sleep(look_again_s)


def _exchange(
    place: str, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
) -> Answer:
    """One call on a connection of its own, so that no broken one is met again."""
    connection = http.client.HTTPConnection(place, timeout=WITHIN_S)
    try:
        connection.request(method, target, body, dict(headers))
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"{method} {target}: {error!r}") from error
    finally:
        connection.close()
