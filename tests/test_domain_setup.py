"""`config/domain_setup.json`: its form, every fault by its key, and how the ESPs' word joins it."""

import json
from pathlib import Path
from typing import Any

import pytest

from config.domain_setup import DomainSetup, EspRecords, Record, load, merged
from config.esp_config import EspName
from config.json_reader import MAX_BYTES
from config.settings import ROOT, SettingsError, load_settings

KEYS = {"API_KEY": "k3yOfTheApi-0123", "SECRET_KEY": "s1gner-0123456789abcdefghijklmnop"}
SHIPPED = ROOT / "config" / "domain_setup.json"
ESPS = [esp.value for esp in EspName]
NEWLINES = "x\n" * 99
NO_HOST = (
    'must be relative to example.com, like s1._domainkey, or "@" for example.com itself'
    " (in its xn-- form if not ASCII)"
)
TOO_MUCH = "must be relative to example.com: leave .example.com off"


def one_of(names: list[str]) -> str:
    return f"must be {', '.join(names[:-1])} or {names[-1]}"


def record(host: str, kind: str, value: str | None) -> Record:
    return Record(host=host, type=kind, value=value)


def written(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "setup.json"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return path


def faults(tmp_path: Path, document: Any) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(written(tmp_path, document))
    return list(raised.value.faults)


def with_dkim(**told: Any) -> dict[str, Any]:
    whole = {"host": "s1._domainkey", "type": "TXT", "value": None} | told
    return {"domains": {"example.com": {"esps": {"sendgrid": {"dkim": [whole]}}}}}


def with_domain(**told: Any) -> dict[str, Any]:
    return {"domains": {"example.com": {"esps": {}} | told}}


def item(host: str, kind: str, value: str | None = None) -> dict[str, Any]:
    return {"host": host, "type": kind, "value": value}


# the form


def test_all_of_it(tmp_path: Path) -> None:
    document = {
        "_about": ["no comments in JSON"],
        "domains": {
            "Example.com.": {
                "spf": item("@", "TXT", "v=spf1 -all"),
                "dmarc": item("_dmarc", "txt", " v=DMARC1; p=none "),
                "mx": [item("@", "MX", "010  MX1.example.net."), item("@", "MX", "20 mx2.a.org")],
                "esps": {
                    "ses": {"dkim": [], "tracking": [item("t", "A", "192.0.2.1")]},
                    "sendgrid": {
                        "dkim": [item("S1._DomainKey", "cname", "S1.domainkey.u1.wl1.x.net.")],
                        "return_path": [item("em", "CNAME")],
                        "tracking": [item("t", "AAAA", "2001:DB8:0::1")],
                    },
                },
            },
            "xn--bcher-kva.example": {"mx": [item("@", "MX", "0 .")], "esps": {"postmark": {}}},
        },
    }
    assert load(written(tmp_path, document)) == {
        "example.com": DomainSetup(
            domain="example.com",
            spf=record("@", "TXT", "v=spf1 -all"),
            dmarc=record("_dmarc", "TXT", "v=DMARC1; p=none"),
            mx=(record("@", "MX", "10 mx1.example.net"), record("@", "MX", "20 mx2.a.org")),
            esps={
                EspName.SENDGRID: EspRecords(
                    dkim=(record("s1._domainkey", "CNAME", "s1.domainkey.u1.wl1.x.net"),),
                    return_path=(record("em", "CNAME", None),),
                    tracking=(record("t", "AAAA", "2001:db8::1"),),
                ),
                EspName.SES: EspRecords(tracking=(record("t", "A", "192.0.2.1"),)),
            },
        ),
        "xn--bcher-kva.example": DomainSetup(
            domain="xn--bcher-kva.example",
            mx=(record("@", "MX", "0 ."),),
            esps={EspName.POSTMARK: EspRecords()},
        ),
    }


def test_what_is_shipped_is_about_example_com_alone_and_has_no_key_in_it() -> None:
    [setup] = load(SHIPPED).values()
    assert setup.domain == "example.com"
    assert [*setup.esps] == [EspName.SENDGRID, EspName.SES, EspName.POSTMARK]
    assert {one.value for esp in setup.esps.values() for one in esp.dkim} == {None}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], ['domains: must be there: {"domains": {"example.com": { … }}}']),
        ({"domains": []}, ['domains: must be there: {"domains": {"example.com": { … }}}']),
        ({"domains": {}, "domain": {}}, ["domain: must be domains, or begin with _"]),
        (
            {"domains": {"bücher.example": {"esps": {}}}},
            [
                "domains.bücher.example: must be a domain like example.com"
                " (in its xn-- form if not ASCII)"
            ],
        ),
        (
            {"domains": {"a.org": {"esps": {}}, "A.org": {"esps": {}}}},
            ["domains.A.org: is there twice"],
        ),
        (
            {"domains": {NEWLINES: {}}},
            [
                f"domains.{ascii(NEWLINES)[:60]}: must be a domain like example.com"
                " (in its xn-- form if not ASCII)"
            ],
        ),
        ({"domains": {"example.com": 1}}, ["domains.example.com: must be an object { … }"]),
        (
            {"domains": {"example.com": {"dkim": []}}},
            [
                "domains.example.com.dkim: must be spf, dmarc, mx or esps",
                "domains.example.com.esps: must be there; {} when no ESP sends for it",
            ],
        ),
        (with_domain(esps=[]), ["domains.example.com.esps: must be an object { … }"]),
        (
            with_domain(esps={"sendgird": {}}),
            [f"domains.example.com.esps.sendgird: {one_of(ESPS)}"],
        ),
        (
            with_domain(esps={"ses": {"links": []}}),
            ["domains.example.com.esps.ses.links: must be dkim, return_path or tracking"],
        ),
        (
            with_domain(esps={"ses": {"dkim": {}}}),
            ["domains.example.com.esps.ses.dkim: must be a list [ … ]"],
        ),
        (
            with_domain(spf=item("mail", "TXT"), dmarc=item("@", "TXT"), mx=[item("@", "A")]),
            [
                'domains.example.com.spf.host: must be "@"',
                'domains.example.com.dmarc.host: must be "_dmarc"',
                "domains.example.com.mx[0].type: must be MX",
            ],
        ),
        (
            with_domain(mx=["10 mx.example.net", {}]),
            [
                "domains.example.com.mx[0]: must be an object { … }",
                "domains.example.com.mx[1].host: must be a text in quotes",
                "domains.example.com.mx[1].type: must be a text in quotes",
                "domains.example.com.mx[1].value: must be there; null when only the ESP knows it",
            ],
        ),
        (
            with_domain(esps={"ses": {"return_path": [item("a", "MX"), item("b", "TXT")]}}),
            ['domains.example.com.esps.ses.return_path[1].host: must be "a" like the first'],
        ),
        (
            with_domain(esps={"ses": {"return_path": [item("a", "CNAME"), item("a", "TXT")]}}),
            ["domains.example.com.esps.ses.return_path[1]: cannot be at the same host as [0]"],
        ),
        (
            with_domain(mx=[item("@", "MX", "10 a.org"), item("@", "MX", "10 A.org.")]),
            ["domains.example.com.mx[1]: cannot be at the same host as [0]"],
        ),
    ],
)
def test_a_fault_of_form_is_told_by_its_key(
    tmp_path: Path, document: Any, expected: list[str]
) -> None:
    assert faults(tmp_path, document) == [f"setup.json, {line}" for line in expected]


