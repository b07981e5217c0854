"""Amazon SES v2's words of refusal: exceptions of calls, statuses of entries.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendBulkEmail.html
https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_BulkEmailEntryResult.html
"""

from services.simulator.dialect import Limit, Refused
from services.simulator.http1 import Response, json_response
from services.simulator.modes import Mode

DAILY_QUOTA = "Daily message quota exceeded."
NOT_VERIFIED = (
    "Email address is not verified. The following identities failed the check in region"
    " EU-WEST-1: news@example.com"
)
MAX_RATE = "Maximum sending rate exceeded."

EXCEPTIONS: dict[str, tuple[int, str]] = {
    "AccessDeniedException": (403, "User is not authorized to perform: ses:SendEmail"),
    "AccountSuspendedException": (400, "Account is suspended."),
    "BadRequestException": (400, "The content of the message is not acceptable."),
    "ExpiredTokenException": (403, "The security token included in the request is expired"),
    "InternalServiceErrorException": (500, "An internal service error occurred."),
    "InvalidClientTokenId": (403, "The security token included in the request is invalid."),
    "LimitExceededException": (400, DAILY_QUOTA),
    "MailFromDomainNotVerifiedException": (400, "The MAIL FROM domain is not verified."),
    "MessageRejected": (400, "Message contents rejected."),
    "MissingAuthenticationTokenException": (403, "Missing Authentication Token"),
    "NotFoundException": (404, "Configuration set does not exist."),
    "RequestEntityTooLarge": (413, "The request is too large."),
    "SendingPausedException": (400, "Sending is paused for this account."),
    "SerializationException": (400, "The body is not of the expected shape."),
    "ServiceUnavailableException": (503, "Service is unavailable."),
    "SignatureDoesNotMatch": (403, "The request signature we calculated does not match."),
    "ThrottlingException": (400, MAX_RATE),
    "TooManyRequestsException": (429, MAX_RATE),
    "UnknownOperationException": (404, "No such operation."),
    "UnrecognizedClientException": (403, "The security token included in the request is invalid."),
}
"""Name -> HTTP status and message."""

STATUSES: dict[str, str] = {
    "MESSAGE_REJECTED": "Message contents rejected.",
    "MAIL_FROM_DOMAIN_NOT_VERIFIED": "The MAIL FROM domain is not verified.",
    "CONFIGURATION_SET_NOT_FOUND": "Configuration set does not exist.",
    "TEMPLATE_NOT_FOUND": "Template does not exist.",
    "ACCOUNT_SUSPENDED": "Account is suspended.",
    "ACCOUNT_THROTTLED": MAX_RATE,
    "ACCOUNT_DAILY_QUOTA_EXCEEDED": DAILY_QUOTA,
    "INVALID_SENDING_POOL_NAME": "Sending pool does not exist.",
    "ACCOUNT_SENDING_PAUSED": "Sending is paused for this account.",
    "CONFIGURATION_SET_SENDING_PAUSED": "Sending is paused for this configuration set.",
    "INVALID_PARAMETER": "Invalid recipient address.",
    "TRANSIENT_FAILURE": "A transient failure occurred, try again.",
    "FAILED": "The message could not be sent.",
}
"""Status of an entry that was not taken -> its error text."""

STATUS_AS_EXCEPTION: dict[str, str] = {
    "ACCOUNT_THROTTLED": "TooManyRequestsException",
    "ACCOUNT_DAILY_QUOTA_EXCEEDED": "TooManyRequestsException",
    "ACCOUNT_SUSPENDED": "AccountSuspendedException",
    "ACCOUNT_SENDING_PAUSED": "SendingPausedException",
    "MAIL_FROM_DOMAIN_NOT_VERIFIED": "MailFromDomainNotVerifiedException",
    "MESSAGE_REJECTED": "MessageRejected",
    "CONFIGURATION_SET_NOT_FOUND": "NotFoundException",
    "TRANSIENT_FAILURE": "InternalServiceErrorException",
    "FAILED": "InternalServiceErrorException",
}
"""How SendEmail, which has no results, says it; the rest is a BadRequestException."""

# Which exception of v2 carries the daily quota is not documented; its text is.
REFUSALS: dict[Mode, tuple[str, str | None]] = {
    Mode.UNAUTHORIZED: ("UnrecognizedClientException", None),
    Mode.SUSPENDED: ("AccountSuspendedException", None),
    Mode.UNVERIFIED: ("MessageRejected", NOT_VERIFIED),
    Mode.THROTTLE: ("TooManyRequestsException", None),
    Mode.QUOTA: ("TooManyRequestsException", DAILY_QUOTA),
    Mode.MESSAGE_REJECTED: ("MessageRejected", None),
    Mode.TOO_LARGE: ("RequestEntityTooLarge", None),
    Mode.ERROR_500: ("InternalServiceErrorException", None),
    Mode.ERROR_503: ("ServiceUnavailableException", None),
}
"""Exception and, where it differs from its usual one, text."""

FAULT_CODES: dict[Mode, tuple[str, ...]] = {
    Mode.PARTIAL: (
        "INVALID_PARAMETER",
        "ACCOUNT_THROTTLED",
        "TRANSIENT_FAILURE",
        "MESSAGE_REJECTED",
    ),
    Mode.THROTTLE: ("ACCOUNT_THROTTLED",),
    Mode.QUOTA: ("ACCOUNT_DAILY_QUOTA_EXCEEDED",),
    Mode.SUSPENDED: ("ACCOUNT_SUSPENDED",),
    Mode.UNVERIFIED: ("MESSAGE_REJECTED",),
    Mode.MESSAGE_REJECTED: ("MESSAGE_REJECTED",),
}


def exception(name: str, text: str | None = None) -> Response:
    """An error as AWS's REST-JSON protocol writes it, so that SDKs raise it by its name."""
    status, usual = EXCEPTIONS.get(name, (400, name))
    return json_response(status, {"message": text or usual}, {"x-amzn-ErrorType": name})


def bad(text: str, limit: Limit | None = None) -> Refused:
    return Refused(exception("BadRequestException", text), limit=limit)
