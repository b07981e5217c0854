"""Amazon SES's identities, as its API tells them.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetEmailIdentity.html
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from services.simulator.http1 import Request, Response, json_response
from services.simulator.modes import Scope
from services.simulator.ses_errors import exception

PATH = "/v2/email/identities/"
ROUTES: Mapping[tuple[str, str], Scope] = {("GET", PATH): Scope.LOOKUP}


def answer(request: Request, known: Sequence[str]) -> Response | None:
    """`None` for what is no call about identities."""
    if not request.path.startswith(PATH):
        return None
    name = request.path.removeprefix(PATH).lower()
    if name not in known:
        return exception("NotFoundException", f"Email identity {name} does not exist.")
    return json_response(
        200,
        {
            "IdentityType": "DOMAIN",
            "FeedbackForwardingStatus": True,
            "VerifiedForSendingStatus": True,
            "VerificationStatus": "SUCCESS",
            "DkimAttributes": {
                "SigningEnabled": True,
                "Status": "SUCCESS",
                "Tokens": [sha256(f"{n}.{name}".encode()).hexdigest()[:32] for n in range(3)],
                "SigningHostedZone": "dkim.amazonses.com",
                "SigningAttributesOrigin": "AWS_SES",
                "NextSigningKeyLength": "RSA_2048_BIT",
                "CurrentSigningKeyLength": "RSA_2048_BIT",
            },
            "MailFromAttributes": {
                "MailFromDomain": f"bounce.{name}",
                "MailFromDomainStatus": "SUCCESS",
                "BehaviorOnMxFailure": "USE_DEFAULT_VALUE",
            },
            "Policies": {},
            "Tags": [],
        },
    )
