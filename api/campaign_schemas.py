"""What the calls about campaigns take and answer."""

from typing import Annotated

from pydantic import Field, RootModel, StringConstraints, field_validator, model_validator

from api.schemas import Answer, Body, Id, Line, Path, Query
from api.segment_schemas import Filter, SegmentName
from config.esp_config import EspName
from database.models import CampaignStatus, SendStatus
from services.campaign_control import Resolution
from utils.addresses import InvalidAddress, normalise

MAX_PART_CHARS = 500_000
MOST_TESTS = 10

Part = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PART_CHARS)]
Tag = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f;,]+$")
]


class AudienceBody(Body):
    """Absent: everybody who is active. Else one of these."""

    tags: list[Tag] | None = Field(None, min_length=1, max_length=50)
    """People with any of these tags."""
    segment: SegmentName | None = None
    """Whom this saved segment selects, as it is now."""
    filter: Filter | None = None
    """Whom this filter selects."""
    emails: list[Annotated[str, StringConstraints(max_length=320)]] | None = Field(
        None, max_length=20_000
    )
    """People on the list with these addresses; others are counted as skipped."""

    @model_validator(mode="after")
    def _one_kind(self) -> "AudienceBody":
        given = [self.tags, self.segment, self.filter, self.emails]
        if sum(one is not None for one in given) != 1:
            raise ValueError(
                "give exactly one of `tags`, `segment`, `filter` and `emails`; "
                "leave `audience` out to reach all"
            )
        return self


class ContentBody(Body):
    """What to send, and from whom. `html`, `text` or both."""

    subject: Annotated[str, StringConstraints(min_length=1, max_length=998)]
    html: Part | None = None
    text: Part | None = None
    name: Line | None = None
    from_email: Annotated[str, StringConstraints(max_length=320)] | None = None
    from_name: Line | None = None
    reply_to: Annotated[str, StringConstraints(max_length=320)] | None = None
    track_opens: bool = False
    track_clicks: bool = False
    strict: bool = False
    """Refuse a mailing that has a warning (not: an info)."""
    tags: list[Tag] = Field(default_factory=list, max_length=10)

    @field_validator("from_email", "reply_to")
    @classmethod
    def _address(cls, given: str | None) -> str | None:
        if given is None:
            return None
        try:
            return normalise(given).email
        except InvalidAddress as error:
            raise ValueError(
                f"is not an address that mail can come from: {error.reason}"
            ) from error

    @model_validator(mode="after")
    def _has_content(self) -> "ContentBody":
        if self.html is None and self.text is None:
            raise ValueError("give `html`, `text` or both")
        return self


class CampaignBody(ContentBody):
    """A mailing: its content, and to whom it goes."""

    audience: AudienceBody | None = None
    esp: EspName | None = Field(None, strict=False)
    allow_duplicate: bool = False
    confirm_count: int | None = Field(None, ge=0, le=2**63 - 1)
    """How many would be written to, as `counts.queued` of a dry run: another number is a 409."""
    dry_run: bool = False
    """Answer what would happen; nothing is stored or sent."""
    test_to: list[Annotated[str, StringConstraints(max_length=320)]] | None = Field(
        None, min_length=1, max_length=MOST_TESTS
    )
    """Send the mail there, with `[Test]` before its subject, and make no campaign."""

    @model_validator(mode="after")
    def _one_purpose(self) -> "CampaignBody":
        if self.dry_run and self.test_to is not None:
            raise ValueError("give either `dry_run` or `test_to`")
        return self


class PreviewBody(ContentBody):
    """A mailing to look at, as `email` would get it."""

    email: Annotated[str, StringConstraints(max_length=320)] | None = None
    """A person on the list; without it, a made-up one."""


class ResolveBody(Body):
    """What to do with the sends whose outcome is not known."""

    action: Resolution = Field(strict=False)
    expect: int = Field(ge=0, le=2**63 - 1)
    """How many there are, as you have seen them: another number is a 409."""


class WarningAnswer(Answer):
    """What the writer of a mailing should know, and do about it."""

    id: str
    severity: str = Field(description="warn: mend it before sending; info: good to know")
    where: str
    line: int | None
    message: str
    remedy: str


