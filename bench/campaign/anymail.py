"""django-anymail as its users run it: the fastest plain way through Django's ORM, one batch after
the other.

Each batch: its sends by `bulk_create`, committed before the call; one message with merge fields
to all of it; then the answers by one `executemany`. (`bulk_update` would take four times as
long.) Runs in an environment of its own: `bench/campaign/peers.py`.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from itertools import islice
from typing import Any

import django
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import connection, models, transaction

from bench.campaign.mail import FROM, HTML, SUBJECT, TEXT, filled
from bench.campaign.side import CAMPAIGN, Given, given, measured

_KEY = secrets.token_bytes(32)
_MARK = "UPDATE sends SET status = 'accepted', message_id = %s WHERE id = %s"


def set_up(told: Given) -> None:
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": told.database,
                "OPTIONS": {
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
                },
            }
        },
        EMAIL_BACKEND=f"anymail.backends.{told.esp}.EmailBackend",
        ANYMAIL={
            "SENDGRID_API_KEY": "SG.a-key-for-benches",
            "SENDGRID_API_URL": f"{told.url}/v3/",
            "POSTMARK_SERVER_TOKEN": "a-token-for-benches",
            "POSTMARK_API_URL": f"{told.url}/",
        },
        DEFAULT_FROM_EMAIL=FROM,
        USE_TZ=True,
    )
    django.setup()


def send(told: Given) -> int:
    """To everybody; how many sends are marked accepted."""
    people, sends = _models()
    mails = get_connection()
    mails.open()  # or each batch opens a connection of its own
    waiting = people.objects.order_by("id").values_list("id", "email", "first_name").iterator()
    while page := list(islice(waiting, told.batch)):
        rows = sends.objects.bulk_create(
            [sends(campaign_id=CAMPAIGN, subscriber_id=one[0], status="claimed") for one in page]
        )
        message = _message(told, page, [row.pk for row in rows], mails)
        message.send()
        answers = message.anymail_status.recipients
        marks = [(answers[one[1]].message_id, row.pk) for one, row in zip(page, rows, strict=True)]
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(_MARK, marks)
    return int(sends.objects.filter(status="accepted").count())


def _models() -> tuple[Any, Any]:
    """The tables of `side.make_list`: subscribers and sends."""

    def model(name: str, table: str, **fields: Any) -> Any:
        meta = type("Meta", (), {"db_table": table, "managed": False, "app_label": "bench"})
        return type(name, (models.Model,), {"__module__": __name__, "Meta": meta, **fields})

    number, text = models.IntegerField, models.TextField
    people = model(
        "Subscriber",
        "subscribers",
        id=models.AutoField(primary_key=True),
        email=text(),
        first_name=text(),
    )
    sends = model(
        "Send",
        "sends",
        id=models.AutoField(primary_key=True),
        campaign_id=number(),
        subscriber_id=number(),
        status=text(),
        message_id=text(null=True),
    )
    return people, sends


def _message(told: Given, page: list[Any], sends: list[int], mails: Any) -> Any:
    links = {email: _link(send) for (_, email, _), send in zip(page, sends, strict=True)}
    message: Any = EmailMultiAlternatives(to=[email for _, email, _ in page], connection=mails)
    if told.esp == "postmark":
        # Merged by Postmark, from a template that is kept there; its mails can have no other.
        message.template_id, message.subject, message.body = 1, None, None
    else:
        message.subject, message.body, html = (
            filled(one, "-first_name-", "-link-") for one in (SUBJECT, TEXT, HTML)
        )
        message.attach_alternative(html, "text/html")
        message.esp_extra = {"merge_field_format": "-{}-"}
    message.merge_data = {
        email: {"first_name": name, "link": links[email]} for _, email, name in page
    }
    message.merge_metadata = {
        email: {"send_id": str(send)} for (_, email, _), send in zip(page, sends, strict=True)
    }
    message.merge_headers = {
        email: {
            "List-Unsubscribe": f"<{link}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
        for email, link in links.items()
    }
    return message


def _link(send: int) -> str:
    mac = hmac.digest(_KEY, b"%d" % send, hashlib.sha256)
    return f"https://mail.example.com/unsubscribe?token={send}.{urlsafe_b64encode(mac).decode()}"


if __name__ == "__main__":
    told = given()
    set_up(told)
    measured(lambda: send(told))
