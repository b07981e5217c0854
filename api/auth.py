"""One door for all calls: the API key, except for the few that the world must reach.

Who comes through it is counted (`api.limits`), and so is who does not.
"""

import hmac

from flask import Flask, request

from api import limits
from api.errors import Problem
from api.system import the_system

# Webhooks check the ESP's own signature or password, links their own token.
PUBLIC_RULES = frozenset(
    {
        *("/healthz", "/readyz", "/openapi.json", "/docs", "/docs/<path:name>"),
        *("/unsubscribe", "/confirm", "/preferences"),
        *("/bounce-webhook", "/complaint-webhook", "/engagement-webhook"),
        *("/bounce-webhook/<esp>", "/complaint-webhook/<esp>", "/engagement-webhook/<esp>"),
    }
)
_KEY_PARAMETERS = frozenset({"api_key", "apikey", "api-key", "key", "access_token"})


def register(app: Flask) -> None:
    app.before_request(_check_key)


def _check_key() -> None:
    """Let the request pass, or raise the 401; what has no route is answered 404 or 405."""
    if request.url_rule is None or request.url_rule.rule in PUBLIC_RULES:
        limits.count_public()
        return
    if _KEY_PARAMETERS & {name.lower() for name in request.args}:
        raise Problem(
            "key-in-url",
            "Send it as the header Authorization: Bearer <API_KEY>. Addresses end up in logs: "
            "if that was the real key, change it.",
        )
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not _is_the_key(key.strip()):
        limits.count_wrong_key()
        raise Problem(
            "unauthorized",
            "Send the header Authorization: Bearer <API_KEY>. The key is in the file .env.",
            headers={"WWW-Authenticate": 'Bearer realm="email delivery"'},
        )
    limits.count_right_key()


def _is_the_key(given: str) -> bool:
    ours = the_system().settings.api_key.encode()
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), ours)
