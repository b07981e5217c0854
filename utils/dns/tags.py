"""`name=value; name=value`, as DKIM and DMARC write their records (RFC 6376, 3.2)."""

import re
from collections import Counter
from dataclasses import dataclass

_TAG = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of a record in their order."""

    pairs: tuple[tuple[str, str], ...]
    """Name and value as written, without blanks around."""
    strays: tuple[str, ...]
    """What stands between two `;` and is no tag."""

    def first(self, name: str) -> str | None:
        """The value of the first tag of that name."""
        return next((value for one, value in self.pairs if one == name), None)

    @property
    def doubled(self) -> tuple[str, ...]:
        """Names that occur more than once: the whole list is then invalid."""
        counts = Counter(name for name, _ in self.pairs)
        return tuple(name for name, count in counts.items() if count > 1)


def tag_list(text: str) -> Tags:
    """A record taken apart; the last `;` may be missing."""
    pairs, strays = [], []
    for piece in filter(str.strip, text.split(";")):
        if found := _TAG.fullmatch(piece):
            pairs.append((found[1], found[2].strip()))
        else:
            strays.append(piece.strip())
    return Tags(tuple(pairs), tuple(strays))
