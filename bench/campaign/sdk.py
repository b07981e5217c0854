"""What many write first: the ESP's own SDK, one mail a call, and the ORM with a commit each.

For the first `SAMPLE` people only, since it takes so long.
"""

from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from postmarker.core import PostmarkClient
from sendgrid import SendGridAPIClient
from sendgrid.helpers.mail import Header, Mail
from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from bench.campaign.mail import FROM, HTML, SUBJECT, TEXT, filled
from bench.campaign.side import CAMPAIGN, SAMPLE, Given, given, measured

_ONE_CLICK = "List-Unsubscribe=One-Click"

Texts = tuple[str, str, str]
"""Subject, text and HTML."""
Sender = Callable[[str, Texts, str], str]
"""Sends the texts, with an unsubscribe link, to an address; the ESP's id."""


class Base(DeclarativeBase):
    pass


class Subscriber(Base):
    __tablename__ = "subscribers"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    first_name: Mapped[str]


class Send(Base):
    __tablename__ = "sends"
    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int]
    subscriber_id: Mapped[int]
    status: Mapped[str]
    message_id: Mapped[str | None]


def send(told: Given, sender: Sender) -> int:
    engine = create_engine(f"sqlite:///{told.database}")
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = FULL"))
    with Session(engine, expire_on_commit=False) as session:
        people = session.scalars(select(Subscriber).order_by(Subscriber.id).limit(SAMPLE)).all()
        for one in people:
            row = Send(campaign_id=CAMPAIGN, subscriber_id=one.id, status="claimed")
            session.add(row)
            session.commit()
            link = f"https://mail.example.com/unsubscribe?token={row.id}"
            subject, text, html = (filled(it, one.first_name, link) for it in (SUBJECT, TEXT, HTML))
            row.message_id = sender(one.email, (subject, text, html), link)
            row.status = "accepted"
            session.commit()
    engine.dispose()
    return len(people)


def sendgrid(told: Given) -> Sender:
    client = SendGridAPIClient("SG.a-key-for-benches", host=told.url)

    def call(to: str, texts: Texts, link: str) -> str:
        mail = Mail(FROM, to, texts[0], texts[1], texts[2])
        mail.header = [Header(name, value) for name, value in _headers(link).items()]
        return str(client.send(mail).headers["X-Message-Id"])

    return call


def postmark(told: Given) -> Sender:
    client = PostmarkClient(server_token="a-token-for-benches", root_api_url=f"{told.url}/")

    def call(to: str, texts: Texts, link: str) -> str:
        subject, text, html = texts
        answer = client.emails.send(
            From=FROM, To=to, Subject=subject, TextBody=text, HtmlBody=html, Headers=_headers(link)
        )
        return str(answer["MessageID"])

    return call


def ses(told: Given) -> Sender:
    client = boto3.client(
        "sesv2",
        region_name="eu-west-1",
        endpoint_url=told.url,
        aws_access_key_id="AKIABENCHESBENCHES00",
        aws_secret_access_key="a-secret-key-for-benches",
        config=Config(retries={"total_max_attempts": 1}),
    )

    def call(to: str, texts: Texts, link: str) -> str:
        subject, text, html = ({"Data": one, "Charset": "UTF-8"} for one in texts)
        headers = [{"Name": name, "Value": value} for name, value in _headers(link).items()]
        body = {"Text": text, "Html": html}
        answer: dict[str, Any] = client.send_email(
            FromEmailAddress=FROM,
            Destination={"ToAddresses": [to]},
            Content={"Simple": {"Subject": subject, "Body": body, "Headers": headers}},
        )
        return str(answer["MessageId"])

    return call


def _headers(link: str) -> dict[str, str]:
    return {"List-Unsubscribe": f"<{link}>", "List-Unsubscribe-Post": _ONE_CLICK}


if __name__ == "__main__":
    told = given()
    sender = {"sendgrid": sendgrid, "postmark": postmark, "ses": ses}[told.esp](told)
    measured(lambda: send(told, sender))
