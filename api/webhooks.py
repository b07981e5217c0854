"""What ESPs tell us, over HTTP. Each call is checked as its ESP has it, never by the API key.

What is genuine is answered 2xx, whatever it says: an ESP takes a 4xx for good (SNS gives the
event up, Postmark stops at 403). Whatever may pass is a 503, so that the ESP tries again.
"""

import logging
from http import HTTPStatus
from typing import Any

from flask import request
from flask_openapi.blueprint import APIBlueprint
from pydantic import Field, field_validator
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException

from api.errors import Problem
from api.schemas import Answer, Path, ProblemAnswer
from api.system import the_system
from config.esp_config import EspName
from services.event_recorder import Recorded
from services.events import NotConfigured, NotGenuine, NotReachable

log = logging.getLogger(__name__)

api = APIBlueprint("webhooks", __name__)

LARGEST_BYTES = 10_000_000
"""SendGrid flushes at 768 KB and SNS at 256 KB; Postmark may put a whole mail into a bounce."""
RETRY_AFTER = {"Retry-After": "60"}


class WebhookPath(Path):
    esp: EspName

    @field_validator("esp", mode="before")
    @classmethod
    def _is_there(cls, name: str) -> str:
        if name not in set(EspName):
            raise Problem("not-found", f"No such ESP; there are {', '.join(EspName)}.")
        return name


class RecordedAnswer(Answer):
    received: int = Field(description="Events in this call")
    new: int
    duplicates: int = Field(description="Told before, and counted then")
    ignored: int = Field(description="New, and about nothing that we know or act upon")


RESPONSES: dict[str | int | HTTPStatus, Any] = {
    200: RecordedAnswer,
    202: RecordedAnswer,
    401: ProblemAnswer,
    503: ProblemAnswer,
}


@api.post("/bounce-webhook", responses=RESPONSES)
@api.post("/complaint-webhook", responses=RESPONSES)
@api.post("/engagement-webhook", responses=RESPONSES)
def take() -> tuple[dict[str, int], int]:
    """Takes every event of the ESP whose headers the call has; better give its name in the path.

    202: a topic of yours asks to be confirmed, which is done in a moment. 401: nothing shows
    that it comes from the ESP. 503: not set up, or it cannot be stored now; send it again.
    """
    return _take(_esp_by_headers())


@api.post("/bounce-webhook/<esp>", responses={**RESPONSES, 404: ProblemAnswer})
@api.post("/complaint-webhook/<esp>", responses={**RESPONSES, 404: ProblemAnswer})
@api.post("/engagement-webhook/<esp>", responses={**RESPONSES, 404: ProblemAnswer})
def take_of(path: WebhookPath) -> tuple[dict[str, int], int]:
    """Takes every event of that ESP, which must pass that ESP's own check: SendGrid's
    signature, that of SNS for SES, the user and password of Postmark. 404: no such ESP."""
    return _take(path.esp)


def _esp_by_headers() -> EspName:
    if "x-amz-sns-message-type" in request.headers:
        return EspName.SES
    if "X-Twilio-Email-Event-Webhook-Signature" in request.headers:
        return EspName.SENDGRID
    if request.headers.get("Authorization", "").lower().startswith("basic "):
        return EspName.POSTMARK
    raise _not_genuine()


def _take(esp: EspName) -> tuple[dict[str, int], int]:
    request.max_content_length = LARGEST_BYTES
    headers = {name.lower(): value for name, value in request.headers.items()}
    body = request.get_data(cache=False)
    try:
        recorded = the_system().webhooks.take(esp, headers, body)
    except NotGenuine as error:
        log.warning("a webhook call is not genuine", extra={"esp": esp.value, "why": str(error)})
        raise _not_genuine() from error
    except (NotConfigured, NotReachable) as error:
        log.warning("a webhook call cannot be checked: %s", error, extra={"esp": esp.value})
        raise Problem(
            "unavailable", f"It cannot be checked: {error}.", headers=RETRY_AFTER
        ) from error
    except (OperationalError, HTTPException):
        raise
    except Exception as error:  # a 500 would be an answer for good; the ESP shall try again
        log.exception("a webhook call cannot be recorded", extra={"esp": esp.value})
        raise Problem("unavailable", "It cannot be recorded now.", headers=RETRY_AFTER) from error
    if recorded is None:
        return _told(Recorded(received=0, new=0, duplicates=0, ignored=0)), 202
    return _told(recorded), 200


def _told(recorded: Recorded) -> dict[str, int]:
    return {
        "received": recorded.received,
        "new": recorded.new,
        "duplicates": recorded.duplicates,
        "ignored": recorded.ignored,
    }


def _not_genuine() -> Problem:
    return Problem(
        "not-genuine",
        "Nothing in this call shows that an ESP made it. How to set webhooks up is in "
        "docs/operations.md.",
        headers={"WWW-Authenticate": 'Basic realm="webhooks"'},
    )
