"""A DKIM key is found where an ESP looks for it, and what is wrong with it is told apart."""

import asyncio
import base64
import time
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from config.domain_setup import DomainSetup, EspRecords, Record
from config.esp_config import EspName
from tests.dns_zones import PATIENCE_S, serving
from utils.dns import lookup
from utils.dns.dkim import Key, parse_key
from utils.dns.dkim_checks import check_dkim
from utils.dns.findings import Finding
from utils.dns.lookup import Lookups
from utils.dns.mechanism import Mechanism, Verdict
from utils.dns.subject import Subject

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK


@cache
def rsa_key(bits: int) -> str:
    """An RSA key as `p=` has it. Only its length matters: these numbers are no real modulus."""
    numbers = rsa.RSAPublicNumbers(65537, (1 << (bits - 1)) + 1)
    return encoded(numbers.public_key())


def encoded(key: rsa.RSAPublicKey) -> str:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


KEY = rsa_key(2048)
OTHER = encoded(rsa.RSAPublicNumbers(3, (1 << 2047) + 3).public_key())
ED25519 = base64.b64encode(
    ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    .public_key()
    .public_bytes(Encoding.Raw, PublicFormat.Raw)
).decode()

RECORDS = [
    (f"v=DKIM1; k=rsa; p={KEY}", Key(bits=2048, data=KEY)),
    (f"k=rsa;p={KEY}", Key(bits=2048, data=KEY)),
    (f"p={KEY[:100]} {KEY[100:]};", Key(bits=2048, data=KEY)),
    (f"v=DKIM1; s=tlsrpt:email; n=a note; p={KEY}", Key(bits=2048, data=KEY)),
    (f"v=DKIM1; t=y:s; h=sha1; p={KEY}", Key(
        bits=2048, data=KEY, hashes=("sha1",), is_testing=True, is_exact=True
    )),
    (f"k=ed25519; p={ED25519}", Key(type="ed25519", bits=256, data=ED25519)),
    ("v=DKIM1; p=", Key(is_revoked=True)),
    (f"v=DKIM2; p={KEY}", Key(fault="v= must come first and be DKIM1")),
    (f"p={KEY}; v=DKIM1", Key(fault="v= must come first and be DKIM1")),
    (f"v=DKIM1\\; p={KEY}", Key(fault="v= must come first and be DKIM1")),
    (f"p={KEY}; p={KEY}", Key(fault="the tag p= is there twice")),
    ("v=DKIM1; k=rsa", Key(fault="no p= (the key)")),
    ("", Key(fault="no p= (the key)")),
    ("v=DKIM1; hello; p=x", Key(fault="not a tag: hello")),
    (f"s=tlsrpt; p={KEY}", Key(fault="s=tlsrpt forbids the key for mail")),
    (f"p={KEY[:-3]}", Key(fault="p= is not base64", data=KEY[:-3])),
    ("p=kein Schlüssel", Key(fault="p= is not base64", data="keinSchlüssel")),
    (f"p={KEY[:-40]}", Key(fault="p= holds no RSA key", data=KEY[:-40])),
    (f"k=ec; p={KEY}", Key(fault="k=ec is no type of key", type="ec", data=KEY)),
    ("k=ed25519; p=AAAA", Key(
        fault="p= has 3 bytes, an Ed25519 key 32", type="ed25519", data="AAAA"
    )),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key"), RECORDS)
def test_a_record_holds_a_key_or_says_why_not(text: str, key: Key) -> None:
    assert parse_key(text) == key


def test_a_key_is_as_long_as_it_is_in_either_encoding() -> None:
    numbers = rsa.RSAPublicNumbers(65537, (1 << 1023) + 1).public_key()
    plain = numbers.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert [parse_key(f"p={rsa_key(bits)}").bits for bits in (512, 768, 1024, 4096, 8192)] == [
        *(512, 768, 1024, 4096, 8192)
    ]
    assert parse_key(f"p={base64.b64encode(plain).decode()}").bits == 1024


def txt(owner: str, text: str) -> str:
    strings = " ".join(f'"{text[n : n + 250]}"' for n in range(0, len(text), 250))
    return f"{owner} TXT {strings}\n"


def key_at(owner: str, key: str = KEY) -> str:
    return txt(owner, f"k=rsa; p={key}")


def cname(host: str, target: str | None) -> Record:
    return Record(host=f"{host}._domainkey", type="CNAME", value=target)


def postmark(value: str | None = None) -> EspRecords:
    return EspRecords(dkim=(Record(host="pm._domainkey", type="TXT", value=value),))


HOST = "_domainkey.example.com"
S1, S2 = f"s1.{HOST}", f"s2.{HOST}"
T1, T2 = (f"s{n}.domainkey.u7.wl001.sendgrid.net" for n in (1, 2))
TARGETS = key_at(T1) + key_at(T2, OTHER)
BOTH = f"{S1} CNAME {T1}.\n{S2} CNAME {T2}.\n{TARGETS}"
SENDGRID_SET = EspRecords(dkim=(cname("s1", T1), cname("s2", T2)))
ONE = EspRecords(dkim=(cname("s1", T1),))
PM = f"pm.{HOST}"
WORKS = Mechanism(verdict=Verdict.WORKS, domain="example.com")
BROKEN = Mechanism(verdict=Verdict.BROKEN, domain="example.com")
UNKNOWN = Mechanism(verdict=Verdict.UNKNOWN, domain="example.com")
NOBODY_KNOWS = Mechanism(verdict=Verdict.UNKNOWN)
SOUND = ["dkim.missing pass", "dkim.bits pass"]
ALIASED = ["dkim.cname.wrong pass", *SOUND]
S1_SOUND, S2_SOUND = ([f"{one} {host}" for one in ALIASED] for host in (S1, S2))
PM_SOUND = [f"{one} {PM}" for one in SOUND]
OF_ALL, OF_SOME = f"dkim.count pass {HOST}", f"dkim.count warn {HOST}"


def checked(zones: str, esp: EspName, records: EspRecords) -> tuple[list[Finding], Mechanism]:
    setup = DomainSetup(domain="example.com", esps={esp: records})
    subject = Subject(domain="example.com", setup=setup, esps=(esp,))

    with serving(zones) as (nameserver, _):

        async def run() -> tuple[list[Finding], Mechanism]:
            return await check_dkim(Lookups([nameserver]), subject, esp)

        return asyncio.run(run())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


# zones, ESP, set-up, what is told, and what comes of it
ZONES: dict[str, tuple[str, EspName, EspRecords, list[str], Mechanism]] = {
    "all three of SES": (
        "".join(
            f"{t}.{HOST} CNAME {t}.dkim.amazonses.com.\n{key_at(f'{t}.dkim.amazonses.com')}"
            for t in ("aaa", "bbb", "ccc")
        ),
        SES,
        EspRecords(
            dkim=tuple(cname(t, f"{t}.dkim.amazonses.com.") for t in ("aaa", "bbb", "ccc"))
        ),
        [
            *(f"{one} {t}.{HOST}" for t in ("aaa", "bbb", "ccc") for one in ALIASED),
            OF_ALL,
        ],
        WORKS,
    ),
    "both of SendGrid": (BOTH, SENDGRID, SENDGRID_SET, [*S1_SOUND, *S2_SOUND, OF_ALL], WORKS),
    "SendGrid's usual selectors": (
        BOTH, SENDGRID, EspRecords(), [*S1_SOUND, *S2_SOUND, OF_ALL], WORKS,
    ),
    "SendGrid's targets known to SendGrid only": (
        BOTH,
        SENDGRID,
        EspRecords(dkim=(cname("s1", None), cname("s2", None))),
        [*S1_SOUND, *S2_SOUND, OF_ALL],
        WORKS,
    ),
    "by way of another domain of ours": (
        f"{S1} CNAME s1.keys.example.net.\ns1.keys.example.net CNAME {T1}.\n"
        f"{S2} CNAME {T2}.\n{TARGETS}",
        SENDGRID, SENDGRID_SET, [*S1_SOUND, *S2_SOUND, OF_ALL], WORKS,
    ),
    "a key of Postmark's": (
        key_at(PM), POSTMARK, postmark(f"k=rsa;p={KEY}"), [*PM_SOUND, OF_ALL], WORKS,
    ),
    "a key of Postmark's by a CNAME": (
        f"{PM} CNAME keys.example.net.\n{key_at('keys.example.net')}",
        POSTMARK, postmark(), [*PM_SOUND, OF_ALL], WORKS,
    ),
    "nothing to look for at SES": (
        BOTH, SES, EspRecords(), [f"dkim.unknown info {HOST}"], NOBODY_KNOWS,
    ),
    "nothing to look for at Postmark": (
        BOTH, POSTMARK, EspRecords(), [f"dkim.unknown info {HOST}"], NOBODY_KNOWS,
    ),
    "SendGrid's usual selectors are another's": (
        key_at(S1), SENDGRID, EspRecords(), [f"dkim.unknown info {HOST}"], NOBODY_KNOWS,
    ),
    "SendGrid's usual selectors are not answered for": (
        f"{S1} SERVFAIL\n{S2} SERVFAIL",
        SENDGRID, EspRecords(), [f"dkim.unknown unknown {HOST}"], NOBODY_KNOWS,
    ),
    "dkim.missing": (
        TARGETS, SENDGRID, SENDGRID_SET,
        [f"dkim.missing fail {S1}", f"dkim.missing fail {S2}"], BROKEN,
    ),
    "dkim.missing, though another type is there": (
        f"{PM} MX 10 mx.example.com.", POSTMARK, postmark(), [f"dkim.missing fail {PM}"], BROKEN,
    ),
    "dkim.missing, under a wildcard that answers for all": (
        f"{PM} A 192.0.2.1\nno-such-selector.{HOST} A 192.0.2.1",
        POSTMARK, postmark(), [f"dkim.missing fail {PM}"], BROKEN,
    ),
    "dkim.missing, perhaps under a wildcard": (
        f"{PM} A 192.0.2.1\nno-such-selector.{HOST} SERVFAIL",
        POSTMARK, postmark(), [f"dkim.missing fail {PM}"], BROKEN,
    ),
    "dkim.missing unknown: no answer": (
        f"{PM} TIMEOUT", POSTMARK, postmark(), [f"dkim.missing unknown {PM}"], UNKNOWN,
    ),
    "dkim.missing unknown: the target is not answered for": (
        f"{S1} CNAME {T1}.\n{S1} SERVFAIL",
        SENDGRID, ONE, [f"dkim.missing unknown {S1}"], UNKNOWN,
    ),
    "one good, one unknown": (
        f"{S1} CNAME {T1}.\n{S2} SERVFAIL\n{TARGETS}",
        SENDGRID, SENDGRID_SET, [*S1_SOUND, f"dkim.missing unknown {S2}"], WORKS,
    ),
    "one bad, one unknown": (
        f"{S2} SERVFAIL\n{TARGETS}",
        SENDGRID, SENDGRID_SET,
        [f"dkim.missing fail {S1}", f"dkim.missing unknown {S2}"], UNKNOWN,
    ),
    "dkim.count: one of two is missing": (
        f"{S1} CNAME {T1}.\n{TARGETS}",
        SENDGRID, SENDGRID_SET, [*S1_SOUND, f"dkim.missing fail {S2}", OF_SOME], WORKS,
    ),
    "dkim.count: only one of two is in the set-up": (
        BOTH, SENDGRID, ONE, [*S1_SOUND, OF_SOME], WORKS,
    ),
    "dkim.double_suffix, CNAME": (
        f"{S1}.example.com CNAME {T1}.\n{TARGETS}",
        SENDGRID, ONE, [f"dkim.double_suffix fail {S1}"], BROKEN,
    ),
    "dkim.double_suffix, TXT": (
        key_at(f"{PM}.example.com"),
        POSTMARK, postmark(), [f"dkim.double_suffix fail {PM}"], BROKEN,
    ),
    "dkim.cname.proxied": (
        f"{S1} A 192.0.2.7\n{TARGETS}",
        SENDGRID, ONE, [f"dkim.cname.proxied fail {S1}"], BROKEN,
    ),
    "dkim.cname.wrong: another target": (
        f"{S1} CNAME {T2}.\n{TARGETS}",
        SENDGRID, ONE, [f"dkim.cname.wrong fail {S1}"], BROKEN,
    ),
    "dkim.cname.wrong: the panel appended the domain to the target": (
        f"{S1} CNAME {T1}.example.com.",
        SENDGRID, ONE, [f"dkim.cname.wrong fail {S1}"], BROKEN,
    ),
    "dkim.cname.wrong: a loop": (
        f"{S1} CNAME {S2}.\n{S2} CNAME {S1}.",
        SENDGRID, ONE, [f"dkim.cname.wrong fail {S1}"], BROKEN,
    ),
    "dkim.cname.wrong: a loop, its first step not answered for": (
        f"{S1} CNAME {S2}.\n{S2} CNAME {S1}.\n{S1} CNAME SERVFAIL",
        SENDGRID, ONE, [f"dkim.cname.wrong fail {S1}"], BROKEN,
    ),
    "dkim.cname.wrong: not at SendGrid, as far as we know": (
        f"{S1} CNAME a.example.net.\n{key_at('a.example.net')}",
        SENDGRID,
        EspRecords(dkim=(cname("s1", None),)),
        [f"dkim.cname.wrong warn {S1}", *(f"{one} {S1}" for one in SOUND), OF_SOME],
        WORKS,
    ),
    "dkim.cname.wrong: a copy of the key": (
        key_at(S1) + TARGETS,
        SENDGRID, ONE,
        [f"dkim.cname.wrong warn {S1}", *(f"{one} {S1}" for one in SOUND), OF_SOME], WORKS,
    ),
    "dkim.cname.wrong: a copy of an old key": (
        key_at(S1, OTHER) + TARGETS,
        SENDGRID, ONE, [f"dkim.cname.wrong fail {S1}"], BROKEN,
    ),
    "dkim.cname.wrong unknown: a key, and the target is not answered for": (
        f"{key_at(S1)}{T1} SERVFAIL",
        SENDGRID, ONE, [f"dkim.cname.wrong unknown {S1}"], UNKNOWN,
    ),
    "dkim.cname.dangling": (
        f"{S1} CNAME {T1}.", SENDGRID, ONE, [f"dkim.cname.dangling fail {S1}"], BROKEN,
    ),
    "dkim.cname.dangling: the target has no TXT": (
        f"{S1} CNAME {T1}.\n{T1} A 192.0.2.1",
        SENDGRID, ONE, [f"dkim.cname.dangling fail {S1}"], BROKEN,
    ),
    "dkim.cname_and_txt": (
        f"{S1} CNAME {T1}.\n{key_at(S1)}{TARGETS}",
        SENDGRID, ONE, [f"dkim.cname_and_txt fail {S1}"], BROKEN,
    ),
    "dkim.multi_txt": (
        key_at(PM) + key_at(PM, OTHER),
        POSTMARK, postmark(), [f"dkim.multi_txt fail {PM}"], BROKEN,
    ),
    "dkim.key.wrong": (
        key_at(PM, OTHER), POSTMARK, postmark(f"k=rsa;p={KEY}"),
        [f"dkim.key.wrong fail {PM}", f"dkim.bits pass {PM}"], BROKEN,
    ),
    "dkim.revoked": (
        txt(PM, "v=DKIM1; p="), POSTMARK, postmark(f"k=rsa;p={KEY}"),
        [f"dkim.missing pass {PM}", f"dkim.revoked fail {PM}"], BROKEN,
    ),
    "dkim.bad_b64": (
        key_at(PM, KEY[:-5]), POSTMARK, postmark(),
        [f"dkim.missing pass {PM}", f"dkim.bad_b64 fail {PM}"], BROKEN,
    ),
    "dkim.bad_b64: an SPF record of a wildcard": (
        txt(PM, "v=spf1 ~all"), POSTMARK, postmark(),
        [f"dkim.missing pass {PM}", f"dkim.bad_b64 fail {PM}"], BROKEN,
    ),
    "dkim.bits: too few for anybody": (
        key_at(PM, rsa_key(768)), POSTMARK, postmark(),
        [f"dkim.missing pass {PM}", f"dkim.bits fail {PM}"], BROKEN,
    ),
    "dkim.bits: few": (
        key_at(PM, rsa_key(1024)), POSTMARK, postmark(),
        [f"dkim.missing pass {PM}", f"dkim.bits warn {PM}", OF_ALL], WORKS,
    ),
    "dkim.bits: many": (
        key_at(PM, rsa_key(8192)), POSTMARK, postmark(),
        [f"dkim.missing pass {PM}", f"dkim.bits warn {PM}", OF_ALL], WORKS,
    ),
    "dkim.testing": (
        txt(PM, f"t=y; p={KEY}"), POSTMARK, postmark(),
        [*PM_SOUND, f"dkim.testing warn {PM}", OF_ALL], WORKS,
    ),
    "dkim.t_s": (
        txt(PM, f"t=s; p={KEY}"), POSTMARK, postmark(),
        [*PM_SOUND, f"dkim.t_s info {PM}", OF_ALL], WORKS,
    ),
    "dkim.h": (
        txt(PM, f"h=sha1; p={KEY}"), POSTMARK, postmark(),
        [*PM_SOUND, f"dkim.h fail {PM}"], BROKEN,
    ),
    "dkim.ed25519_only": (
        txt(PM, f"k=ed25519; p={ED25519}"), POSTMARK, postmark(),
        [*PM_SOUND, OF_ALL, f"dkim.ed25519_only warn {HOST}"], WORKS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ZONES)
def test_each_fault_of_a_selector_is_told_by_its_name(case: str) -> None:
    zones, esp, records, told, mechanism = ZONES[case]
    findings, found = checked(zones, esp, records)
    assert [f"{one.id} {one.status} {one.host}" for one in findings] == told
    assert found == mechanism
    assert {one.esp for one in findings} == {esp}
    assert not any(one.blocks for one in findings)
    # What is wrong says what to do; what is right has nothing to say.
    assert all(bool(one.remedy) == (one.status not in ("pass", "info")) for one in findings) or (
        [one.id for one in findings] == ["dkim.unknown"]
    )


REMEDIES = [
    ("dkim.missing", f"Add the record {S1} CNAME {T1}."),
    ("dkim.missing, though another type is there",
     f"Add the record {PM} TXT as the Postmark panel shows."),
    ("dkim.double_suffix, CNAME",
     f"Enter the host without the domain: s1._domainkey, CNAME {T1}."),
    ("dkim.cname.proxied", f"Switch {S1} to DNS only (no proxy): CNAME {T1}."),
    ("dkim.cname.wrong: another target", f"Set {S1} to CNAME {T1}."),
    ("dkim.cname.wrong: the panel appended the domain to the target",
     f"Enter the target of {S1} with a dot at its end: {T1}."),
    ("nothing to look for at Postmark",
     "Put the DKIM records that the Postmark panel shows for example.com into "
     "config/domain_setup.json, or set POSTMARK_ACCOUNT_TOKEN in live mode."),
]  # fmt: skip


@pytest.mark.parametrize(("case", "remedy"), REMEDIES)
def test_a_remedy_names_the_record_and_its_value(case: str, remedy: str) -> None:
    zones, esp, records, _, _ = ZONES[case]
    assert checked(zones, esp, records)[0][0].remedy == remedy


def test_no_record_takes_long_to_be_read() -> None:
    begin = time.monotonic()
    for text in ("a=;" * 2700, "".join(f"a{n}=;" for n in range(1200)), f"p={'A' * 8000}"):
        assert parse_key(text).fault
    assert time.monotonic() - begin < 0.2


def test_the_signing_domain_is_the_one_that_the_selectors_are_in() -> None:
    record = Record(host="pm._domainkey.news", type="TXT", value=None)
    zones = key_at("pm._domainkey.news.example.com")
    _, mechanism = checked(zones, POSTMARK, EspRecords(dkim=(record,)))
    assert mechanism == Mechanism(verdict=Verdict.WORKS, domain="news.example.com")


def test_other_names_are_asked_for_only_when_something_is_missing() -> None:
    with serving(BOTH) as (nameserver, zones):
        setup = DomainSetup(domain="example.com", esps={SENDGRID: SENDGRID_SET})
        subject = Subject(domain="example.com", setup=setup, esps=(SENDGRID,))

        async def run() -> None:
            await check_dkim(Lookups([nameserver]), subject, SENDGRID)

        asyncio.run(run())
        asked = [(host, kind) for host in (S1, S2) for kind in ("CNAME", "TXT")]
        assert sorted(zones.asked) == asked
