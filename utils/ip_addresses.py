"""IP addresses as others write them."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

_WITH_PORT = re.compile(r"\[([^]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


def read_ip(text: str) -> IPv4Address | IPv6Address | None:
    """The address, which some proxies give with a port (`192.0.2.1:4711`, `[2001:db8::1]:4711`);
    without its zone (`%eth0`), which may be any text. None for what is none."""
    found = _WITH_PORT.fullmatch(text)
    alone = (found[1] or found[2] or "") if found else text
    try:
        return ip_address(alone.partition("%")[0])
    except ValueError:
        return None
