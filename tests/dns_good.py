"""A domain that does everything right with all three ESPs: `GOOD_ZONES`, and `GOOD_SETUP` for it."""

import base64

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from config.domain_setup import DomainSetup, EspRecords, Record
from config.esp_config import EspName

DOMAIN = "example.com"
REGION = "eu-west-1"


def key_record() -> str:
    """A DKIM record with a new key of 2048 bits."""
    public = rsa.generate_private_key(65537, 2048).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"k=rsa; p={base64.b64encode(der).decode()}"


def in_strings(text: str) -> str:
    """As a line of a zone has it."""
    return " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))


KEY = key_record()
_TEXT = in_strings(KEY)

EXAMPLE = "example SOA ns.example. host.example. 1 7200 900 1209600 300\n"
"""That there is such a top-level domain at all."""

GOOD_ZONES = f"""
{EXAMPLE}
example.com                          SOA   ns1.example.com. host.example.com. 1 7200 900 1209600 300
example.com                          NS    ns1.example.com.
example.com                          NS    ns2.example.com.
ns1.example.com                      A     192.0.2.53
ns2.example.com                      A     198.51.100.53
example.com                          A     192.0.2.80
example.com                          MX    10 mx1.example.com.
mx1.example.com                      A     192.0.2.25
example.com                          TXT   "v=spf1 mx ~all"
_dmarc.example.com                   TXT   "v=DMARC1; p=reject; np=reject; rua=mailto:dmarc@example.com"

em1234.example.com                   CNAME u7.wl001.sendgrid.net.
s1._domainkey.example.com            CNAME s1.domainkey.u7.wl001.sendgrid.net.
s2._domainkey.example.com            CNAME s2.domainkey.u7.wl001.sendgrid.net.
url1234.example.com                  CNAME sendgrid.net.
7.example.com                        CNAME sendgrid.net.
u7.wl001.sendgrid.net                TXT   "v=spf1 ip4:192.0.2.0/24 -all"
u7.wl001.sendgrid.net                MX    10 mx.sendgrid.net.
mx.sendgrid.net                      A     192.0.2.26
s1.domainkey.u7.wl001.sendgrid.net   TXT   {_TEXT}
s2.domainkey.u7.wl001.sendgrid.net   TXT   {_TEXT}
sendgrid.net                         A     192.0.2.27
sendgrid.net                         SOA   ns.sendgrid.net. host.sendgrid.net. 1 7200 900 1209600 300

aaa._domainkey.example.com           CNAME aaa.dkim.amazonses.com.
bbb._domainkey.example.com           CNAME bbb.dkim.amazonses.com.
ccc._domainkey.example.com           CNAME ccc.dkim.amazonses.com.
aaa.dkim.amazonses.com               TXT   {_TEXT}
bbb.dkim.amazonses.com               TXT   {_TEXT}
ccc.dkim.amazonses.com               TXT   {_TEXT}
bounce.example.com                   MX    10 feedback-smtp.{REGION}.amazonses.com.
bounce.example.com                   TXT   "v=spf1 include:amazonses.com ~all"
feedback-smtp.{REGION}.amazonses.com A     192.0.2.28
amazonses.com                        TXT   "v=spf1 ip4:199.255.192.0/22 -all"
track.example.com                    CNAME r.{REGION}.awstrack.me.
r.{REGION}.awstrack.me               A     192.0.2.29

20260101pm._domainkey.example.com    TXT   {_TEXT}
pm-bounces.example.com               CNAME pm.mtasv.net.
pm.mtasv.net                         TXT   "v=spf1 ip4:50.31.156.0/24 ~all"
pm.mtasv.net                         MX    10 in.mtasv.net.
in.mtasv.net                         A     192.0.2.30
"""


def _cname(host: str, target: str) -> Record:
    return Record(host=host, type="CNAME", value=target)


GOOD_SETUP = DomainSetup(
    domain=DOMAIN,
    esps={
        EspName.SENDGRID: EspRecords(
            dkim=tuple(
                _cname(f"s{n}._domainkey", f"s{n}.domainkey.u7.wl001.sendgrid.net") for n in (1, 2)
            ),
            return_path=(_cname("em1234", "u7.wl001.sendgrid.net"),),
            tracking=(_cname("url1234", "sendgrid.net"), _cname("7", "sendgrid.net")),
        ),
        EspName.SES: EspRecords(
            dkim=tuple(
                _cname(f"{token}._domainkey", f"{token}.dkim.amazonses.com")
                for token in ("aaa", "bbb", "ccc")
            ),
            return_path=(
                Record(host="bounce", type="MX", value=f"10 feedback-smtp.{REGION}.amazonses.com"),
                Record(host="bounce", type="TXT", value="v=spf1 include:amazonses.com ~all"),
            ),
            tracking=(_cname("track", f"r.{REGION}.awstrack.me"),),
        ),
        EspName.POSTMARK: EspRecords(
            dkim=(Record(host="20260101pm._domainkey", type="TXT", value=KEY),),
            return_path=(_cname("pm-bounces", "pm.mtasv.net"),),
        ),
    },
)