@pytest.mark.parametrize(
    ("name", "told", "expected"),
    [
        ("type", "SPF", "must be CNAME, TXT, MX, A or AAAA"),
        ("type", 1, "must be a text in quotes"),
        ("key", "x", "must be host, type or value"),
        ("host", "s1._domainkey.example.com", TOO_MUCH),
        ("host", "s1._domainkey.Example.com.", TOO_MUCH),
        ("host", "example.com", 'must be "@" for example.com itself'),
        ("host", "s1._domainkey.", NO_HOST),
        ("host", "", NO_HOST),
        ("host", "s1 ._domainkey", NO_HOST),
        ("host", "*._domainkey", NO_HOST),
        ("host", "ü._domainkey", NO_HOST),
        ("host", ".".join(["x" * 60] * 4) + "._domainkey", NO_HOST),
        ("host", "s1", "must be like s1._domainkey"),
        ("value", 7, "must be a text in quotes"),
        *(
            (
                "value",
                text,
                "must be at most 4000 ASCII characters in one piece, without the zone's quotes",
            )
            for text in ("", " ", '"v=DKIM1; p=x"', "a\nb", "ü", "x" * 4001, "\ud800")
        ),
    ],
)
def test_a_fault_of_a_record_is_told_by_its_key(
    tmp_path: Path, name: str, told: Any, expected: str
) -> None:
    assert faults(tmp_path, with_dkim(**{name: told})) == [
        f"setup.json, domains.example.com.esps.sendgrid.dkim[0].{name}: {expected}"
    ]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("CNAME", "localhost", "must be a whole host name, like u1.wl1.sendgrid.net"),
        ("CNAME", "a b.net", "must be a whole host name, like u1.wl1.sendgrid.net"),
        ("MX", "mx.a.org", "must be a preference and a host name, like 10 mx.example.com"),
        ("MX", "65536 mx.a.org", "must be a preference and a host name, like 10 mx.example.com"),
        ("MX", "10 mx", "must be a whole host name, like u1.wl1.sendgrid.net"),
        ("A", "2001:db8::1", "must be an IPv4 address"),
        ("AAAA", "192.0.2.1", "must be an IPv6 address"),
    ],
)
def test_a_value_is_one_of_its_type(tmp_path: Path, kind: str, value: str, expected: str) -> None:
    [told] = faults(tmp_path, with_dkim(type=kind, value=value))
    assert told.endswith(f".dkim[0].value: {expected}")


