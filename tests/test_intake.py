"""What is said of an address when it comes in."""

import subprocess
import sys

import pytest

from config.settings import ROOT
from utils.addresses import normalise
from utils.dns.lookup import Answer, Found
from utils.intake import (
    HARD_ROLES,
    ROLES,
    WORDS,
    Mx,
    Risk,
    is_disposable,
    refusals,
    role_of,
    takes_mail,
)

# The published block list of facts/dns_deliverability.md 5.6, whole.
MAILCHIMP = [
    "abuse",
    "admin",
    "billing",
    "compliance",
    "devnull",
    "dns",
    "ftp",
    "hostmaster",
    "inoc",
    "ispfeedback",
    "ispsupport",
    "list",
    "list-request",
    "maildaemon",
    "noc",
    "no-reply",
    "noreply",
    "null",
    "phish",
    "phishing",
    "postmaster",
    "privacy",
    "registrar",
    "root",
    "security",
    "spam",
    "support",
    "sysadmin",
    "tech",
    "undisclosed-recipients",
    "unsubscribe",
    "usenet",
    "uucp",
    "webmaster",
    "www",
]


def test_every_published_role_is_known() -> None:
    assert {role for role in MAILCHIMP if role not in ROLES} == set()
    assert ROLES - set(MAILCHIMP) == {"mailer-daemon"}
    assert HARD_ROLES < ROLES


@pytest.mark.parametrize(
    ("address", "risk"),
    [
        ("abuse@example.com", Risk.HARD_ROLE),
        ("Abuse@example.com", Risk.HARD_ROLE),
        ("abuse+news@example.com", Risk.HARD_ROLE),
        ("MAILER-DAEMON@example.com", Risk.HARD_ROLE),
        ("webmaster@example.com", Risk.ROLE),
        ("support+x+y@example.com", Risk.ROLE),
        ("abuser@example.com", None),
        ("info@example.com", None),
        ("ann+abuse@example.com", None),
    ],
)
def test_a_role_is_known_by_the_part_before_the_at(address: str, risk: Risk | None) -> None:
    assert role_of(normalise(address)) is risk


@pytest.mark.parametrize(
    ("domain", "disposable"),
    [
        ("mailinator.com", True),
        ("sub.of.mailinator.com", True),
        ("my-mailinator.com", False),
        ("mailinator.com.example.org", False),
        *(
            (domain, False)
            for domain in ("example.com", "gmail.com", "duck.com", "com", "gmial.com")
        ),
    ],
)
def test_a_disposable_domain_is_known_with_all_below_it(domain: str, disposable: bool) -> None:
    assert is_disposable(domain) is disposable


@pytest.mark.parametrize(
    ("address", "allowed", "refused"),
    [
        ("ann@example.com", {}, None),
        ("abuse@example.com", {}, Risk.HARD_ROLE),
        ("abuse@example.com", {"roles": True, "disposable": True}, Risk.HARD_ROLE),
        ("spam+x@example.com", {"roles": True}, Risk.HARD_ROLE),
        ("support@example.com", {}, Risk.ROLE),
        ("support+x@example.com", {}, Risk.ROLE),
        ("support@example.com", {"roles": True}, None),
        ("ann@mailinator.com", {}, Risk.DISPOSABLE),
        ("ann@mailinator.com", {"roles": True}, Risk.DISPOSABLE),
        ("ann@mailinator.com", {"disposable": True}, None),
    ],
)
def test_what_a_file_may_bring(
    address: str, allowed: dict[str, bool], refused: Risk | None
) -> None:
    assert refusals(**allowed)(normalise(address)) == (refused and WORDS[refused])


class Zone:
    """Answers from a table; a name and type that it has not is NODATA."""

    def __init__(self, **answers: Answer) -> None:
        self._answers = answers

    def ask(self, name: str, kind: str) -> Answer:
        assert name == "example.com"
        return self._answers.get(kind, Answer(found=Found.NODATA))


def said(*records: str) -> Answer:
    return Answer(found=Found.OK, records=records)


TEMPFAIL = Answer(found=Found.TEMPFAIL)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (Zone(MX=said("10 mx.example.com.")), Mx.YES),
        (Zone(MX=said("0 .")), Mx.NO),
        (Zone(MX=said("0 .", "10 mx.example.com.")), Mx.YES),
        (Zone(MX=Answer(found=Found.NXDOMAIN)), Mx.NO),
        (Zone(MX=TEMPFAIL), Mx.UNKNOWN),
        (Zone(), Mx.NO),
        (Zone(A=said("192.0.2.1")), Mx.YES),
        (Zone(AAAA=said("2001:db8::1")), Mx.YES),
        (Zone(A=TEMPFAIL, AAAA=said("2001:db8::1")), Mx.YES),
        (Zone(A=TEMPFAIL), Mx.UNKNOWN),
    ],
)
def test_whether_a_domain_takes_mail(zone: Zone, expected: Mx) -> None:
    assert takes_mail(zone, "example.com") is expected


def test_the_list_of_domains_is_not_read_when_a_process_starts() -> None:
    asked = "import sys, app, cli, list_manager; print('disposable_email_domains' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout == "False\n"
