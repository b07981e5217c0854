"""One door for all calls: an API key, except for the few that the world must reach.

API_KEY opens all; keys that may do less open what `LESSER` says. Who comes through it is counted
(`api.limits`), and so is who does not.
"""

import hmac
from enum import StrEnum

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


class Scope(StrEnum):
    """What a key is for, named for the setting that holds it."""

    ALL = "API_KEY"
    READ = "READ_API_KEYS"
    """Figures, and no person."""
    SIGN_UP = "SIGN_UP_API_KEYS"
    SEND = "SEND_API_KEYS"
    """Figures too. Not `/preview`, which shows a person's data; nor what overrules a guard."""


LESSER: dict[str, frozenset[Scope]] = {
    **dict.fromkeys(
        (
            *("GET /campaigns", "GET /campaigns/<int:campaign_id>", "GET /subscriber-stats"),
            *("GET /esp-status", "GET /dns-check", "GET /dns-instructions", "GET /metrics"),
        ),
        frozenset({Scope.READ, Scope.SEND}),
    ),
    **dict.fromkeys(
        (
            "POST /send-campaign",
            *(
                f"POST /campaigns/<int:campaign_id>/{order}"
                for order in ("pause", "resume", "cancel")
            ),
        ),
        frozenset({Scope.SEND}),
    ),
    "POST /add-subscriber": frozenset({Scope.SIGN_UP}),
}
"""Which keys beside API_KEY a call takes; one that is not here, so each new one, takes none."""

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
    scope = _scope_of(key.strip()) if scheme.lower() == "bearer" else None
    if scope is None:
        limits.count_wrong_key()
        raise Problem(
            "unauthorized",
            "Send the header Authorization: Bearer <API_KEY>. The key is in the file .env.",
            headers={"WWW-Authenticate": 'Bearer realm="email delivery"'},
        )
    limits.count_right_key(key.strip())
    if not _may(scope, request.method, request.url_rule.rule):
        raise Problem("forbidden", f"A key of {scope} may not do this; API_KEY may.")


def _may(scope: Scope, method: str, rule: str) -> bool:
    call = f"{'GET' if method == 'HEAD' else method} {rule}"
    return scope is Scope.ALL or scope in LESSER.get(call, ())


def _scope_of(given: str) -> Scope | None:
    """None: it is none of ours. Compared with each of them, whichever it is."""
    settings = the_system().settings
    ours = {
        Scope.ALL: (settings.api_key,),
        Scope.READ: settings.read_api_keys,
        Scope.SIGN_UP: settings.sign_up_api_keys,
        Scope.SEND: settings.send_api_keys,
    }
    said = given.encode("utf-8", "surrogatepass")
    found = [
        scope
        for scope, keys in ours.items()
        for key in keys
        if hmac.compare_digest(said, key.encode())
    ]
    return found[0] if found else None
