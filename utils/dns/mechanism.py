"""How one ESP's mail for a domain proves where it is from: by DKIM, by SPF, or not at all."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    WORKS = "works"
    BROKEN = "broken"
    """A record is known to be missing or wrong."""
    UNKNOWN = "unknown"
    """DNS did not answer, or nobody has told us what to look for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """DKIM or SPF of one ESP for one domain."""

    verdict: Verdict
    domain: str | None = None
    """What it vouches for: d= of the signature, or the host of the return path; `None` when
    that is the ESP's own (SPF then passes for the ESP, and says nothing of the domain)."""
