"""Whether what DKIM and SPF vouch for is the domain of From, and which ESPs that leaves out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from config.esp_config import EspName
from utils.dns.dmarc import Policy
from utils.dns.findings import Finding, Status
from utils.dns.mechanism import Mechanism, Verdict
from utils.dns.senders import sender_of
from utils.dns.subject import Subject

REFERENCE = "RFC 9989, 4.10.2"
_WAIT = "Nothing to change unless it stays so: DNS did not answer, or the records are not known."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aligned:
    """One mechanism of one ESP, as DMARC sees it."""

    name: str
    """DKIM or SPF."""
    tag: str
    """Of the policy, that says how exactly domains must match."""
    is_strict: bool
    vouched: str | None
    """The domain that it vouches for; `None`: the ESP's own, or not known."""
    matches: bool | None
    """Whether that is the domain of From; `None`: not known."""
    would_match: bool | None
    """As `matches`, if it need not match exactly."""
    verdict: Verdict
    """Works, and matches."""

    @property
    def relation(self) -> str:
        return {True: "aligned", False: "not aligned", None: "unknown"}[self.matches]

    @property
    def found(self) -> str:
        return f"{self.name} {self.vouched or 'no domain of ours'}: {self.relation}, {self.verdict}"


def check_alignment(
    subject: Subject,
    esp: EspName,
    dkim: Mechanism,
    spf: Mechanism,
    policy: Policy,
    organizational: Mapping[str, str],
) -> list[Finding]:
    """One ESP. `organizational` has that of the subject's domain and of both mechanisms', as
    far as DNS told them (`dmarc.organizational_domains`)."""
    by_dkim, by_spf = (
        _aligned(subject.domain, name, tag, mechanism, is_strict, policy, organizational)
        for name, tag, mechanism, is_strict in (
            ("DKIM", "adkim", dkim, policy.dkim_is_strict),
            ("SPF", "aspf", spf, policy.spf_is_strict),
        )
    )
    pair = (by_dkim, by_spf)
    findings = [*_of_dkim(subject, esp, by_dkim), _either(subject, esp, pair)]
    return [*findings, *_one(subject, esp, pair), *_strict(subject, esp, pair, policy)]


def with_blocks(findings: Iterable[Finding]) -> list[Finding]:
    """The same, with `blocks` where mail must not go: the one place that decides it.

    An ESP is left out where neither DKIM nor SPF is known to vouch for the domain, by all that
    is wrong with either; and all are where the domain has no DMARC record, which Gmail,
    Yahoo and Microsoft ask of bulk mail. What is unknown leaves nobody out.
    """
    told = list(findings)
    left_out = {
        finding.esp
        for finding in told
        if finding.esp is not None and _is_failed(finding, f"dmarc.align.{finding.esp}")
    }
    return [replace(finding, blocks=_blocks(finding, left_out)) for finding in told]


def _blocks(finding: Finding, left_out: set[EspName]) -> bool:
    if _is_failed(finding, "dmarc.missing"):
        return True
    causes = ("dkim.", "spf.rp.", f"dmarc.align.{finding.esp}")
    is_cause = finding.status is Status.FAIL and finding.id.startswith(causes)
    return is_cause and finding.esp in left_out


def _is_failed(finding: Finding, name: str) -> bool:
    return finding.status is Status.FAIL and finding.id == name


def _aligned(
    domain: str,
    name: str,
    tag: str,
    mechanism: Mechanism,
    is_strict: bool,
    policy: Policy,
    organizational: Mapping[str, str],
) -> _Aligned:
    vouched = mechanism.domain
    loose = _is_one_house(domain, vouched, policy, organizational)
    is_same = vouched == domain
    matches = loose
    if loose and not is_same:
        matches = None if not policy.is_known else not is_strict
    if vouched is None and mechanism.verdict is not Verdict.UNKNOWN:
        loose = matches = False
    verdict = mechanism.verdict
    if matches is False:
        verdict = Verdict.BROKEN
    elif matches is None and verdict is Verdict.WORKS:
        verdict = Verdict.UNKNOWN
    return _Aligned(
        name=name,
        tag=tag,
        is_strict=is_strict,
        vouched=vouched,
        matches=matches,
        would_match=loose,
        verdict=verdict,
    )


