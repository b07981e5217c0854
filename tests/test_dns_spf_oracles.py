"""Two other checkers of SPF see the same in the same zones, or it is explained why not."""

from typing import Any

import dns.nameserver
import dns.resolver
import pytest

from config.values import Nameserver
from tests.dns_zones import PATIENCE_S, serving
from tests.spf_zones import CASES, Case

checkdmarc = pytest.importorskip("checkdmarc", reason="checkdmarc is in requirements-dev.txt")
pyspf = pytest.importorskip("spf", reason="pyspf is in requirements-dev.txt")

D = "d.example"
STRANGER = "203.0.113.77"
"""An address that no record names, so that pyspf looks at every term."""


def of_checkdmarc(nameserver: Nameserver) -> str:
    checkdmarc.utils.DNS_CACHE.clear()
    server = dns.nameserver.Do53Nameserver(nameserver.address, nameserver.port)
    asked: dict[str, Any] = {"nameservers": [server], "timeout": PATIENCE_S, "retries": 0}
    try:
        record = checkdmarc.spf.query_spf_record(D, **asked)["record"]
    except checkdmarc.spf.SPFRecordNotFound:
        return "none"
    except checkdmarc.spf.MultipleSPFRTXTRecords:
        return "permerror"
    try:
        found = checkdmarc.spf.parse_spf_record(record, D, **asked)
    except checkdmarc.spf.SPFError:
        return "permerror"
    return f"evaluated {found['dns_lookups']}/{found['void_dns_lookups']}"


def of_pyspf(nameserver: Nameserver, monkeypatch: pytest.MonkeyPatch) -> str:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [nameserver.address], nameserver.port
    monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
    query = pyspf.query(i=STRANGER, s=f"a@{D}", h=f"mail.{D}", querytime=2 * PATIENCE_S)
    result, _, _ = query.check()
    if result in ("none", "permerror", "temperror"):
        return str(result)
    return f"evaluated {query.lookups}/{query.void_lookups}"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_others_agree_or_it_is_explained(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(case.zone) as (nameserver, _):
        found = of_checkdmarc(nameserver), of_pyspf(nameserver, monkeypatch)
    assert found == (case.checkdmarc or case.result, case.pyspf or case.result)
    assert bool(case.why) == bool(case.checkdmarc or case.pyspf)
