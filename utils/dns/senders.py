"""What is particular to the DNS of one ESP, in one table: one entry each.

It is only what is usual there; the set-up of a domain wins. An ESP without an entry is checked too,
against the set-up alone. Facts: facts/dns_deliverability.md 2.5 and 2.8, facts/esps.md A6, B6, C6.
"""

import re
from dataclasses import dataclass

from config.domain_setup import Record
from config.esp_config import EspName

REGION = "<region>"
"""Stands in a name for the region that an account is in."""


def in_region(name: str, region: str | None) -> str:
    """A name with its region, as far as one is known."""
    return name.replace(REGION, region or REGION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """An ESP as the sender of a domain's mail; a field that is left out: nothing is usual there."""

    name: str
    """As people write it."""
    panel: str = ""
    """Where it shows the records of a domain."""
    account: str = ""
    """The setting with which it can be asked for them."""

    dkim: tuple[Record, ...] = ()
    """Its key records; a host with `<` is different for everybody."""
    dkim_zone: str = ""
    """Where their CNAMEs lead."""

    return_path: tuple[Record, ...] = ()
    """Names that are ours to choose are the ones that it proposes; a value may have `REGION`."""
    return_path_zone: str = ""
    """Where the CNAME of a return path leads."""
    return_path_how: str = "set up a return path of your own"
    exchange: str = ""
    """The MX of a return path that has one; may have `REGION`."""
    exchange_reference: str = "RFC 5321, 5.1"
    spf_include: str = ""
    """What an SPF record of our own has to include."""
    own_domain: str = ""
    """Of its envelopes where no return path is set: SPF then passes for the ESP alone."""

    tracking: re.Pattern[str] | None = None
    """The targets of its tracking hosts; `None`: they are its customers' own choice."""
    tracking_usual: str = ""
    """The one that it shows; may have `REGION`."""

    @property
    def as_shown(self) -> str:
        """In place of a value that only the ESP knows."""
        return f"as the {self.name} panel shows"

    @property
    def alias(self) -> str | None:
        """The target of a return path's CNAME, where it is the same for everybody."""
        return next((one.value for one in self.return_path if one.type == "CNAME"), None)

    @property
    def spf(self) -> str:
        """The usual TXT of a return path of our own; "" where none is known."""
        return f"v=spf1 include:{self.spf_include} ~all" if self.spf_include else ""

    def is_exchange(self, name: str) -> bool:
        """Whether bounces reach it there, of any region; any name will do where none is usual."""
        pattern = re.escape(self.exchange).replace(re.escape(REGION), "[a-z0-9-]+")
        return not pattern or bool(re.fullmatch(pattern, name))


def sender_of(esp: EspName) -> Sender:
    """What is known of an ESP, were it only its name."""
    return _SENDERS.get(esp) or Sender(name=esp.value)


_SENDERS = {
    EspName.SENDGRID: Sender(
        name="SendGrid",
        panel="Settings > Sender Authentication",
        account="SENDGRID_API_KEY",
        dkim=tuple(Record(host=f"s{n}._domainkey", type="CNAME", value=None) for n in (1, 2)),
        dkim_zone="sendgrid.net",
        return_path=(Record(host="em<number>", type="CNAME", value=None),),
        return_path_zone="sendgrid.net",
        return_path_how="publish the em… CNAME that Settings > Sender Authentication shows",
        # In manual mode; otherwise the return path is a CNAME.
        exchange="mx.sendgrid.net",
        exchange_reference="Twilio SendGrid: domain authentication, manual security",
        spf_include="sendgrid.net",
        own_domain="sendgrid.net",
        tracking=re.compile(r"(?:[a-z0-9-]+\.)*sendgrid\.net"),
        tracking_usual="sendgrid.net",
    ),
    EspName.SES: Sender(
        name="Amazon SES",
        panel="Configuration > Identities",
        account="AWS_ACCESS_KEY_ID",
        dkim=tuple(
            Record(host=f"<token {n}>._domainkey", type="CNAME", value=None) for n in (1, 2, 3)
        ),
        dkim_zone="amazonses.com",
        return_path=(
            Record(host="bounce", type="MX", value=f"10 feedback-smtp.{REGION}.amazonses.com"),
            Record(host="bounce", type="TXT", value="v=spf1 include:amazonses.com ~all"),
        ),
        return_path_zone="amazonses.com",
        return_path_how=(
            "set a custom MAIL FROM domain, with its MX and TXT v=spf1 include:amazonses.com ~all"
        ),
        exchange=f"feedback-smtp.{REGION}.amazonses.com",
        exchange_reference="Amazon SES Developer Guide: custom MAIL FROM domain",
        spf_include="amazonses.com",
        own_domain="amazonses.com",
        tracking=re.compile(r"r\.[a-z0-9-]+\.awstrack\.me"),
        tracking_usual=f"r.{REGION}.awstrack.me",
    ),
    EspName.POSTMARK: Sender(
        name="Postmark",
        panel="Sender Signatures > DNS Settings",
        account="POSTMARK_ACCOUNT_TOKEN",
        dkim=(Record(host="<date>pm._domainkey", type="TXT", value=None),),
        return_path=(Record(host="pm-bounces", type="CNAME", value="pm.mtasv.net"),),
        return_path_zone="mtasv.net",
        return_path_how=(
            "publish pm-bounces CNAME pm.mtasv.net and set it as the custom Return-Path"
        ),
        spf_include="spf.mtasv.net",
        own_domain="pm.mtasv.net",
    ),
}
