"""Zones with one fault of SPF each, what ours says of it, and where the others say otherwise."""

from dataclasses import dataclass, field

from tests.dns_good import in_strings
from utils.dns.findings import Status

FAIL, WARN, UNKNOWN = Status.FAIL, Status.WARN, Status.UNKNOWN
UNREAD = {
    "spf.lookups": UNKNOWN,
    "spf.void": UNKNOWN,
    "spf.mx10": UNKNOWN,
    "spf.include.none": UNKNOWN,
    "spf.temperror": UNKNOWN,
    "spf.loop": UNKNOWN,
}
"""What hangs on a record that DNS does not tell."""
LONG = "".join(f"ip4:192.0.2.{number} " for number in range(256))


def hosts(count: int, of: str = "a.example") -> str:
    return "\n".join(f"h{number}.{of} A 192.0.2.{number}" for number in range(count))


def terms(count: int, of: str = "a.example") -> str:
    return " ".join(f"a:h{number}.{of}" for number in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A zone with the domain d.example in it."""

    name: str
    zone: str
    said: dict[str, Status] = field(default_factory=dict)
    """What does not pass at its apex; everything else that is said does."""
    result: str
    """`evaluated` with lookups and voids, or none, permerror, temperror."""
    checkdmarc: str = ""
    """What it makes of the zone; "": the same."""
    pyspf: str = ""
    """Likewise; it counts what it has asked when no term has matched."""
    why: str = ""
    """Of a disagreement: who is right."""


CASES = [
    Case(
        name="good",
        zone="""
            d.example TXT "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:a.example ~all"
            a.example TXT "v=spf1 a mx -all"
            a.example A 192.0.2.1
            a.example MX 10 a.example.
        """,
        result="evaluated 3/0",
    ),
    Case(
        name="in several strings, beside others",
        zone="""
            d.example TXT "v=sp" "f1 -a" "ll"
            d.example TXT "other"
            d.example TXT "v=spf10 -all"
            d.example TXT " v=spf1 -all"
        """,
        result="evaluated 0/0",
    ),
    Case(
        name="mixed case",
        zone="""
            d.example TXT "V=SPF1 INCLUDE:A.Example. IP4:192.0.2.1 MX ~ALL"
            d.example MX 10 D.Example.
            d.example A 192.0.2.2
            a.example TXT "v=SPF1 -aLL"
        """,
        result="evaluated 2/0",
        checkdmarc="permerror",
        why='Literals of the grammar match in any case (12); checkdmarc wants "v=spf1".',
    ),
    Case(
        name="no TXT",
        zone="d.example A 192.0.2.1",
        said={"spf.apex.missing": WARN},
        result="none",
    ),
    Case(name="no such name", zone="", said={"spf.apex.missing": WARN}, result="none"),
    Case(
        name="TXT of others only",
        zone='d.example TXT "v=spf2.0/pra -all"',
        said={"spf.apex.missing": WARN},
        result="none",
    ),
    Case(
        name="through CNAMEs",
        zone="""
            d.example CNAME c.example.
            c.example CNAME e.example.
            e.example TXT "v=spf1 a -all"
            e.example A 192.0.2.1
        """,
        result="evaluated 1/0",
    ),
    Case(
        name="CNAME loop",
        zone="d.example CNAME e.example.\ne.example CNAME d.example.",
        said={"spf.apex.missing": WARN},
        result="none",
        pyspf="temperror",
        why="A loop of CNAMEs is not there, and waiting does not help; pyspf takes any failure of its resolver for a passing one.",
    ),
    Case(
        name="CNAME loop behind an include",
        zone="""
            d.example TXT "v=spf1 include:e.example -all"
            e.example CNAME f.example.
            f.example CNAME e.example.
        """,
        said={"spf.include.none": FAIL, "spf.void": WARN},
        result="permerror",
        pyspf="temperror",
        why="As above.",
    ),
    Case(
        name="two records",
        zone='d.example TXT "v=spf1 -all"\nd.example TXT "v=spf1 ~all"',
        said={"spf.multiple": FAIL},
        result="permerror",
    ),
    Case(
        name="two records behind an include",
        zone="""
            d.example TXT "v=spf1 include:a.example -all"
            a.example TXT "v=spf1 -all"
            a.example TXT "v=spf1 ~all"
        """,
        said={"spf.multiple": FAIL},
        result="permerror",
    ),
    Case(
        name="unknown mechanism",
        zone='d.example TXT "v=spf1 ipv4:192.0.2.1 -all"',
        said={"spf.syntax": FAIL},
        result="permerror",
    ),
    Case(
        name="bad address",
        zone='d.example TXT "v=spf1 ip4:192.0.2.256 -all"',
        said={"spf.syntax": FAIL},
        result="permerror",
    ),
    Case(
        name="qualifier on a modifier",
        zone='d.example TXT "v=spf1 -redirect=a.example"\na.example TXT "v=spf1 -all"',
        said={"spf.syntax": FAIL, "spf.all.absent": WARN},
        result="permerror",
    ),
    Case(
        name="redirect with a colon",
        zone='d.example TXT "v=spf1 redirect:a.example"\na.example TXT "v=spf1 -all"',
        said={"spf.syntax": FAIL, "spf.all.absent": WARN},
        result="permerror",
    ),
    Case(
        name="mechanism with an equals sign",
        zone='d.example TXT "v=spf1 ip4=192.0.2.1 -all"',
        said={"spf.syntax": WARN},
        result="evaluated 0/0",
    ),
    Case(
        name="an error after all",
        zone='d.example TXT "v=spf1 -all nonsense"',
        said={"spf.syntax": FAIL},
        result="permerror",
        checkdmarc="evaluated 0/0",
        why="An error anywhere in a record is one before anything is evaluated (4.6).",
    ),
    Case(
        name="a tab between terms",
        zone='d.example TXT "v=spf1 ip4:192.0.2.1\\009-all"',
        said={"spf.syntax": FAIL, "spf.all.absent": WARN},
        result="permerror",
        checkdmarc="evaluated 0/0",
        why="Terms are separated by spaces alone (12); checkdmarc splits at any blank.",
    ),
    Case(
        name="include of one label",
        zone='d.example TXT "v=spf1 include:localhost -all"',
        said={"spf.syntax": FAIL},
        result="permerror",
    ),
    Case(
        name="an error behind an include",
        zone='d.example TXT "v=spf1 include:a.example -all"\na.example TXT "v=spf1 mx/33 -all"',
        said={"spf.syntax": FAIL},
        result="permerror",
    ),
    Case(
        name="not ASCII",
        zone='d.example TXT "v=spf1 include:\\195\\188.example -all"',
        said={"spf.syntax": FAIL},
        result="permerror",
    ),
    Case(
        name="neither ASCII nor UTF-8",
        zone='d.example TXT "v=spf1 \\255 -all"',
        said={"spf.syntax": FAIL},
        result="permerror",
        checkdmarc="none",
        why="The record begins as SPF does, so it is one with an error (4.5, 4.6); checkdmarc skips what it cannot decode.",
    ),
    Case(
        name="seven lookups",
        zone=f'd.example TXT "v=spf1 {terms(7)} -all"\n{hosts(7)}',
        result="evaluated 7/0",
    ),
    Case(
        name="eight lookups",
        zone=f'd.example TXT "v=spf1 {terms(8)} -all"\n{hosts(8)}',
        said={"spf.lookups": WARN},
        result="evaluated 8/0",
    ),
    Case(
        name="ten lookups, nested",
        zone=f"""
            d.example TXT "v=spf1 include:a.example redirect=b.example"
            a.example TXT "v=spf1 {terms(4)} -all"
            b.example TXT "v=spf1 {terms(4)} -all"
            {hosts(4)}
        """,
        said={"spf.lookups": WARN},
        result="evaluated 10/0",
    ),
    Case(
        name="eleven lookups, nested",
        zone=f"""
            d.example TXT "v=spf1 include:a.example redirect=b.example"
            a.example TXT "v=spf1 {terms(5)} -all"
            b.example TXT "v=spf1 {terms(4)} -all"
            {hosts(5)}
        """,
        said={"spf.lookups": FAIL},
        result="permerror",
    ),
    Case(
        name="lookups without end",
        zone="\n".join(
            f'i{n}.example TXT "v=spf1 include:i{n + 1}.example include:i{n + 1}.example -all"'
            for n in range(40)
        )
        + '\nd.example TXT "v=spf1 include:i0.example -all"\ni40.example TXT "v=spf1 -all"',
        said={"spf.lookups": FAIL},
        result="permerror",
    ),
    Case(
        name="one void",
        zone='d.example TXT "v=spf1 a:gone.example -all"',
        said={"spf.void": WARN},
        result="evaluated 1/1",
    ),
    Case(
        name="two voids",
        zone='d.example TXT "v=spf1 a exists:gone.example -all"',
        said={"spf.void": WARN},
        result="evaluated 2/2",
        checkdmarc="evaluated 2/1",
        why="A name that exists without an A is void too (4.6.4); checkdmarc counts no NODATA of an exists, a or mx alike.",
    ),
    Case(
        name="three voids",
        zone='d.example TXT "v=spf1 a mx exists:gone.example -all"',
        said={"spf.void": FAIL},
        result="permerror",
        checkdmarc="evaluated 3/2",
        why="As above: the three are void, a receiver gives up at the third.",
    ),
    Case(
        name="three voids, nested",
        zone="""
            d.example TXT "v=spf1 a include:a.example -all"
            a.example TXT "v=spf1 a mx -all"
        """,
        said={"spf.void": FAIL},
        result="permerror",
    ),
    Case(
        name="an address for IPv6 alone",
        zone='d.example TXT "v=spf1 a -all"\nd.example AAAA 2001:db8::1',
        said={"spf.void": WARN},
        result="evaluated 1/1",
        checkdmarc="evaluated 1/0",
        why="Mail from IPv4 asks for A, and in vain; checkdmarc is content with either.",
    ),
    Case(
        name="null MX",
        zone='d.example TXT "v=spf1 mx -all"\nd.example MX 0 .',
        result="evaluated 1/0",
        checkdmarc="evaluated 1/1",
        why="A null MX is an answer with a record in it: not void (4.6.4).",
    ),
    Case(
        name="MX of dead hosts",
        zone="""
            d.example TXT "v=spf1 mx -all"
            d.example MX 1 a.example.
            d.example MX 2 b.example.
            d.example MX 3 c.example.
        """,
        said={"spf.void": WARN},
        result="evaluated 1/1",
        checkdmarc="evaluated 1/0",
        pyspf="permerror",
        why="Terms are counted, and this is one (4.6.4): pyspf counts each question, checkdmarc none of those for the hosts. We name the host.",
    ),
    Case(
        name="ten MX",
        zone='d.example TXT "v=spf1 mx -all"\n'
        + "\n".join(f"d.example MX {n} h{n}.a.example." for n in range(10))
        + f"\n{hosts(10)}",
        result="evaluated 1/0",
    ),
    Case(
        name="eleven MX",
        zone='d.example TXT "v=spf1 mx -all"\n'
        + "\n".join(f"d.example MX {n} h{n}.a.example." for n in range(11))
        + f"\n{hosts(11)}",
        said={"spf.mx10": FAIL},
        result="permerror",
    ),
    Case(
        name="include of no such name",
        zone='d.example TXT "v=spf1 include:gone.example -all"',
        said={"spf.include.none": FAIL, "spf.void": WARN},
        result="permerror",
    ),
    Case(
        name="include of a name without TXT",
        zone='d.example TXT "v=spf1 include:a.example -all"\na.example A 192.0.2.1',
        said={"spf.include.none": FAIL, "spf.void": WARN},
        result="permerror",
    ),
    Case(
        name="include of a name without SPF",
        zone='d.example TXT "v=spf1 include:a.example -all"\na.example TXT "other"',
        said={"spf.include.none": FAIL},
        result="permerror",
    ),
    Case(
        name="redirect to a name without SPF",
        zone='d.example TXT "v=spf1 redirect=a.example"\na.example TXT "other"',
        said={"spf.include.none": FAIL},
        result="permerror",
    ),
    Case(
        name="include of SERVFAIL",
        zone='d.example TXT "v=spf1 include:a.example -all"\na.example SERVFAIL',
        said=UNREAD,
        result="temperror",
        checkdmarc="permerror",
        why="What did not answer is a temporary error (5.2); the fault for which checkdmarc is not in use here.",
    ),
    Case(
        name="include that times out",
        zone='d.example TXT "v=spf1 include:a.example -all"\na.example TIMEOUT',
        said=UNREAD,
        result="temperror",
        checkdmarc="permerror",
        why="As above.",
    ),
    Case(
        name="redirect to REFUSED",
        zone='d.example TXT "v=spf1 redirect=a.example"\na.example REFUSED',
        said={
            **UNREAD,
            "spf.all.plus": UNKNOWN,
            "spf.all.neutral": UNKNOWN,
            "spf.all.absent": UNKNOWN,
        },
        result="temperror",
        checkdmarc="permerror",
        why="As above.",
    ),
    Case(
        name="a host that answers garbage",
        zone='d.example TXT "v=spf1 a:a.example -all"\na.example GARBAGE',
        said={"spf.void": UNKNOWN, "spf.mx10": UNKNOWN, "spf.temperror": UNKNOWN},
        result="temperror",
        checkdmarc="evaluated 1/0",
        why="A question that is not answered ends in a temporary error (5); checkdmarc takes the host for one that is there.",
    ),
    Case(
        name="an error beside a silent include",
        zone='d.example TXT "v=spf1 nonsense include:a.example -all"\na.example SERVFAIL',
        said={
            "spf.syntax": FAIL,
            **UNREAD,
        },
        result="permerror",
    ),
    Case(
        name="SERVFAIL",
        zone="d.example SERVFAIL",
        said={"spf.apex.missing": UNKNOWN, "spf.temperror": UNKNOWN},
        result="temperror",
        checkdmarc="none",
        why="As with an include: not answered is not absent (4.4).",
    ),
    Case(
        name="silence",
        zone="d.example TIMEOUT",
        said={"spf.apex.missing": UNKNOWN, "spf.temperror": UNKNOWN},
        result="temperror",
        checkdmarc="none",
        why="As above.",
    ),
    Case(
        name="cut over UDP",
        zone='d.example TXT "v=spf1 -all"\nd.example TRUNCATE',
        result="evaluated 0/0",
    ),
    Case(
        name="include of itself",
        zone='d.example TXT "v=spf1 include:d.example -all"',
        said={"spf.loop": FAIL},
        result="permerror",
    ),
    Case(
        name="include loop",
        zone="""
            d.example TXT "v=spf1 include:a.example -all"
            a.example TXT "v=spf1 include:b.example -all"
            b.example TXT "v=spf1 include:A.example -all"
        """,
        said={"spf.loop": FAIL},
        result="permerror",
    ),
    Case(
        name="redirect loop",
        zone='d.example TXT "v=spf1 redirect=a.example"\na.example TXT "v=spf1 redirect=d.example"',
        said={"spf.loop": FAIL},
        result="permerror",
    ),
    Case(
        name="+all",
        zone='d.example TXT "v=spf1 all"',
        said={"spf.all.plus": FAIL},
        result="evaluated 0/0",
    ),
    Case(
        name="+all behind an include",
        zone='d.example TXT "v=spf1 include:a.example -all"\na.example TXT "v=spf1 +all"',
        said={"spf.all.plus": FAIL},
        result="evaluated 1/0",
    ),
    Case(
        name="+all behind an include that is not a pass",
        zone='d.example TXT "v=spf1 -include:a.example ~all"\na.example TXT "v=spf1 +all"',
        result="evaluated 1/0",
    ),
    Case(
        name="?all",
        zone='d.example TXT "v=spf1 ip4:192.0.2.1 ?all"',
        said={"spf.all.neutral": WARN},
        result="evaluated 0/0",
    ),
    Case(
        name="no all",
        zone='d.example TXT "v=spf1 ip4:192.0.2.1"',
        said={"spf.all.absent": WARN},
        result="evaluated 0/0",
    ),
    Case(
        name="nothing at all",
        zone='d.example TXT "v=spf1"',
        said={"spf.all.absent": WARN},
        result="evaluated 0/0",
    ),
    Case(
        name="redirect",
        zone='d.example TXT "v=spf1 redirect=a.example"\na.example TXT "v=spf1 ip4:192.0.2.1 -all"',
        result="evaluated 1/0",
    ),
    Case(
        name="redirect to ?all",
        zone='d.example TXT "v=spf1 redirect=a.example"\na.example TXT "v=spf1 ?all"',
        said={"spf.all.neutral": WARN},
        result="evaluated 1/0",
    ),
    Case(
        name="redirect twice",
        zone='d.example TXT "v=spf1 redirect=a.example redirect=a.example"\na.example TXT "v=spf1 -all"',
        said={"spf.syntax": FAIL},
        result="permerror",
    ),
    Case(
        name="redirect and all",
        zone='d.example TXT "v=spf1 redirect=gone.example -all"',
        said={"spf.after_all": WARN},
        result="evaluated 0/0",
        pyspf="evaluated 1/0",
        why="A redirect beside all is ignored (6.1) and costs nothing; pyspf counts it before it knows.",
    ),
    Case(
        name="terms after all",
        zone='d.example TXT "v=spf1 -all include:gone.example ip4:192.0.2.1"',
        said={"spf.after_all": WARN},
        result="evaluated 0/0",
    ),
    Case(
        name="ptr",
        zone='d.example TXT "v=spf1 ptr -all"\nd.example A 192.0.2.1',
        said={"spf.ptr": WARN},
        result="evaluated 1/0",
        pyspf="evaluated 1/1",
        why="pyspf has asked for the name of its stranger, which has none: that is of the mail, not of the record.",
    ),
    Case(
        name="type SPF",
        zone='d.example TXT "v=spf1 -all"\nd.example SPF "v=spf1 -all"',
        said={"spf.type99": WARN},
        result="evaluated 0/0",
    ),
    Case(
        name="type SPF is not told",
        zone='d.example TXT "v=spf1 -all"\nd.example SPF SERVFAIL',
        said={"spf.type99": UNKNOWN},
        result="evaluated 0/0",
    ),
    Case(
        name="include twice",
        zone='d.example TXT "v=spf1 include:a.example include:A.example. -all"\na.example TXT "v=spf1 -all"',
        said={"spf.dup": WARN},
        result="evaluated 2/0",
    ),
    Case(
        name="include that another has too",
        zone="""
            d.example TXT "v=spf1 include:a.example include:b.example -all"
            a.example TXT "v=spf1 include:b.example -all"
            b.example TXT "v=spf1 -all"
        """,
        said={"spf.dup": WARN},
        result="evaluated 3/0",
    ),
    Case(
        name="4 kB",
        zone=f"d.example TXT {in_strings(f'v=spf1 {LONG} -all')}",
        said={"spf.size": WARN},
        result="evaluated 0/0",
    ),
    Case(
        name="64 kB",
        zone=f"d.example TXT {in_strings(f'v=spf1 {LONG * 16} -all')}",
        said={
            "spf.all.plus": UNKNOWN,
            "spf.all.neutral": UNKNOWN,
            "spf.all.absent": UNKNOWN,
            "spf.size": WARN,
        },
        result="evaluated 0/0",
    ),
    Case(
        name="wide",
        zone="""
            d.example TXT "v=spf1 ip4:10.0.0.0/15 ip6:2001::/31 a/8 -ip4:0.0.0.0/0 -all"
            d.example A 192.0.2.1
        """,
        said={"spf.wide": WARN},
        result="evaluated 1/0",
    ),
    Case(
        name="macros that depend on the mail",
        zone='d.example TXT "v=spf1 exists:%{i}._spf.%{d2} include:%{ir}.%{v}.a.example ptr:%{h} -all"',
        said={"spf.ptr": WARN},
        result="evaluated 3/0",
        pyspf="permerror",
        why="pyspf has followed the include for its stranger; no record is wrong for what one address makes of it.",
    ),
    Case(
        name="macros that do not",
        zone="""
            d.example TXT "v=spf1 include:%{d1r}.%{d} -all"
            d.d.example TXT "v=spf1 a:%{O} redirect=x.%{d2}"
            x.d.example TXT "v=spf1 -all"
            d.example A 192.0.2.1
        """,
        result="evaluated 3/0",
        checkdmarc="evaluated 1/0",
        why="d and o are known (7.2), so what lies behind them is counted; checkdmarc stops at any macro.",
    ),
    Case(
        name="a macro that is none",
        zone='d.example TXT "v=spf1 exists:%{x}.a.example -all"',
        said={"spf.syntax": FAIL},
        result="permerror",
    ),
    Case(
        name="explanation and unknown modifier",
        zone='d.example TXT "v=spf1 exp=x.%{d} ra=postmaster -all"',
        result="evaluated 0/0",
    ),
    Case(
        name="explanation twice",
        zone='d.example TXT "v=spf1 -all exp=x.example exp=x.example"\nx.example TXT "no"',
        said={"spf.syntax": FAIL},
        result="permerror",
    ),
    Case(
        name="an empty label",
        zone='d.example TXT "v=spf1 include:a..example -all"',
        said={"spf.include.none": FAIL, "spf.void": WARN},
        result="permerror",
    ),
]
