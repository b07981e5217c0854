"""What an installation does all day: small campaigns, their webhooks, people who come and go."""

import random
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from config.esp_config import EspName
from services.simulator.happenings import Happening, Rates, Taken, happenings
from services.simulator.wordings import posts
from tests.faults.driver import Mailing, Site
from tests.faults.http_client import Answer, Client, NoAnswer, wait_until
from tests.faults.soak_figures import NO_ANSWER, Calls

RATES = Rates(open=0.6, click=0.25)
"""With them, two and a half events a mail, told twice: 20 mails/s make 100 events/s."""
REPEAT = 2
TELLERS = 8
"""Webhook calls at once."""
PAGE = 500
COUNTED = {"delivered": Happening.DELIVERED, "opened": Happening.OPEN, "clicked": Happening.CLICK}
"""Kinds of events, as the server stores them, that every ESP tells."""
UNTOLD = (EspName.POSTMARK, Happening.PROCESSED)
"""Postmark has no such webhook."""
QUESTIONS = ("/subscriber-stats", "/campaigns", "/esp-status", "/healthz", "/metrics")
END_WITHIN_S = 300.0


class TimedClient(Client):
    """Notes each answer under its route."""

    def __init__(self, port: int, calls: Calls) -> None:
        super().__init__(port)
        self._calls = calls

    def call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        since, status = time.monotonic(), NO_ANSWER
        try:
            answer = super().call(method, target, body, headers)
            status = answer.status
        finally:
            self._calls.note(f"{method} {target.partition('?')[0]}", status, since)
        return answer


@dataclass(slots=True)
class Teller:
    """Tells each event as often as `REPEAT`, in any order, until it was taken."""

    site: Site
    client: Client
    rng: random.Random
    told: Counter[Happening] = field(default_factory=Counter)
    """Different events."""
    taken: int = 0
    """Events in calls that were answered 2xx."""
    _pool: list[tuple[Taken, Happening]] = field(default_factory=list)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(TELLERS))

    def tell(self, n: int) -> int:
        """Up to `n` events; how many are left."""
        self._look()
        self.rng.shuffle(self._pool)
        now, self._pool = self._pool[:n], self._pool[n:]
        of_call = [
            part
            for esp in EspName
            if (of_esp := [one for one in now if one[0].esp is esp])
            # Only SendGrid tells of more than one mail in a call.
            for part in ([of_esp] if esp is EspName.SENDGRID else [[one] for one in of_esp])
        ]
        for part, is_taken in zip(of_call, self._threads.map(self._post, of_call), strict=True):
            if is_taken:
                self.taken += len(part)
            else:
                self._pool += part
        return len(self._pool)

    def tell_the_rest(self) -> None:
        wait_until(lambda: self.tell(PAGE) == 0, "the end of the events", within_s=END_WITHIN_S)
        self._threads.shutdown()

    def _look(self) -> None:
        """Mails that were taken since the last look."""
        ledger = self.site.simulator.ledger
        for esp in EspName:
            if mails := ledger.untold(esp, datetime.now(UTC), PAGE):
                ledger.note_told(esp, mails[-1].id, ledger.run)
            for mail in mails:
                found = [what for what in happenings(mail, RATES, ()) if (esp, what) != UNTOLD]
                self.told.update(found)
                self._pool += [(mail, what) for what in found for _ in range(REPEAT)]

    def _post(self, told: list[tuple[Taken, Happening]]) -> bool:
        simulator, esp = self.site.simulator, told[0][0].esp
        calls = posts(esp, told, simulator.courier.secrets, simulator.ledger.run)
        try:
            return all(
                self.client.call("POST", f"/engagement-webhook/{esp.value}", body, headers).status
                == 200
                for headers, body in calls
            )
        except NoAnswer:
            return False


@dataclass(slots=True)
class Load:
    """The chores, each to be called again and again; `NoAnswer` ends one of them early."""

    site: Site
    client: Client
    rng: random.Random
    recipients: int
    """Of each campaign."""
    _campaigns: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16))
    _questions: int = 0

    def post_campaign(self) -> None:
        """Begin one to some of the list."""
        chosen = self.rng.sample(sorted(self.site.people), self.recipients)
        mailing = Mailing(
            subject=f"news-{len(self.site.mailings)}", audience=frozenset(chosen), taken_before=0
        )
        self.site.mailings.append(mailing)
        self._campaigns.submit(self.send_to_the_end, mailing)

    def send_to_the_end(self, mailing: Mailing) -> None:
        """Whatever happens to the server meanwhile."""

        def is_final() -> bool:
            try:
                answer = self.client.send_campaign(
                    mailing.subject, audience={"emails": sorted(mailing.audience)}
                )
            except NoAnswer:
                return False
            assert answer.status in (200, 202, 409, 503), answer
            return answer.status == 200

        wait_until(is_final, f"an end of {mailing.subject}", within_s=END_WITHIN_S, look_again_s=1)

    def end_all(self) -> None:
        """Post those again whose end nobody has seen."""
        self._campaigns.shutdown()
        for mailing in self.site.mailings:
            self.send_to_the_end(mailing)

    def someone_leaves(self) -> None:
        mails = [one for one in self.site.simulator.mails() if one.recipient in self.site.people]
        if not mails:
            return
        mail = self.rng.choice(mails)
        assert mail.headers is not None
        link = urlsplit(mail.headers["List-Unsubscribe"].strip("<>"))
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        one_click = b"List-Unsubscribe=One-Click"
        if self.client.call("POST", f"{link.path}?{link.query}", one_click, form).status == 200:
            self.site.people.discard(mail.recipient)
            self.site.left.add(mail.recipient)

    def some_come(self, n: int = 20) -> None:
        """Imported again, if the server died over it."""
        known = len(self.site.people | self.site.left)
        emails = [f"person{number}@example.net" for number in range(known, known + n)]
        body = "\n".join(["email,first_name", *(f"{email},Ann" for email in emails)]).encode()
        answer = self.client.call("POST", "/subscribers/import", body, {"Content-Type": "text/csv"})
        if answer.status == 200:
            self.site.people.update(emails)

    def ask(self) -> None:
        """What a person looks at, in turn."""
        self.client.call("GET", QUESTIONS[self._questions % len(QUESTIONS)])
        self._questions += 1
