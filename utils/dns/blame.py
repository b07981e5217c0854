"""Which refusals of mail are about the DNS of the domain that it came from."""

import re

# Gmail's 4.7.x and 5.7.x (facts/dns_deliverability.md 3), Microsoft's 5.7.509 and 5.7.515,
# and those of RFC 7372. Not here: 4.7.28, which is about rate, and .29, about the ESP's TLS.
CHECKS: dict[str, str] = {
    **dict.fromkeys(("7.20", "7.21", "7.22", "7.30"), "dkim"),
    **dict.fromkeys(("7.23", "7.24", "7.27"), "spf"),
    **dict.fromkeys(("7.26", "7.31", "7.32", "7.40", "7.509", "7.515"), "dmarc"),
    "7.25": "ptr",
}
"""The checks that a code is about, by how their ids begin."""

_CODE = re.compile(r"(?<![\d.])[45]\.(7\.\d{1,3})(?![\d.])")


def blamed(code: str | None, words: str | None) -> str | None:
    """The enhanced status (RFC 3463) by which a refusal blames the sender's DNS, if it does.

    It is looked for in `words` too: what an ESP calls the status is often its own.
    """
    for text in (code or "", words or ""):
        for found in _CODE.finditer(text):
            if found[1] in CHECKS:
                return found[0]
    return None


def checks_of(code: str) -> str:
    """How the ids of the checks begin that such a code is about."""
    return CHECKS[code.partition(".")[2]]
