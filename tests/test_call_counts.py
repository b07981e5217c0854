"""A campaign costs a call for each batch, not for each person, and arrives as it was written."""

from collections.abc import Iterator
from typing import Any

import pytest

from config.esp_config import EspName
from database.session import Database
from tests.conftest import Clock
from tests.rig import NEW, Rig, configs_at, rig
from utils.personalisation import Person, Template

PEOPLE = 1_000
CALLS = {EspName.SENDGRID: 10, EspName.SES: 20, EspName.POSTMARK: 10}
"""At batches of 100, and of 50 at SES."""
PLAIN = "<p>Hello {{ first_name }}, <a href='{{ unsubscribe_url }}'>leave</a></p>"
THIRTY_LINES = """\
{% macro row(n, item) %}<tr><td>{{ n }}</td><td>{{ item.name }}</td></tr>{% endmacro %}
{% set name = first_name|default("friend") %}
<h1>Hello {{ name }},</h1>
<p>your city is {{ attributes.city }}.</p>
{% if attributes.points > 100 %}
<p>You have {{ attributes.points }} points, {{ name }}!</p>
{% elif attributes.points %}
<p>Only {{ 100 - attributes.points }} to go.</p>
{% else %}
<p>Collect points.</p>
{% endif %}
<style>@media (max-width:600px){td{color:blue}}</style>
<table>
{% for item in attributes.orders %}
{{ row(loop.index, item) }}
{% else %}
<tr><td>No orders</td></tr>
{% endfor %}
</table>
{% if "vip" in tags %}
<p>Thank you for being a VIP.</p>
{% endif %}
<ul>
{% for tag in tags %}
<li>{{ tag|upper }}{% if not loop.last %},{% endif %}</li>
{% endfor %}
</ul>
<p>This mail went to {{ email }}.</p>
<p>{{ campaign.name }}</p>
<p><a href="{{ unsubscribe_url }}">Leave</a></p>
"""
KNOWN: dict[str, Any] = {
    "first_name": 'Zoë "Z" <b>',
    "attributes": {"city": "São & Co", "points": 150, "orders": [{"name": "a"}, {"name": "b & c"}]},
    "tags": ["vip", "news"],
}
SPECIAL: list[dict[str, Any]] = [
    {"first_name": "{{literal}}"},
    {"first_name": "}}", "tags": ["-h0-"]},
    {"attributes": {"city": "x" * 12_000, "points": "50"}},
    {"attributes": {"city": "ends in {"}},
    {"attributes": {"orders": [{"name": "🎉" * 1_000}] * 3}},
]


@pytest.fixture
def at(database: Database, clock: Clock) -> Iterator[Rig]:
    with rig(database, clock) as made:
        made.configs = configs_at(made.simulator.base_urls, batch_size=100)
        yield made


@pytest.mark.parametrize("html", [PLAIN, THIRTY_LINES], ids=["plain", "30 lines"])
@pytest.mark.parametrize("esp", CALLS)
def test_a_thousand_people_cost_as_many_calls_as_batches(at: Rig, esp: EspName, html: str) -> None:
    at.add_people(PEOPLE, **KNOWN)
    at.start()
    told = at.send(esp=esp, html=html, subject="Hello {{ first_name }}")
    assert (told["status"], told["by_esp"]) == ("sent", {esp: PEOPLE})
    carried = [call.recipients for call in at.simulator.calls(esp) if call.recipients]
    assert len(carried) == CALLS[esp]


@pytest.mark.parametrize("esp", CALLS)
def test_people_who_need_a_call_of_their_own_do_not_cost_the_others_theirs(
    at: Rig, esp: EspName
) -> None:
    for place, special in enumerate(SPECIAL):
        at.add_people(40, f"plain{place}-{{}}@example.net", **KNOWN)
        at.add_people(1, f"special{place}-{{}}@example.net", **KNOWN | special)
    at.start()
    told = at.send(esp=esp, html=THIRTY_LINES, text="{{ first_name }} {{ attributes.city }}")
    assert (told["status"], told["by_esp"]) == ("sent", {esp: 41 * len(SPECIAL)})
    carried = [call.recipients for call in at.simulator.calls(esp) if call.recipients]
    assert len(carried) <= CALLS[esp] + 4 * len(SPECIAL)
    assert at.simulator.limit_violations == {}
    assert at.simulator.rendering_failures()[esp] == 0
    for place, special in enumerate(SPECIAL):
        for name, known in (("plain", KNOWN), ("special", KNOWN | special)):
            check_mail(
                at, told, Person(email=f"{name}{place}-0@example.net", unsubscribe_url="", **known)
            )


def check_mail(at: Rig, told: dict[str, Any], person: Person) -> None:
    """The one mail of `person` is the template filled for them, with the link of its header."""
    (mail,) = at.simulator.mails(to=person.email)
    assert mail.headers is not None
    link = mail.headers["List-Unsubscribe"].strip("<>")
    said = {"html": THIRTY_LINES, "text": "{{ first_name }} {{ attributes.city }}"}
    campaign = {"id": told["campaign_id"], "name": NEW.name, "subject": NEW.subject}
    template = Template(subject=NEW.subject, **said, campaign=campaign)
    slots = template.slots(person._replace(unsubscribe_url=link))
    assert template.html is not None
    assert template.text is not None
    assert (mail.subject, mail.html, mail.text) == (
        template.subject.fill(slots.subject),
        template.html.fill(slots.html),
        template.text.fill(slots.text),
    )
