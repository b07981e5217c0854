"""The mail that all sides send, and how each ESP takes it. Only the standard library."""

from dataclasses import dataclass

SUBJECT = "Hello {{ first_name }}"
_PARAGRAPH = "<p>News of the week, and what came of the news of the week before that.</p>\n"
HTML = (
    "<h1>Hello {{ first_name }}</h1>\n"
    + 8000 // len(_PARAGRAPH) * _PARAGRAPH
    + '<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>\n'
)
"""8 KB, as the prototypes of docs/performance.md had it."""
TEXT = (
    "Hello {{ first_name }}\n"
    + 1000 // 40 * "News of the week, and what came of it.\n\n"
    + "{{ unsubscribe_url }}\n"
)
LOGIC = """
{% set name = first_name or "reader" %}
{% macro row(title, price) %}
  <tr><td>{{ title }}</td><td>{{ price|round(2) }}</td></tr>
{% endmacro %}
<h1>Hello {{ name|upper }}</h1>
{% if "vip" in tags %}
  <p>Thank you for staying with us, {{ name }}.</p>
{% elif attributes.points > 100 %}
  <p>You have {{ attributes.points }} points.</p>
{% else %}
  <p>Collect points with each order.</p>
{% endif %}
<table>
{% for title in ("Tea", "Cup", "Pot") %}
  {% if loop.first or name|length > 2 %}
    {{ row(title, loop.index * 2.5) }}
  {% endif %}
{% endfor %}
</table>
{% for tag in tags %}
  <p>Because you follow {{ tag }}{% if not loop.last %}, and{% endif %}</p>
{% else %}
  <p>Tell us what you like, {{ name }}.</p>
{% endfor %}
{% if attributes.city %}
  <p>News from {{ attributes.city }}</p>
{% endif %}
""".strip()
"""30 lines of conditions, loops and open slots, for the top of `HTML`."""
FROM = "news@example.com"


@dataclass(frozen=True, slots=True)
class Esp:
    path: str
    """Of the call that takes a batch."""
    mark: bytes
    """What each mail has once in a body."""
    most: int
    """Recipients in a call: the ESP's own limit."""


ESPS = {
    "sendgrid": Esp("/v3/mail/send", b'"to":', 1000),
    "ses": Esp("/v2/email/outbound-bulk-emails", b'"Destination":', 50),
    "postmark": Esp("/email/batch", b'"To":', 500),
}


def filled(text: str, first_name: str, url: str) -> str:
    return text.replace("{{ first_name }}", first_name).replace("{{ unsubscribe_url }}", url)
