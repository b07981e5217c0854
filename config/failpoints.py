"""Where a test may end the server as a power cut would: the places, and the setting for them."""

import re
from enum import StrEnum
from typing import NamedTuple


class Failpoint(StrEnum):
    """In the order in which a person, then a campaign comes by them."""

    IMPORT_BEFORE_COMMIT = "import-before-commit"
    """Of each page of 10,000 lines."""
    IMPORT_AFTER_COMMIT = "import-after-commit"
    SIGN_UP_BEFORE_COMMIT = "sign-up-before-commit"
    """A person who is to confirm, and the mail that asks them."""
    SIGN_UP_AFTER_COMMIT = "sign-up-after-commit"
    CONFIRM_BEFORE_COMMIT = "confirm-before-commit"
    """A double opt-in."""
    CONFIRM_AFTER_COMMIT = "confirm-after-commit"
    """And the person does not know."""
    CAMPAIGN_BEFORE_COMMIT = "campaign-before-commit"
    CAMPAIGN_AFTER_COMMIT = "campaign-after-commit"
    """It will be sent, and who posted it does not know."""
    RECOVERY_BEFORE_COMMIT = "recovery-before-commit"
    """What a dead process left is settled; a start that becomes the sender comes by it."""
    RECOVERY_AFTER_COMMIT = "recovery-after-commit"
    PLAN_BEFORE_COMMIT = "plan-before-commit"
    CLAIM_BEFORE_COMMIT = "claim-before-commit"
    CLAIM_AFTER_COMMIT = "claim-after-commit"
    CONNECTED = "connected"
    """To the ESP, and nothing sent yet."""
    HALF_BODY_SENT = "half-body-sent"
    BODY_SENT = "body-sent"
    STATUS_READ = "status-read"
    """And the headers of the answer."""
    RESPONSE_READ = "response-read"
    RECORD_BEFORE_COMMIT = "record-before-commit"
    RECORD_AFTER_COMMIT = "record-after-commit"
    FINISH_BEFORE_COMMIT = "finish-before-commit"
    WEBHOOK_BEFORE_COMMIT = "webhook-before-commit"
    WEBHOOK_AFTER_COMMIT = "webhook-after-commit"
    """Recorded, and the ESP does not know."""
    UNSUBSCRIBE_BEFORE_COMMIT = "unsubscribe-before-commit"
    UNSUBSCRIBE_AFTER_COMMIT = "unsubscribe-after-commit"
    """And the person does not know."""
    ERASE_BEFORE_COMMIT = "erase-before-commit"
    """Of a person, by a call of the API."""
    ERASE_AFTER_COMMIT = "erase-after-commit"


class Armed(NamedTuple):
    point: Failpoint
    nth: int
    """The time at which it counts."""


def armed(text: str) -> Armed:
    """`name` or `name:count`."""
    name, _, count = text.partition(":")
    if name not in list(Failpoint) or not re.fullmatch(r"|[1-9][0-9]{0,5}", count):
        raise ValueError("must be a name of config/failpoints.py, like body-sent or body-sent:3")
    return Armed(Failpoint(name), int(count or 1))
