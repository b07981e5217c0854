"""What the tests of double opt-in share: somebody signs up, and their links."""

from datetime import datetime

from sqlalchemy import select

from database.models import OptIn
from database.session import Database
from list_manager import Person
from lists.opt_ins import Verdict, confirm
from services.mailing import Identity
from services.opt_in import Sender, SignedUp, sign_up
from tests.people import HASH_KEY
from utils.addresses import normalise
from utils.tokens import ConfirmLink, link_key

SENDER = Sender(
    identity=Identity(
        hash_key=HASH_KEY, link_key=link_key("s" * 40), public_base_url="https://mail.example.com"
    ),
    from_email="news@example.com",
    from_name="Example",
    postal_address="Example Ltd, 1 Example Street",
    sandbox=True,
)


def ask(
    database: Database,
    email: str,
    now: datetime,
    *,
    double_opt_in: bool = True,
    resubscribe: bool = False,
) -> SignedUp:
    with database.write() as session:
        return sign_up(
            session,
            Person(address=normalise(email)),
            sender=SENDER,
            now=now,
            double_opt_in=double_opt_in,
            resubscribe=resubscribe,
        )


def links(database: Database) -> list[ConfirmLink]:
    """Of every request that was mailed, the oldest first."""
    with database.read() as session:
        return [
            ConfirmLink(email_hash=one.email_hash, opt_in_id=one.id, issued_at=one.created_at)
            for one in session.scalars(select(OptIn).order_by(OptIn.id))
        ]


def say_yes(database: Database, link: ConfirmLink, now: datetime) -> Verdict:
    with database.write() as session:
        return confirm(session, link, ip="192.0.2.7", agent="Mozilla/5.0", now=now)
