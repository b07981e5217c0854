"""What people write arrives as they wrote it, whichever ESP carries it: byte for byte."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from config.esp_config import EspName
from services.adapters import build_adapter
from services.base import Batch, EspAdapter, Outcome
from services.content import prepared
from services.mailing import Identity, Mailing, Sample
from services.simulator.records import Mail
from services.simulator.server import SIMULATED, Simulator
from tests.rig import NEW, configs_at

ADDRESS = "Example Ltd, 1 Example Street"
IDENTITY = Identity(hash_key=b"h" * 32, link_key=b"l" * 32, public_base_url="https://m.example.com")
PLAIN = Sample(email="plain@example.net", first_name="Ann", attributes={"city": "Oslo"})
LOOP = (
    "{% for item in attributes.items %}<li>{{ loop.index }}: {{ item }}</li>{% else %}-{% endfor %}"
)
NESTED = (
    "{% if tags %}{% if 'vip' in tags %}<b>{{ first_name }}</b>{% else %}x{% endif %}{% endif %}"
)
MACRO = "{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m(first_name) }} {{ m(email) }}"
STYLED = (
    "<html><head><style>td{color:red} a > b{color:#123} @media (max-width:600px){td{color:blue}}"
    "</style></head><body><table>{% for i in attributes.items %}<tr><td>{{ i }}</td></tr>"
    "{% endfor %}</table><a href='https://example.com/?a=1&amp;b={{ attributes.city }}'><b>x</b></a>"
    "</body></html>"
)
OUTLOOK = "<!--[if mso]><p>{{ first_name }}</p><![endif]--><p>{{ first_name }}</p>"
ZOE = 'Zoë "Z" <b> & Co'
LONG = "0123456789 äöü " * 700
RTL = "שלום עולם"


def person(**changes: Any) -> Sample:
    return replace(PLAIN, email="special@example.net", **changes)


HELLO = {"subject": "Hello {{ first_name }}", "html": "<p>Hello {{ first_name }}</p>"}


def about(
    value: Any, html: str = "<p>{{ attributes.x }}|{{ attributes.x }}</p>"
) -> tuple[Any, Sample]:
    said = {"subject": "About {{ attributes.x }}", "html": html, "text": "{{ attributes.x }}\nend"}
    return said, person(attributes={"x": value})


ROWS: dict[str, tuple[dict[str, Any], Sample]] = {
    "plain": (HELLO, person()),
    "quotes and markup in a name": (HELLO, person(first_name=ZOE)),
    "no name": (HELLO, person(first_name=None)),
    "a newline in a name": (HELLO, person(first_name="Ann\nBcc: x@example.com")),
    "a tab in a name": (HELLO, person(first_name="Ann\tB")),
    "emoji": (HELLO, person(first_name="🎉👩‍👩‍👧")),
    "right to left": (HELLO, person(first_name=RTL)),
    "combining letters": (HELLO, person(first_name="e\u0301 ẛ̣ ﬀ")),
    "braces in the data": about("{{literal}}"),
    "half of a brace": about("{ {"),
    "closing braces in the data": about("}}"),
    "a variable of SES in the data": about("{{h0}} {{s0}}"),
    "a tag of SendGrid in the data": about("-name- %name% [name] <%name%>"),
    "handlebars in the data": about("{{#if x}}{{else}}{{/if}} {{{x}}}"),
    "a backslash and dollars": about("\\1 $1 ${x} $&"),
    "percent and entities": about("100% &amp; &lt;b&gt; &nbsp;"),
    "a value over SendGrid's 10,000 bytes": about(LONG),
    "12 kB in a text part only": ({**HELLO, "text": "{{ attributes.x }}"}, person(attributes={"x": LONG})),
    "a number": about(3.5),
    "zero": about(0),
    "a list": about(["a", "b & c"]),
    "nothing": about(None),
    "blanks only": about("   "),
    "quotes for JSON": about('"\\"\u2028\u2029'),
    "control characters": about("a\x01b\x1fc"),
    "set": ({**HELLO, "html": "{% set n = first_name|upper %}<p>{{ n }} {{ n|length }}</p>"}, person(first_name="Zoë")),
    "macro": ({**HELLO, "html": MACRO}, person(first_name=ZOE)),
    "loop": ({**HELLO, "html": LOOP}, person(attributes={"items": ["a", ZOE, "{{x}}"]})),
    "empty loop": ({**HELLO, "html": LOOP}, person(attributes={})),
    "nested conditions, met": ({**HELLO, "html": NESTED}, person(tags=("vip",))),
    "nested conditions, not met": ({**HELLO, "html": NESTED}, person(tags=())),
    "styles, media queries, a loop in a table": ({**HELLO, "html": STYLED}, person(attributes={"items": [1, 2], "city": "São & <x>"})),
    "Outlook's conditions": ({**HELLO, "html": OUTLOOK}, person(first_name=ZOE)),
    "a template of 200 kB": ({**HELLO, "html": "<p>{{ first_name }}</p>" + "<p>lorem ipsum dolor &mdash; ü</p>" * 6500}, person()),
    "braces in the template": ({**HELLO, "html": "<p>{% raw %}{{ mustache }} }} {{{% endraw %} {{ first_name }}</p>"}, person()),
    "minified CSS that ends in two braces": ({**HELLO, "html": "<p style='x'>@media(x){a{b:c}}{{ first_name }}</p>"}, person()),
    "a slot between braces": ({**HELLO, "html": "<p>{% raw %}{{% endraw %}{{ first_name }}{% raw %}}{% endraw %}</p>"}, person(first_name="{x}")),
    "only text": ({"subject": "Hi", "html": None, "text": "Hello {{ first_name }}\n\n-- \nx"}, person(first_name=ZOE)),
    "text and HTML apart": ({**HELLO, "text": "T {{ first_name }}"}, person(first_name=ZOE)),
    "a subject with quotes": ({**HELLO, "subject": '"{{ first_name }}" — <is> \'it\', 100 %'}, person(first_name=ZOE)),
    "a subject that is all slot": ({**HELLO, "subject": "{{ attributes.x }}"}, person(attributes={"x": "Grüße, 🎉"})),
    "a subject without a slot": ({**HELLO, "subject": "News"}, person()),
    "an attribute with a slot": ({**HELLO, "html": "<a href=\"https://example.com/{{ attributes.x|urlencode }}\">x</a>"}, person(attributes={"x": "a b&c\"d"})),
    "the unsubscribe link": ({**HELLO, "html": "<a href='{{ unsubscribe_url }}'>leave</a> {{ unsubscribe_url }}"}, person()),
}  # fmt: skip


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def adapters(simulator: Simulator) -> dict[EspName, EspAdapter]:
    return {esp: build_adapter(one) for esp, one in configs_at(simulator.base_urls).items()}


def mailing(said: dict[str, Any]) -> Mailing:
    content = prepared(
        subject=said["subject"],
        html=said["html"],
        text=said.get("text"),
        name="News",
        address=ADDRESS,
    )
    new = replace(NEW, subject=content.subject, html=content.html, text=content.text)
    return Mailing(new, IDENTITY)


def send(adapter: EspAdapter, batch: Batch) -> None:
    """All of a batch, in as many calls as the adapter says it takes."""
    left = batch
    while left.recipients:
        fit = adapter.fit(left)
        answer = adapter.send(replace(left, recipients=left.recipients[:fit]))
        assert [one.outcome for one in answer.results] == [Outcome.ACCEPTED] * fit
        left = replace(left, recipients=left.recipients[fit:])


def bytes_of(mail: Mail) -> dict[str, Any]:
    ours = ("List-Unsubscribe", "List-Unsubscribe-Post", "List-Id")
    headers = {name: (mail.headers or {}).get(name) for name in ours}
    return {"subject": mail.subject, "html": mail.html, "text": mail.text, **headers}


@pytest.mark.parametrize("row", ROWS)
def test_the_same_bytes_arrive_through_all_three(
    simulator: Simulator, adapters: dict[EspName, EspAdapter], row: str
) -> None:
    said, special = ROWS[row]
    simulator.reset()
    batch = mailing(said).batch([PLAIN, special, replace(PLAIN, email="after@example.net")])
    for adapter in adapters.values():
        send(adapter, batch)
    message = batch.message
    for recipient in batch.recipients:
        expected = {
            "subject": message.subject.fill(recipient.subject),
            "html": message.html.fill(recipient.html) if message.html else None,
            "text": message.text.fill(recipient.text) if message.text else None,
            **message.headers,
            **recipient.headers,
        }
        mails = simulator.mails(to=recipient.address)
        assert {mail.esp: bytes_of(mail) for mail in mails} == dict.fromkeys(SIMULATED, expected)
    assert simulator.limit_violations == {}
    assert simulator.rendering_failures() == dict.fromkeys(SIMULATED, 0)


THIRTY_LINES = "\n".join(
    [
        "<h1>{{ first_name|default('reader', true) }}</h1>",
        "{% set many = attributes.items|default([])|length > 1 %}",
        "<ul>",
        *(f"{{% for item in attributes.items %}}<li>{n} {{{{ item }}}}</li>{{% endfor %}}" for n in range(8)),
        "</ul>",
        *(f"{{% if many %}}<p>{n} {{{{ attributes.city }}}}</p>{{% else %}}<p>{n}</p>{{% endif %}}" for n in range(16)),
        "{% macro line(a) %}<p>{{ a }}</p>{% endmacro %}",
        "{{ line(email) }}",
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    "html", ["<p>{{ first_name }}</p>", THIRTY_LINES], ids=["plain", "30 lines"]
)
def test_calls_stay_at_the_batch_size_also_with_conditions_and_loops(
    adapters: dict[EspName, EspAdapter], html: str
) -> None:
    people = [
        replace(PLAIN, email=f"p{n}@example.net", attributes={"items": ["a", n], "city": ZOE})
        for n in range(50)
    ]
    batch = mailing({"subject": "Hi {{ first_name }}", "html": html}).batch(people)
    assert {esp: adapter.fit(batch) for esp, adapter in adapters.items()} == dict.fromkeys(
        SIMULATED, 50
    )
