"""The DNS of a domain that ACME sends for, from the file with the set-up to what the checks say.

Run as a process in a tree that has learned ACME: `python -m tests.acme.domain FOLDER`.
"""

import json
import sys
from pathlib import Path

from config.settings import load_settings
from tests.dns_good import DOMAIN, GOOD_ZONES, KEY, in_strings
from tests.dns_zones import serving
from tests.environment import API_KEY, SECRET_KEY
from utils.dns_checker import DNSChecker

ZONES = f"""
{GOOD_ZONES}
a1._domainkey.example.com  CNAME a1.keys.acme.example.
a1.keys.acme.example       TXT   {in_strings(KEY)}
acme.example.com           CNAME bounces.acme.example.
bounces.acme.example       TXT   "v=spf1 ip4:192.0.2.0/24 -all"
click.example.com          CNAME t.acme.example.
t.acme.example             A     192.0.2.31
"""
TARGETS = {
    "dkim": ("a1._domainkey", "a1.keys.acme.example"),
    "return_path": ("acme", "bounces.acme.example"),
    "tracking": ("click", "t.acme.example"),
}
"""What ACME wants: host and target of a CNAME for each purpose."""


def main(folder: Path) -> None:
    records = {
        purpose: [{"host": host, "type": "CNAME", "value": target}]
        for purpose, (host, target) in TARGETS.items()
    }
    file = folder / "domain_setup.json"
    file.write_text(json.dumps({"domains": {DOMAIN: {"esps": {"acme": records}}}}))
    with serving(ZONES) as (nameserver, _):
        environment = {
            "API_KEY": API_KEY,
            "SECRET_KEY": SECRET_KEY,
            "SENDING_DOMAIN": DOMAIN,
            "DOMAIN_SETUP_FILE": str(file),
            "DNS_NAMESERVERS": f"{nameserver.address}:{nameserver.port}",
        }
        checker = DNSChecker(settings=load_settings(environment, None))
        told = {
            "checks": checker.run_full_dns_check()["checks"],
            "instructions": checker.generate_dns_setup_instructions(),
        }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
