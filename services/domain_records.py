"""What an ESP's account says of the DNS records that it wants for a domain; by calls that only
read, so any of them may be made again.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from config.domain_setup import EspRecords, Record
from config.domain_values import TYPES, host_of, value_of
from config.esp_config import EspName
from services.base import CONNECT_TIMEOUT_S, READ_TIMEOUT_S
from services.http_transport import Transport


class DomainRecords(ABC):
    """The domains of one ESP's account."""

    name: ClassVar[EspName]
    cannot: str | None = None
    """Why the account cannot be asked at all, and what to do; `None`: it can."""

    def __init__(
        self,
        hide: tuple[str, ...],
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        """`hide`: the secrets that travel with each call."""
        self._transport = Transport(
            connections=1,
            hide=hide,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
        )

    @abstractmethod
    def records_of(self, domain: str) -> EspRecords | None:
        """What is to be published for `domain` (lower case, A-labels).

        `None`: the account does not know that very domain (it may know one above it), or
        `cannot` be asked. Raises an `EspError`.
        """


def told_record(domain: str, host: object, kind: object, value: object) -> Record | None:
    """A record as an ESP tells it, its host absolute; "" as value: the ESP does not tell it.

    `None` for what is not below the domain, or could be in no zone.
    """
    if not (isinstance(host, str) and isinstance(kind, str) and isinstance(value, str)):
        return None
    if kind.upper() not in TYPES:
        return None
    try:
        return Record(
            host=host_of(host, domain),
            type=kind.upper(),
            value=value_of(kind.upper(), value) if value else None,
        )
    except ValueError:
        return None


def present(records: Iterable[Record | None]) -> tuple[Record, ...]:
    return tuple(record for record in records if record is not None)
