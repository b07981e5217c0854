"""What a check of a domain comes to: one finding a check, those that pass too."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from config.esp_config import EspName

SHOWN_CHARS = 300
"""Of what is quoted from DNS, which may be anybody's and of any length."""

ADVISED_CHARS = 1_000
"""Of what to publish: room for a key."""


class Status(StrEnum):
    PASS = "pass"
    INFO = "info"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"
    """DNS did not answer: nothing is known to be wrong, or right."""


_WORST_FIRST = (Status.FAIL, Status.UNKNOWN, Status.WARN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`id` as in facts/dns_deliverability.md 2, like `spf.lookups`; it never changes."""

    id: str
    status: Status
    host: str
    """The name that was looked at."""
    found: str
    expected: str
    remedy: str = ""
    """One sentence that a person can act on; "" where nothing is to be done."""
    reference: str
    """Of the rule: `RFC 7208, 4.6.4`, or whose page it is on."""
    esp: EspName | None = None
    """Whose mail it is about; `None`: everybody's."""
    blocks: bool = False
    """Mail that this ESP sends for the domain would fail authentication."""

    def but(self, status: Status, found: str, remedy: str = "") -> Self:
        """The same check with another outcome."""
        return replace(self, status=status, found=found, remedy=remedy)

    def unanswered(self) -> Self:
        """The same check where DNS did not tell."""
        remedy = f"Nothing to change unless it stays so: DNS did not answer for {self.host}."
        return self.but(Status.UNKNOWN, "DNS did not answer", remedy)

    def as_dict(self) -> dict[str, Any]:
        told = {
            "id": self.id,
            "status": self.status.value,
            "esp": self.esp.value if self.esp else None,
            "host": shown(self.host),
            "found": shown(self.found),
            "expected": shown(self.expected, ADVISED_CHARS),
            "remedy": shown(self.remedy, ADVISED_CHARS),
            "reference": self.reference,
        }
        return told | {"blocks": True} if self.blocks else told


def status_of(findings: Iterable[Finding]) -> Status:
    """Of all together: the worst, where what is only informative passes."""
    statuses = {finding.status for finding in findings}
    return next((status for status in _WORST_FIRST if status in statuses), Status.PASS)


def shown(text: str, most: int = SHOWN_CHARS) -> str:
    """Text from DNS as it may be shown: one line of printable characters, not too long.

    Whoever puts it into HTML escapes it like any other text.
    """
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in cut)
