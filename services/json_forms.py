"""JSON of many mails that differ in a few texts: its form is written once, and filled for all.

Of whole mails of 10 KB, to put each together and then to write it takes ten times as long.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, repeat
from typing import Any

from services.base import Batch, Recipient
from services.wire import json_body

SLOT = secrets.token_hex(16)
"""Stands in a document where a text will. Nobody can know it, so no text holds it."""

Names = tuple[str, ...]
"""Of the headers that a recipient has."""


def json_array(
    batch: Batch,
    shape: Callable[[Names], Any],
    texts: Callable[[Batch], Iterable[Sequence[str]]],
) -> Iterator[bytes]:
    """A document for each recipient, in pieces: a call's are joined once, they may be megabytes.

    `shape` makes it for those with headers of these names, with `SLOT` wherever a text belongs,
    and `texts` says these, a column for each slot, in the order of the document.
    """
    opening = chain((b"[",), repeat(b","))
    runs = (
        _written(opening, shape(names), texts(Batch(message=batch.message, recipients=tuple(run))))
        for names, run in groupby(batch.recipients, _names)
    )
    return chain(chain.from_iterable(runs), (b"]",))


def headers_with_slots(shared: Mapping[str, str], own: Names) -> dict[str, str]:
    """The headers of a recipient who has some of these names."""
    return {name: text for name, text in shared.items() if name not in own} | dict.fromkeys(
        own, SLOT
    )


def _names(recipient: Recipient) -> Names:
    return tuple(recipient.headers)


def _written(
    opening: Iterator[bytes], document: Any, columns: Iterable[Sequence[str]]
) -> Iterator[bytes]:
    """The document for each row of `columns`, each after what opens it."""
    first, *others = json_body(document).split(SLOT.encode())
    pieces: list[Iterable[bytes]] = [opening, repeat(first)]
    for texts, other in zip(columns, others, strict=True):
        pieces += (map(str.encode if _is_plain(texts) else _within_quotes, texts), repeat(other))
    return chain.from_iterable(zip(*pieces, strict=False))  # some of them never end


def _is_plain(texts: Sequence[str]) -> bool:
    """Whether JSON writes all of them as they are."""
    together = "".join(texts)
    return len(json_body(together)) == len(together.encode(errors="surrogatepass")) + len('""')


def _within_quotes(text: str) -> bytes:
    return json_body(text)[1:-1]
