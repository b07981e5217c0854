"""One campaign as mails: its template cut once, filled for each send of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from database.models import Campaign, CampaignKind
from services.base import Batch, Message, Recipient
from services.campaigns import NewCampaign
from utils.personalisation import People, Template, TemplateError
from utils.tokens import (
    NOBODY_LINK,
    ConfirmLink,
    UnsubscribeLink,
    confirm_token,
    send_refs,
    unsubscribe_tokens,
)

ONE_CLICK = {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
"""RFC 8058 3.1: with it, the mailbox provider may POST to the List-Unsubscribe URI."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What signs the mails of this installation, and where their links lead."""

    hash_key: bytes = field(repr=False)
    link_key: bytes = field(repr=False)
    public_base_url: str

    def confirm_url(self, link: ConfirmLink) -> str:
        return f"{self.public_base_url}/confirm?token={confirm_token(self.link_key, link)}"

    def unsubscribe_url(self, link: UnsubscribeLink) -> str:
        return self.unsubscribe_urls([link])[0]

    def unsubscribe_urls(self, links: Sequence[tuple[bytes, int, int]]) -> Sequence[str]:
        """One for each, of the fields of an `UnsubscribeLink`."""
        page = f"{self.public_base_url}/unsubscribe?token="
        return [page + token for token in unsubscribe_tokens(self.link_key, links)]


class Send(Protocol):
    """A send and its person: a `services.ledger.claim.ClaimedSend`, or a `Sample`."""

    @property
    def send_id(self) -> Any: ...
    @property
    def attempt(self) -> Any: ...
    @property
    def subscriber_id(self) -> Any: ...
    @property
    def email(self) -> Any: ...
    @property
    def email_hash(self) -> Any: ...
    @property
    def first_name(self) -> Any: ...
    @property
    def last_name(self) -> Any: ...
    @property
    def attributes(self) -> Any: ...
    @property
    def tags(self) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A mail that belongs to no campaign: its links leave nobody off the list."""

    email: str
    first_name: str | None = "Ann"
    last_name: str | None = "Example"
    attributes: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    send_id: int = NOBODY_LINK.send_id
    attempt: int = 0
    subscriber_id: int = NOBODY_LINK.subscriber_id
    email_hash: bytes = NOBODY_LINK.email_hash


class Mailing:
    """Builds the batches of one campaign. Raises a `TemplateError` for a bad template."""

    def __init__(
        self, campaign: Campaign | NewCampaign, identity: Identity, *, campaign_id: int = 0
    ) -> None:
        self._campaign_id = campaign_id
        self._identity = identity
        self._template = Template(
            subject=campaign.subject,
            html=campaign.html,
            text=campaign.text,
            campaign={"id": campaign_id, "name": campaign.name, "subject": campaign.subject},
        )
        self._message = Message(
            from_email=campaign.from_email,
            from_name=campaign.from_name,
            reply_to=campaign.reply_to,
            subject=self._template.subject,
            html=self._template.html,
            text=self._template.text,
            headers={**ONE_CLICK, "List-Id": _list_id(campaign.from_email)},
            tags=tuple(campaign.tags),
            track_opens=campaign.track_opens,
            track_clicks=campaign.track_clicks,
            transactional=campaign.kind is CampaignKind.CONFIRMATION,
        )

    def batch(self, sends: Sequence[Send]) -> Batch:
        """The call that carries `sends`, column by column: one by one takes twice as long."""
        urls = self._identity.unsubscribe_urls(
            [(one.email_hash, one.subscriber_id, one.send_id) for one in sends]
        )
        refs = send_refs(
            self._identity.hash_key,
            [(one.send_id, one.attempt) for one in sends],
            campaign_id=self._campaign_id,
        )
        recipients = map(
            Recipient,
            refs,
            [one.email for one in sends],
            *self._slots(sends, urls),
            [{"List-Unsubscribe": f"<{url}>"} for url in urls],
        )
        return Batch(message=self._message, recipients=tuple(recipients))

    def _slots(
        self, sends: Sequence[Send], urls: Sequence[str]
    ) -> tuple[Sequence[tuple[str, ...]], ...]:
        """Of subject, html and text, for each of them."""
        people = People(
            email=[one.email for one in sends],
            unsubscribe_url=urls,
            attributes=[one.attributes for one in sends],
            first_name=[one.first_name for one in sends],
            last_name=[one.last_name for one in sends],
            tags=[one.tags for one in sends],
        )
        try:
            return self._template.slots_of(people)
        except TemplateError as error:  # over what is known of one of them
            whose = f" (for send {sends[error.person].send_id})" if error.person is not None else ""
            raise TemplateError(error.field, f"{error}{whose}") from error


def _list_id(from_email: str) -> str:
    """RFC 2919: the name of the list, the same for all its mails."""
    return f"<news.{from_email.rpartition('@')[2]}>"
