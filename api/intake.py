"""What is said about an address that somebody adds: refused, or taken with a warning."""

from api.errors import invalid
from api.schemas import Answer
from utils.addresses import Address
from utils.dns.lookup import Resolver
from utils.intake import WORDS, Mx, Risk, is_disposable, role_of, takes_mail


class IntakeWarning(Answer):
    id: str
    """`role`, `disposable`, `typo` or `mx-unknown`."""
    detail: str
    suggestion: str | None = None


def look_at(
    address: Address, *, allow_risky: bool = False, resolver: Resolver | None = None
) -> list[IntakeWarning]:
    """What may be wrong with an address. Raises the 422 for one that is not taken.

    `resolver`: ask the DNS whether its domain takes mail.
    """
    more = {"suggestion": address.suggestion} if address.suggestion else {}
    role = role_of(address)
    if role is Risk.HARD_ROLE:
        raise invalid("/email", WORDS[role], more)
    disposable = is_disposable(address.domain)
    if disposable and not allow_risky:
        raise invalid("/email", WORDS[Risk.DISPOSABLE], more)
    mx = takes_mail(resolver, address.domain) if resolver else Mx.YES
    if mx is Mx.NO:
        raise invalid("/email", f"the domain {address.domain} takes no mail", more)
    return [
        *([IntakeWarning(id="role", detail=WORDS[Risk.ROLE])] if role else []),
        *([IntakeWarning(id="disposable", detail=WORDS[Risk.DISPOSABLE])] if disposable else []),
        *_typo(address),
        *(
            [
                IntakeWarning(
                    id="mx-unknown", detail="the DNS could not say whether its domain takes mail"
                )
            ]
            if mx is Mx.UNKNOWN
            else []
        ),
    ]


def _typo(address: Address) -> list[IntakeWarning]:
    if address.suggestion is None:
        return []
    detail = "the domain looks like a slip; taken as it was typed"
    return [IntakeWarning(id="typo", detail=detail, suggestion=address.suggestion)]