class FailoverAnswer(Answer):
    """Sends that one ESP definitely refused and another one got."""

    from_: str = Field(alias="from")
    to: str
    sends: int
    reason: str | None


class RatesAnswer(Answer):
    """Shares, 0 to 1; null where there is nothing to be a share of."""

    delivered: float | None = Field(description="Of the accepted")
    bounced: float | None = Field(description="Hard or blocked, of the accepted")
    complained: float | None = Field(description="Of the delivered")
    opened: float | None = Field(description="By people, of the delivered")
    clicked: float | None = Field(description="By people, of the delivered")
    unsubscribed: float | None = Field(description="Of the delivered")


class FiguresAnswer(Answer):
    """Mails that ESPs accepted, and what was told of them; each mail counts once in each."""

    accepted: int
    delivered: int
    deferred: int
    hard_bounced: int
    soft_bounced: int
    blocked: int
    dropped: int
    complained: int
    opened: int
    clicked: int
    unsubscribed: int
    machine_opened: int = Field(description="Fetched by a machine; says nothing of the reader")
    machine_clicked: int
    rates: RatesAnswer


class CampaignAnswer(Answer):
    """How a campaign stands; `planned` is the sum of `counts` and `skipped`."""

    campaign_id: int
    name: str
    subject: str
    status: CampaignStatus
    reason: str | None
    planned: int
    counts: dict[str, int]
    skipped: dict[str, int]
    by_esp: dict[str, int]
    delivery: dict[str, int]
    rates: RatesAnswer
    delivery_by_esp: dict[str, FiguresAnswer]
    delivery_by_provider: dict[str, FiguresAnswer] = Field(
        description="By mailbox provider: gmail, outlook, …, other"
    )
    failovers: list[FailoverAnswer]
    duration_seconds: float
    sandbox: bool
    created_at: str
    resume_at: str | None
    warnings: list[WarningAnswer] | None = Field(
        None, description="Only in the answer to the call that sends"
    )


class DryRunAnswer(Answer):
    """What would happen, if no ESP fails."""

    campaign_id: None
    name: str
    subject: str
    dry_run: bool
    planned: int
    counts: dict[str, int]
    skipped: dict[str, int]
    by_esp: dict[str, int]
    delivery: dict[str, int]
    ends_at: str | None = Field(description="About; null: the limits never let it end")
    sandbox: bool
    warnings: list[WarningAnswer]


class TestMailAnswer(Answer):
    """One test mail: which ESP took it, or why none did."""

    email: str
    esp: EspName | None
    outcome: str
    reason: str | None


class TestsAnswer(Answer):
    tests: list[TestMailAnswer]
    sandbox: bool
    warnings: list[WarningAnswer]


class SendAnswer(RootModel[CampaignAnswer | DryRunAnswer | TestsAnswer]):
    """A campaign; with `dry_run` what would happen; with `test_to` the test mails."""


class PreviewAnswer(Answer):
    """The mail that one person would get."""

    email: str
    subject: str
    html: str | None
    text: str | None
    headers: dict[str, str]
    warnings: list[WarningAnswer]


class CampaignsAnswer(Answer):
    campaigns: list[CampaignAnswer]
    next: int | None


class LedgerSendAnswer(Answer):
    """One email of a campaign to one subscriber."""

    id: int
    email: str
    status: SendStatus
    reason: str | None
    esp: EspName | None
    esp_message_id: str | None
    attempt: int
    delivery: str
    opened: bool
    clicked: bool
    unsubscribed: bool
    settled_at: str | None


class SendsAnswer(Answer):
    sends: list[LedgerSendAnswer]
    next: int | None


class CampaignPath(Path):
    campaign_id: Id


class PageQuery(Query):
    after: Id | None = None
    limit: int = Field(50, ge=1, le=200)


class SendsQuery(Query):
    status: SendStatus | None = None
    after: int = Field(0, ge=0, le=2**63 - 1)
    limit: int = Field(200, ge=1, le=1000)