def test_no_cname_at_the_domain_itself(tmp_path: Path) -> None:
    document = with_domain(esps={"postmark": {"tracking": [item("@", "CNAME")]}})
    assert faults(tmp_path, document) == [
        "setup.json, domains.example.com.esps.postmark.tracking[0].type:"
        " cannot be CNAME at the domain itself"
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{\n"domains": {,}}', "setup.json, line 2: must be JSON: "),
        (b"", "setup.json, line 1: must be JSON: Expecting value"),
        (b'{"domains": "\xff"}', "setup.json: must be UTF-8 text"),
        (b"[" * 200_000, "setup.json: must be JSON"),
        (b"9" * 9_999, "setup.json: must be JSON"),
        (b'{"domains": {}, "domains": {}}', "setup.json, domains: is there twice"),
        (b" " * (MAX_BYTES + 1), f"setup.json: must be smaller than {MAX_BYTES} bytes"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes, expected: str) -> None:
    [told] = faults(tmp_path, content)
    assert told.startswith(expected)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert load(written(tmp_path, b'\xef\xbb\xbf{"domains": {}}')) == {}


# at the start


def test_a_named_file_is_read_with_the_settings(tmp_path: Path) -> None:
    path = written(tmp_path, with_dkim())
    settings = load_settings(KEYS | {"DOMAIN_SETUP_FILE": str(path)}, None)
    assert settings.domain_setups == load(path)


def test_its_faults_stop_the_start_among_those_of_other_settings(tmp_path: Path) -> None:
    path = written(tmp_path, with_dkim(host="example.com", type="SPF"))
    with pytest.raises(SettingsError) as raised:
        load_settings(KEYS | {"DOMAIN_SETUP_FILE": str(path), "PORT": "0"}, None)
    key = "setup.json, domains.example.com.esps.sendgrid.dkim[0]"
    assert sorted(raised.value.faults) == [
        "PORT: must be a whole number from 1 to 65535, not '0'",
        f'{key}.host: must be "@" for example.com itself',
        f"{key}.type: must be CNAME, TXT, MX, A or AAAA",
    ]


def test_without_the_default_file_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("config.settings.ROOT", tmp_path)
    assert load_settings(KEYS, None).domain_setups == {}


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="DOMAIN_SETUP_FILE: must be a file that exists"):
        load_settings(KEYS | {"DOMAIN_SETUP_FILE": str(tmp_path / "none.json")}, None)