def _is_one_house(
    domain: str, other: str | None, policy: Policy, organizational: Mapping[str, str]
) -> bool | None:
    """Relaxed alignment: both have one organizational domain.

    Without any DMARC record each domain is its own, and nothing would be aligned. There we say
    what will be once the domain has a record: what is below it, or above it, is of one house.
    """
    if other is None:
        return None
    if other == domain:
        return True
    if policy.is_known and not policy.is_found:
        return other.endswith(f".{domain}") or domain.endswith(f".{other}")
    houses = organizational.get(domain), organizational.get(other)
    return None if None in houses else houses[0] == houses[1]


def _finding(name: str, subject: Subject, esp: EspName, found: str, expected: str) -> Finding:
    return Finding(
        id=name,
        status=Status.PASS,
        host=subject.domain,
        found=found,
        expected=expected,
        reference=REFERENCE,
        esp=esp,
    )


def _of_dkim(subject: Subject, esp: EspName, dkim: _Aligned) -> list[Finding]:
    """The domain of the signatures; nothing where no one knows what the ESP signs with."""
    if dkim.vouched is None and dkim.matches is None:
        return []
    expected = f"d={subject.domain}" if dkim.is_strict else f"d= in the house of {subject.domain}"
    said = _finding("dkim.align", subject, esp, f"d={dkim.vouched}: {dkim.relation}", expected)
    if dkim.matches is None:
        return [replace(said, status=Status.UNKNOWN, remedy=_WAIT)]
    if dkim.matches:
        return [said]
    remedy = f"Authenticate {subject.domain} itself at {sender_of(esp).name} and publish the DKIM records for it."
    return [replace(said, status=Status.FAIL, remedy=remedy)]


def _either(subject: Subject, esp: EspName, pair: Sequence[_Aligned]) -> Finding:
    found = "; ".join(one.found for one in pair)
    said = _finding(f"dmarc.align.{esp}", subject, esp, found, "DKIM or SPF works aligned")
    verdicts = {one.verdict for one in pair}
    if Verdict.WORKS in verdicts:
        return said
    if Verdict.UNKNOWN in verdicts:
        return replace(said, status=Status.UNKNOWN, remedy=_WAIT)
    remedy = (
        f"Publish the DKIM records of {sender_of(esp).name} for {subject.domain} and its return path below it: "
        "as it is, all its mail fails DMARC."
    )
    return replace(said, status=Status.FAIL, remedy=remedy)


def _one(subject: Subject, esp: EspName, pair: Sequence[_Aligned]) -> list[Finding]:
    """Whether a second mechanism stands by; nothing when there is no first."""
    verdicts = [one.verdict for one in pair]
    if Verdict.WORKS not in verdicts:
        return []
    found = "; ".join(one.found for one in pair)
    said = _finding("dmarc.align.one", subject, esp, found, "both DKIM and SPF work aligned")
    if Verdict.UNKNOWN in verdicts:
        return [replace(said, status=Status.UNKNOWN, remedy=_WAIT)]
    if Verdict.BROKEN not in verdicts:
        return [said]
    other = pair[verdicts.index(Verdict.BROKEN)].name
    remedy = (
        f"Set up {other} for {sender_of(esp).name} too: one broken record away from failing DMARC."
    )
    return [replace(said, status=Status.WARN, remedy=remedy)]


def _strict(
    subject: Subject, esp: EspName, pair: Sequence[_Aligned], policy: Policy
) -> list[Finding]:
    """Mechanisms that fail only because domains must match exactly."""
    if policy.record is None:
        return []
    found = ", ".join(f"{one.tag}={'s' if one.is_strict else 'r'}" for one in pair)
    said = _finding("dmarc.strict", subject, esp, found, "s only where domains are the same")
    hurt = [one for one in pair if one.is_strict and one.matches is False and one.would_match]
    if not hurt:
        return [said]
    verdicts = {one.verdict for one in pair}
    status = next(
        status
        for verdict, status in (
            (Verdict.WORKS, Status.WARN),
            (Verdict.UNKNOWN, Status.UNKNOWN),
            (Verdict.BROKEN, Status.FAIL),
        )
        if verdict in verdicts
    )
    one = hurt[0]
    remedy = (
        f"Set {one.tag}=r in TXT _dmarc.{policy.record.domain}: {one.name} vouches for "
        f"{one.vouched}, which is not exactly {subject.domain}."
    )
    found = f"{found}, {one.name} {one.vouched}"
    return [replace(said, status=status, found=found, remedy=remedy)]
