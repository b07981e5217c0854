"""The pages that people reach from a mail: one frame for all, plain HTML without script.

Nothing is loaded from anywhere, no search engine keeps them, and what is not ours in them is
escaped. A form has no action: it goes back to the address of its page, token and all.
"""

import logging
from functools import lru_cache

from flask import Blueprint, Response
from jinja2 import Environment, Template
from markupsafe import Markup

from services.unsubscribe_spool import TROUBLE

log = logging.getLogger(__name__)

# No script, nothing loaded from anywhere; forms may only come back here.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Robots-Tag": "noindex, nofollow",
}
_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { font: 1.125rem/1.5 system-ui, sans-serif; max-width: 30rem; margin: 0 auto; padding: 2rem 1rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.125rem; margin: 2rem 0 .5rem; padding-top: 1.5rem; border-top: 1px solid #8886; }
p { margin: 0 0 1rem; }
label { display: block; margin: 0 0 1rem; }
input { display: block; width: 100%; min-height: 3rem; font: inherit; padding: .5rem .75rem; border: 1px solid #888; border-radius: .5rem; }
button { display: block; width: 100%; min-height: 3rem; font: inherit; font-weight: 600; margin: 0 0 .75rem; padding: .5rem 1rem; border: 2px solid #14532d; border-radius: .5rem; background: #14532d; color: #fff; cursor: pointer; }
button.quiet { background: transparent; color: inherit; border-color: #888; }
.said { padding: .75rem 1rem; border-left: .3rem solid #14532d; background: #14532d1f; }
.wrong { border-color: #b91c1c; background: #b91c1c1f; }
a { color: inherit; }
:focus-visible { outline: 3px solid #2563eb; outline-offset: 2px; }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
{{ body }}
</main>
</body>
</html>
"""
BROKEN = (
    "<p>This link is not complete: it may have been cut off on its way. Please open it from "
    "the mail again, or answer the mail with the word <em>unsubscribe</em>.</p>"
)
SORRY = (
    "<p>Something does not work on our side just now, and nothing was changed. Please try "
    "again in a few minutes.</p>"
    "<p>If you want no more mails, you can also answer one with the word <em>unsubscribe</em>.</p>"
)
RETRY_AFTER = {"Retry-After": "60"}

_JINJA = Environment(autoescape=True)


def page(title: str, body: str, status: int = 200, **values: object) -> Response:
    """A page; `body` is HTML of ours, as a template that `values` are put into."""
    inner = Markup(_template(body).render(values))
    html = _template(_FRAME).render(title=title, body=inner)
    return Response(html, status, _HEADERS, mimetype="text/html")


def broken() -> Response:
    """For a token that nobody here signed."""
    return page("This link does not work", BROKEN, status=400)


def apologise(pages: Blueprint) -> None:
    """Where a page cannot do its work, since nothing can be read or stored: a 503 for people."""
    for trouble in TROUBLE:
        pages.register_error_handler(trouble, _sorry)


def _sorry(error: Exception) -> Response:
    log.error("a page cannot be answered: %s", error)
    response = page("Please try again later", SORRY, status=503)
    response.headers.update(RETRY_AFTER)
    return response


@lru_cache(maxsize=64)
def _template(source: str) -> Template:
    return _JINJA.from_string(source)
