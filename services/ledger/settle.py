"""Move the sends of a batch on from `sending`: one statement for all that end alike."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    String,
    Table,
    Update,
    bindparam,
    column,
    func,
    literal_column,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from database.models import EmailSend, SendStatus
from services.base import Outcome, SendResult
from services.ledger.claim import ClaimedBatch, ClaimedSend
from services.ledger.counters import changed

# The partial index is used only where the statement says the very words of its condition.
SENDING: ColumnElement[str] = literal_column("'sending'")

REFUSED = frozenset({Outcome.THROTTLED, Outcome.ESP_UNAVAILABLE})
"""Outcomes after which another ESP may carry the send: a failover, if one does."""

Settled = Sequence[tuple[ClaimedSend, SendResult]]


def settle(
    session: Session, batch: ClaimedBatch, status: SendStatus, found: Settled, now: datetime
) -> int:
    """How many moved; those that an event settled before stay as they are."""
    is_back = status is SendStatus.QUEUED
    said = {
        "batch": batch.id,
        "new_status": status,
        "at": None if is_back else now,
        "carrier": None if is_back else batch.esp,
    }
    results = [result for _, result in found]
    if len(results) == len(batch.sends) == results.count(results[0]):
        _, why, message_id, refuser = _words(batch, *found[0])
        said |= {"why": why, "message_id": message_id, "refuser": refuser, **ends(batch)}
        return changed(session.connection().execute(_ALL, said))
    rows = [_words(batch, *one) for one in found]
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        columns = zip(*rows, strict=True)
        said |= dict(zip(_EACH_SAYS, map(list, columns), strict=True))
        return changed(connection.execute(_EACH_OF_ARRAYS, said))
    return changed(connection.execute(_EACH_OF_JSON, {**said, "rows": json.dumps(rows)}))


def ends(batch: ClaimedBatch) -> dict[str, int]:
    return {"first": batch.sends[0].send_id, "last": batch.sends[-1].send_id}


def _words(
    batch: ClaimedBatch, send: ClaimedSend, result: SendResult
) -> tuple[int, str | None, str | None, str | None]:
    refuser = batch.esp.value if result.outcome in REFUSED else None
    return send.send_id, result.reason, result.message_id, refuser


_SENDS = cast("Table", EmailSend.__table__)
_EACH_SAYS = ("send", "why", "message_id", "refuser")


def _settling(words: Mapping[str, Any], *where: ColumnElement[bool]) -> Update:
    return (
        update(_SENDS)
        .where(_SENDS.c.batch_id == bindparam("batch"), _SENDS.c.status == SENDING, *where)
        .values(
            status=bindparam("new_status"),
            settled_at=bindparam("at"),
            esp=bindparam("carrier"),
            reason=words["why"],
            esp_message_id=words["message_id"],
            refused_by=words["refuser"],
        )
    )


# What SendGrid says holds for all of a call.
_ALL = _settling(
    {name: bindparam(name) for name in _EACH_SAYS[1:]},
    _SENDS.c.id.between(bindparam("first"), bindparam("last")),
)
# SES and Postmark name each message. A statement for each takes twice the time.
_ROWS = func.json_each(bindparam("rows", type_=String)).table_valued("value", name="said")
_PATHS = ("'$[0]'", "'$[1]'", "'$[2]'", "'$[3]'")
_OF_JSON = {
    name: func.json_extract(_ROWS.c.value, literal_column(path))
    for name, path in zip(_EACH_SAYS, _PATHS, strict=True)
}
_EACH_OF_JSON = _settling(_OF_JSON, _SENDS.c.id == _OF_JSON["send"])
_TYPES = (BigInteger, String, String, String)
_ARRAYS = (
    func.unnest(
        *(bindparam(name, type_=ARRAY(of)) for name, of in zip(_EACH_SAYS, _TYPES, strict=True))
    )
    .table_valued(
        *(column(name, of) for name, of in zip(_EACH_SAYS, _TYPES, strict=True)), name="said"
    )
    .render_derived()
)
_EACH_OF_ARRAYS = _settling(dict(_ARRAYS.c), _SENDS.c.id == _ARRAYS.c.send)