# joined with what the accounts say

S1, S2 = "s1._domainkey", "s2._domainkey"


@pytest.mark.parametrize(
    ("own", "told", "expected"),
    [
        pytest.param(
            [record(S1, "CNAME", "file.net")],
            [record(S1, "CNAME", "esp.net"), record(S1, "TXT", "k=rsa"), record(S2, "TXT", None)],
            [record(S1, "CNAME", "file.net"), record(S2, "TXT", None)],
            id="a value in the file wins, and leaves no room at its host",
        ),
        pytest.param(
            [record(S1, "CNAME", None), record(S2, "CNAME", None)],
            [record(S2, "CNAME", "two.net"), record(S1, "CNAME", "one.net")],
            [record(S1, "CNAME", "one.net"), record(S2, "CNAME", "two.net")],
            id="null is filled by host",
        ),
        pytest.param(
            [record(S1, "CNAME", None)],
            [record(S1, "TXT", "k=rsa; p=x")],
            [record(S1, "TXT", "k=rsa; p=x")],
            id="with the account's type where the file's is another",
        ),
        pytest.param(
            [record(S1, "TXT", None)],
            [record(S1, "TXT", None)],
            [record(S1, "TXT", None)],
            id="what nobody knows stays null",
        ),
        pytest.param([record(S1, "TXT", None)], [], [record(S1, "TXT", None)], id="no word"),
        pytest.param([], [record(S1, "TXT", "x")], [record(S1, "TXT", "x")], id="only its word"),
    ],
)
def test_dkim_and_tracking_are_joined(
    own: list[Record], told: list[Record], expected: list[Record]
) -> None:
    assert joined(
        EspRecords(dkim=tuple(own), tracking=tuple(own)),
        EspRecords(dkim=tuple(told), tracking=tuple(told)),
    ) == EspRecords(dkim=tuple(expected), tracking=tuple(expected))


MX, SPF = record("b", "MX", "10 feedback.org"), record("b", "TXT", "v=spf1 ~all")


@pytest.mark.parametrize(
    ("own", "told", "expected"),
    [
        pytest.param((), (MX, SPF), (MX, SPF), id="only the account's"),
        pytest.param((MX, SPF), (), (MX, SPF), id="only the file's"),
        pytest.param((MX,), (record("b", "MX", "10 x.org"), SPF), (MX, SPF), id="the same host"),
        pytest.param((record("em", "CNAME", None),), (MX, SPF), (MX, SPF), id="a wrong guess"),
        pytest.param(
            (record("em", "CNAME", "x.net"),),
            (MX, SPF),
            (record("em", "CNAME", "x.net"),),
            id="the file knows better",
        ),
    ],
)
def test_a_return_path_keeps_to_one_host(
    own: tuple[Record, ...], told: tuple[Record, ...], expected: tuple[Record, ...]
) -> None:
    assert joined(EspRecords(return_path=own), EspRecords(return_path=told)) == EspRecords(
        return_path=expected
    )


def joined(own: EspRecords, told: EspRecords) -> EspRecords:
    setup = DomainSetup(domain="example.com", esps={EspName.SES: own})
    return merged(setup, {EspName.SES: told}).esps[EspName.SES]


def test_an_esp_of_which_the_file_says_nothing_is_added_and_the_rest_stays() -> None:
    spf, mx = record("@", "TXT", "v=spf1 -all"), (record("@", "MX", "10 a.org"),)
    records = EspRecords(dkim=(record(S1, "TXT", "x"),))
    setup = DomainSetup(domain="a.org", spf=spf, mx=mx, esps={EspName.SES: EspRecords()})
    assert merged(setup, {EspName.POSTMARK: records}) == DomainSetup(
        domain="a.org",
        spf=spf,
        mx=mx,
        esps={EspName.SES: EspRecords(), EspName.POSTMARK: records},
    )
