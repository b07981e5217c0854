"""What always holds, read with plain SQL that both databases take."""

from collections import Counter

from hypothesis.stateful import invariant
from sqlalchemy import JSON, String

from database.models import Base
from services.event_recorder.sends import BIT, BOUNCED
from tests.ledger_machine.model import Model

HEARD = {"delivered": BIT["delivered"], "bounced": BOUNCED, "complained": BIT["complained"]}
STATUSES = ("skipped", "queued", "sending", "accepted", "rejected", "unknown", "cancelled")
COUNTERS = ("planned", *STATUSES, *HEARD, "opened", "clicked", "unsubscribed")

TELLS_OF = " UNION ALL ".join(
    f"SELECT '{table.name}.{column.name}' FROM {table.name}"
    f" WHERE LOWER(CAST(\"{column.name}\" AS TEXT)) LIKE '%:person%'"
    for table in Base.metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, String | JSON)
)
"""Every column in which an address could stand."""


class Checks(Model):
    @invariant()
    def nobody_is_carried_twice(self) -> None:
        """But a mail to confirm, which goes again once by itself."""
        assert all(send.carried <= 1 for send in self.sends.values())
        asking = {request.campaign for request in self.people.requests}
        assert all(send.again <= (send.campaign in asking) for send in self.sends.values())

    @invariant()
    def nothing_names_who_was_erased(self) -> None:
        for person in self.people.erased:
            assert self.look(TELLS_OF.replace(":person", person)) == []

    @invariant()
    def every_send_is_as_the_model_says(self) -> None:
        rows = self.look("SELECT id, status, attempt FROM email_sends ORDER BY id")
        model = sorted(self.sends.items())
        assert rows == [(one, send.status, send.attempt) for one, send in model]

    @invariant()
    def counters_equal_their_recounts(self) -> None:
        counted: dict[int, Counter[str]] = {one: Counter() for one in self.campaigns}
        for campaign, status, heard, *flags in self.look(
            "SELECT campaign_id, status, heard, opened, clicked, unsubscribed FROM email_sends"
        ):
            flagged = dict(zip(("opened", "clicked", "unsubscribed"), flags, strict=True))
            told = {name: int(bool(heard & bits)) for name, bits in HEARD.items()}
            counted[campaign].update({"planned": 1, status: 1, **told, **flagged})
        for campaign, n in self.look(
            "SELECT campaign_id, n FROM campaign_tallies WHERE kind = 'skipped'"
            " AND key IN ('duplicate', 'unknown_subscriber', 'invalid')"
        ):
            counted[campaign].update({"planned": n, "skipped": n})
        kept = self.look(f"SELECT id, {', '.join(COUNTERS)} FROM campaigns ORDER BY id")
        assert kept == [
            (one, *(counted[one][name] for name in COUNTERS)) for one in sorted(counted)
        ]
        assert all(row[1] == sum(row[2:9]) for row in kept), "planned is the sum of the statuses"

    @invariant()
    def tallies_equal_their_recounts(self) -> None:
        tallied = self.look(
            "SELECT campaign_id, kind, key, n FROM campaign_tallies WHERE n <> 0"
            " AND kind IN ('accepted', 'carried', 'skipped')"
            " AND key NOT IN ('duplicate', 'unknown_subscriber', 'invalid')"
        )
        by_row = self.look(
            "SELECT campaign_id, 'accepted', esp, COUNT(*) FROM email_sends"
            " WHERE status = 'accepted' GROUP BY 1, 3 UNION ALL"
            " SELECT campaign_id, 'carried', esp || '/' || mailbox_provider, COUNT(*)"
            " FROM email_sends WHERE status = 'accepted' GROUP BY 1, 3 UNION ALL"
            " SELECT campaign_id, 'skipped', reason, COUNT(*) FROM email_sends"
            " WHERE status = 'skipped' GROUP BY 1, 3"
        )
        assert sorted(tallied) == sorted(by_row)

    @invariant()
    def batches_under_way_are_those_of_our_calls(self) -> None:
        found = {
            batch for (batch,) in self.look("SELECT id FROM send_batches WHERE state='sending'")
        }
        assert found == {call.id for call in self.calls}
