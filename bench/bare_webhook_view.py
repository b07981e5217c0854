"""The limit: the same call checked and parsed, and nothing stored but rows with their key."""

import json

from flask import Flask, request

from bench.ledgers import NOW
from bench.orm_webhook_view import sendgrid
from database.session import Database
from services.events import WebhookCall
from services.sendgrid_webhooks import SendGridWebhooks

_INSERT = (
    "INSERT INTO webhook_events (esp, event_key, kind, occurred_at, received_at, payload) "
    "VALUES ('sendgrid', ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)


def create_app(path: str, public_key: str) -> Flask:
    """For gunicorn: the app on this database."""
    app = Flask(__name__)
    database = Database(f"sqlite:///{path}")
    reader = SendGridWebhooks(sendgrid(public_key))

    @app.get("/readyz")
    def ready() -> str:
        return ""

    @app.post("/engagement-webhook/sendgrid")
    def take() -> dict[str, int]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = WebhookCall(headers=headers, body=request.get_data(), received_at=NOW)
        events = reader.receive(call).events
        rows = [
            (one.key, one.kind.value, str(one.occurred_at), str(NOW), json.dumps(one.payload))
            for one in events
        ]
        with database.write() as session:
            session.connection().exec_driver_sql(_INSERT, rows)
        return {"new": len(rows)}

    return app
