"""What a template says to each person, what it may say at all, and how it is cut."""

import re
from collections.abc import Mapping
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import ROOT
from services.base import Skeleton
from utils.personalisation import (
    LONGEST_SUBJECT,
    NO_SUBJECT,
    Person,
    Template,
    TemplateError,
)
from utils.template_filters import FILTERS
from utils.template_guard import MOST_NODES
from utils.template_language import LONGEST_RANGE
from utils.template_questions import TESTS
from utils.template_sandbox import LONGEST_TEXT, MOST_CHARS, MOST_STEPS, text_of

CAMPAIGN = {"id": 7, "name": "Spring", "subject": "Hello"}
ANN = Person(
    email="ann@example.net",
    first_name="Ann",
    attributes={
        "city": "Köln",
        "a key": "with a blank",
        "items": "an item",
        "points": 120,
        "points_as_text": "120",
        "price": 9.5,
        "is_member": True,
        "nothing": None,
        "empty": "",
        "list": ["b", "a", "c"],
        "numbers": [3, 1, 2],
        "orders": [{"name": "Tea", "price": 4}, {"name": "Cup", "price": "2.5"}],
        "pairs": [["x", 1], ["y", 2], "no pair"],
        "address": {"street": "Ring 1", "floor": {"no": 3}},
        "golf": "golf",
    },
    tags=["news", "vip"],
    unsubscribe_url="https://example.com/u?a=1&b=2",
)
NOBODY = Person(email="x@example.net", attributes={}, unsubscribe_url="https://example.com/u")


def shown(source: str, person: Person = ANN, *, part: str = "text") -> str:
    """What `person` reads in this part of the mail."""
    template = Template(
        subject=source if part == "subject" else "Hello",
        html=source if part == "html" else None,
        text=source if part != "html" else None,
        campaign=CAMPAIGN,
    )
    skeleton, values = getattr(template, part), getattr(template.slots(person), part)
    assert isinstance(skeleton, Skeleton)
    return skeleton.fill(values)


# what may be said

SAID = {
    # values
    "{{ email }}": "ann@example.net",
    "{{ first_name }}": "Ann",
    "{{ attributes.city }}": "Köln",
    "{{ attributes['a key'] }}": "with a blank",
    "{{ attributes.items }}": "an item",
    "{{ attributes.address.floor.no }}": "3",
    "{{ attributes.list[1] }} {{ attributes.list[-1] }}": "a c",
    "{{ attributes.list[1:] }} {{ first_name[:2] }} {{ first_name[0] }}": "a, c An A",
    "{{ unsubscribe_url }}": "https://example.com/u?a=1&b=2",
    "{{ campaign.name }} {{ campaign.id }}": "Spring 7",
    # how they are written
    "{{ attributes.list }}": "b, a, c",
    "{{ attributes.address }}": "street: Ring 1, floor: no: 3",
    "{{ attributes.price }} {{ attributes.points }}": "9.5 120",
    "{{ attributes.is_member }} {{ true }} {{ 1 == 2 }}": "true true false",
    "{{ true ~ 'x' }}{{ [true, none, 1]|join('-') }}": "truextrue--1",
    # what is not there
    "({{ last_name }})({{ attributes.x }})({{ attributes.x.y.z[3] }})": "()()()",
    "({{ attributes.nothing }})({{ attributes.nothing|upper }})": "()()",
    "({{ last_name|upper }})({{ last_name ~ '!' }})({{ last_name + '!' }})": "()(!)(!)",
    "({{ none }})({{ [] }})({{ {} }})": "()()()",
    "{{ last_name|default('friend') }}": "friend",
    "{{ attributes.empty|default('friend') }}": "friend",
    "{{ attributes.nothing|d('friend') }}": "friend",
    "{{ attributes.points|default(0) }} {{ 0|d('x') }} {{ 0|d('x', true) }}": "120 0 x",
    "({{ attributes.x + 1 }})({{ attributes.x|round }})({{ attributes.x|int }})": "()()(0)",
    "{{ 'a' if attributes.x > 1 else 'b' }}{{ 'a' if attributes.x < 1 else 'b' }}": "bb",
    "{{ 'a' if attributes.x == '' }}{{ 'b' if attributes.x is none }}": "ab",
    "{% for x in attributes.x %}a{% else %}none{% endfor %}": "none",
    "{{ attributes.x is defined }} {{ attributes.nothing is defined }}": "false false",
    # imported data are texts
    "{{ 'a' if attributes.points_as_text > 18 }}": "a",
    "{{ 'a' if attributes.points_as_text == 120 }}": "a",
    "{{ attributes.points_as_text + 1 }} {{ attributes.points_as_text * 2 }}": "121 240",
    "{{ attributes.points_as_text|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ '2.5'|float }}": "120 0 5 2.5",
    "{% for g in attributes.golf %}[{{ g }}]{% endfor %}": "[golf]",
    "{{ attributes.golf|join(', ') }}": "golf",
    # data of another kind than most people's
    "({{ attributes.city + 1 if attributes.city }})": "()",
    "({{ -attributes.city if attributes.city }})": "()",
    "{{ 'a' if attributes.city > 18 else 'b' }}": "b",
    "({% for x in attributes.points %}{{ x }}{% endfor %})": "()",
    "({{ attributes.city|round }})({{ attributes.points|items }})": "()()",
    "{% for a, b in attributes.pairs %}{{ a }}={{ b }};{% endfor %}": "x=1;y=2;",
    "{{ 'a' if 'vip' in attributes.points else 'b' }}": "b",
    "({{ attributes.points / (attributes.points - 120) }})": "()",
    # conditions
    "{% if attributes.points > 100 %}a{% elif attributes.points %}b{% else %}c{% endif %}": "a",
    "{% if 'vip' in tags and not last_name %}a{% endif %}": "a",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'n' not in 'Ann' }} {{ 3 not in [1, 2] }}": "true false false true",
    "{{ 'a' == 'a' != 'b' }} {{ 2 >= 2 }} {{ 1 <= 0 }}": "true true false",
    "{{ 'yes' if attributes.is_member else 'no' }}{{ 'x' if false }}": "yes",
    "{{ last_name or first_name }} {{ first_name and 5 }}": "Ann 5",
    "{{ 4 is even }} {{ 3 is odd }} {{ 9 is divisibleby(3) }} {{ '' is string }}": "true true true true",
    "{{ 5 is gt(3) }} {{ 5 is in([5]) }} {{ 'a' is lower }} {{ attributes is mapping }}": "true true true true",
    "{{ 5 is number }} {{ [] is sequence }} {{ true is boolean }} {{ 1.5 is float }}": "true true true true",
    # loops
    "{% for t in tags %}{{ loop.index }}{{ t }}{% if not loop.last %}, {% endif %}{% endfor %}": "1news, 2vip",
    "{% for t in tags %}{{ loop.first }}{{ loop.length }}{{ loop.revindex }};{% endfor %}": "true22;false21;",
    "{% for i in range(4) %}{{ loop.cycle('a', 'b') }}{% endfor %}": "abab",
    "{% for i in [1, 1, 2] %}{{ '!' if loop.changed(i) }}{{ i }}{% endfor %}": "!11!2",
    "{% for i in [1, 2] %}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}": "2;1;",
    "{% for i in range(10) if i is even %}{{ i }}{% endfor %}": "02468",
    "{% for i in range(1, 10, 4) %}{{ i }}{% endfor %}{% for i in range(3)|reverse %}{{ i }}{% endfor %}": "159210",
    "{% for o in attributes.orders %}{{ o.name }}:{{ o.price }} {% endfor %}": "Tea:4 Cup:2.5 ",
    "{% for k, v in attributes.address|dictsort %}{{ k }}={{ v }};{% endfor %}": "floor=no: 3;street=Ring 1;",
    "{% for k in attributes.address %}{{ k }} {% endfor %}": "street floor ",
    "{% for k, v in {'a': 1, 'b': 2}|items %}{{ k }}{{ v }}{% endfor %}": "a1b2",
    "{% for a in tags %}{% for b in tags %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}": "121122",
    # variables, macros, blocks
    "{% set name = first_name or 'you' %}{{ name }}{{ name }}": "AnnAnn",
    "{% if true %}{% set a = 1 %}{% endif %}-{{ a }}": "-1",
    "{% if last_name %}{% set a = 1 %}{% endif %}-{{ a }}": "-",
    "{% if 1 %}{% set a %}x{% endset %}{% else %}{% set a = 1 %}{% endif %}{{ a }}": "x",
    "{% for t in tags %}{% if loop.last %}{% set a = t %}{% endif %}{{ a }};{% endfor %}": ";vip;",
    "{% set box %}[{{ first_name }}]{% endset %}a{{ box }}b{{ box }}": "a[Ann]b[Ann]",
    "{% set box|upper %}x{{ first_name }}{% endset %}{{ box }}": "XANN",
    "{% macro hi(who, mark='!') %}Hi {{ who }}{{ mark }}{% endmacro %}{{ hi('A') }}-{{ hi('B', mark='?') }}": "Hi A!-Hi B?",
    "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}x{% endmacro %}{{ a() }}": "x",
    "{% macro box(t) %}<{{ t }}:{{ caller() }}>{% endmacro %}{% call box('a') %}{{ email }}{% endcall %}": "<a:ann@example.net>",
    "{% macro each(l) %}{% for i in l %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(i) each(tags) %}({{ i }}){% endcall %}": "(news)(vip)",
    "{% macro m(n) %}{{ n }}{% if n %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}": "3210",
    "{% filter upper %}a {{ first_name }}{% endfilter %}": "A ANN",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}": "3",
    "{% raw %}{{ first_name }}{% endraw %}|{# {{ x }} #}|": "{{ first_name }}||",
    "a  {%- if true -%}  b  {%- endif %}  c {{- first_name -}} d": "ab  cAnnd",
    "a\r\nb\rc {{ email }}\n": "a\nb\nc ann@example.net\n",
    # calculating
    "{{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 10 }} {{ -3 + 1 }} {{ 10 / 4 }}": "3 3 1024 -2 2.5",
    "{{ 'a' ~ 1 ~ 2.5 }} {{ 'a' + 'b' }}": "a12.5 ab",
    # filters
    "{{ first_name|upper }} {{ 'aB c'|capitalize }} {{ 'ab cd'|title }} {{ 'A'|lower }}": "ANN Ab c Ab Cd a",
    "{{ attributes.list|sort|join }} {{ attributes.numbers|sort(reverse=true) }}": "abc 3, 2, 1",
    "{{ ['B', 'a', 2, 'C', 1]|sort }}": "1, 2, a, B, C",
    "{{ attributes.orders|sort(attribute='name')|join(', ', attribute='name') }}": "Cup, Tea",
    "{{ attributes.orders|sum(attribute='price') }} {{ [1, 2]|sum }} {{ [1, 'x', 2]|sum(start=3) }}": "6.5 3 6.0",
    "{{ attributes.numbers|max }} {{ attributes.numbers|min }} {{ ['b', 'A']|min }} ({{ []|max }})": "3 1 A ()",
    "{{ ['a', 'A', 'b']|unique }} {{ [1, [2], [2]]|unique }}": "a, b 1, 2",
    "{{ tags|first }} {{ tags|last }} {{ 'abc'|first }} ({{ []|first }})": "news vip a ()",
    "{{ tags|length }} {{ 'abc'|count }} {{ last_name|length }}": "2 3 0",
    "{{ 'abc'|reverse }} {{ tags|reverse }} {{ tags|list }}": "cba vip, news news, vip",
    "{{ 2.567|round(2) }} {{ 2.5|round(method='floor') }} {{ 2.1|round(0, 'ceil') }} {{ -3|abs }}": "2.57 2.0 3.0 3",
    "{{ 'a b c d e f g h'|truncate(9) }} {{ 'abcdefghijk'|truncate(5, true, '…', 0) }}": "a b c... abcd…",
    "{{ ' a '|trim }}{{ 'xax'|trim('x') }} {{ 'a<b>b</b>'|striptags }} {{ 'a b c'|wordcount }}": "aa ab 3",
    "{{ 'aXbX'|replace('X', '-') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ 'a'|replace('', 'x') }}": "a-b- bba a",
    "{{ 'a b/ü&c'|urlencode }} {{ '<'|e }}{{ 5|string }}": "a%20b/%C3%BC%26c <5",
    "static": "static",
    "": "",
}


@pytest.mark.parametrize(("source", "expected"), SAID.items())
def test_what_a_person_reads(source: str, expected: str) -> None:
    assert shown(source) == expected


PAGE = (ROOT / "docs/templates.md").read_text()
ROWS = re.findall(r"^\| `(.*)` \| `(.*)` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("source", "expected"), ROWS)
def test_the_page_about_templates_tells_the_truth(source: str, expected: str) -> None:
    assert shown(source.replace("\\|", "|")) == expected


def test_the_page_about_templates_is_complete() -> None:
    assert len(ROWS) == PAGE.count("\n| `")
    said = {word for part in re.findall(r"`([^`]*)`", PAGE) for word in part.split()}
    assert set(FILTERS) <= said
    assert {name for name in TESTS if name.isalpha()} - set(COMPARISONS) <= said
    for limit in (MOST_NODES, MOST_STEPS, MOST_CHARS, LONGEST_TEXT, LONGEST_RANGE):
        assert f"{limit:,}" in PAGE


COMPARISONS = ("eq", "equalto", "ne", "gt", "greaterthan", "ge", "lt", "lessthan", "le")


ESCAPED = {
    "{{ '<b>' }}": "&lt;b&gt;",
    "{{ attributes.list|join('<br>') }}": "b&lt;br&gt;a&lt;br&gt;c",
    "{{ '<' ~ '>' }}{{ '<' + '>' }}": "&lt;&gt;&lt;&gt;",
    "{% set b %}<b>{{ '<' }}</b>{% endset %}{{ b }}": "<b>&lt;</b>",
    "{% set b %}<b>{% endset %}{{ b ~ '<' }}{{ '<' ~ b }}{{ [b, '<']|join }}": "<b>&lt;&lt;<b><b>&lt;",
    "{% set b %}<b>{% endset %}{{ b + '<' }}{{ [b, '<'] }}{{ b|upper }}": "<b>&lt;<b>, &lt;<B>",
    "{% set b %}<b>{% endset %}{{ b|replace('b', '<') }}": "<&lt;>",
    "{{ 'a'|replace('a', '<') }}{{ '<'|e }}{{ '<'|e|e }}": "&lt;&lt;&lt;",
    "{% set b %}<i>{% endset %}{{ b|reverse }}|{{ b|first }}": "&gt;i&lt;|<",
    "{% set b %}<b>x</b>{% endset %}{{ b|striptags }}{{ '&lt;'|striptags }}": "x&lt;",
    "{% macro m(x) %}<i>{{ x }}</i>{% endmacro %}{{ m('<') }}": "<i>&lt;</i>",
    "{% macro m() %}<p>{{ caller() }}</p>{% endmacro %}{% call m() %}{{ '<' }}{% endcall %}": "<p>&lt;</p>",
    "{% filter upper %}<b>{{ '<' }}{% endfilter %}": "<B>&LT;",
    "<a href='{{ unsubscribe_url }}'>": "<a href='https://example.com/u?a=1&amp;b=2'>",
    "{{ '\"' }}{{ \"'\" }}{{ '&amp;' }}": "&#34;&#39;&amp;amp;",
}


@pytest.mark.parametrize(("source", "expected"), ESCAPED.items())
def test_html_is_escaped_once(source: str, expected: str) -> None:
    assert shown(source, part="html") == expected


@pytest.mark.parametrize("part", ["text", "subject"])
def test_text_and_subject_are_not_escaped(part: str) -> None:
    person = ANN._replace(first_name="Zoë & <b>")
    assert shown("Hi {{ first_name }}", person, part=part) == "Hi Zoë & <b>"


@pytest.mark.parametrize("value", [None, ""])
def test_a_person_without_a_name_has_none(value: str | None) -> None:
    person = ANN._replace(first_name=value, last_name=value)
    for name in ("first_name", "last_name"):
        assert shown(f"[{{{{ {name} }}}}][{{{{ {name}|d('you') }}}}]", person) == "[][you]"


SUBJECTS = {
    "Hello": "Hello",
    " Hello\r\n  world\t! ": "Hello   world !",
    "Hi {{ first_name }}!": "Hi Ann!",
    "{{ 'a\\r\\nBcc: b@example.com' }}": "a Bcc: b@example.com",
    "a\n{{ '\\n' }}\nb": "a b",
    "{{ 'a\\u2028b\\u0085c' }}{{ '\\t' }}d": "a b c d",
    "{{ attributes.nothing }}": NO_SUBJECT,
    " {{ '\\n' }} ": NO_SUBJECT,
    "{% if last_name %}Hi{% endif %}": NO_SUBJECT,
    "{{ '\"q\" · 😀' }}": '"q" · 😀',
    "{% for i in range(1000) %}xx{% endfor %}": "x" * LONGEST_SUBJECT,
    "{% set a = 1 %}Hi": "Hi",
}


@pytest.mark.parametrize(("source", "expected"), SUBJECTS.items())
def test_a_subject_is_one_line(source: str, expected: str) -> None:
    assert shown(source, part="subject") == expected


@pytest.mark.parametrize("subject", ["", " ", "\r\n", "{# nothing #}"])
def test_a_subject_that_is_empty_for_all_is_an_error(subject: str) -> None:
    with pytest.raises(TemplateError, match="is empty") as raised:
        Template(subject=subject, html=None, text="x", campaign=CAMPAIGN)
    assert raised.value.field == "subject"


# what may not be said

REFUSED = {
    "\n\n{% if %}": "line 3: Expected an expression",
    "{{ email": "line 1: unexpected end of template",
    "{% for x in tags %}": "line 1: Unexpected end of template",
    "\n{{ firstname }}": "line 2: 'firstname' is not known; did you mean first_name? Known are"
    " campaign, email, first_name, last_name, tags, unsubscribe_url, and what else you know of"
    " a person as attributes.firstname",
    "{{ x }}": "line 1: 'x' is not known; Known are",
    "{% for t in tags %}{% set a = t %}{% endfor %}\n{{ a }}": "line 2: 'a' is known only inside",
    "{% for t in tags %}{% if t %}{% set a = t %}{% endif %}{% endfor %}{{ a }}": "line 1: 'a' is"
    " known only inside the loop or block that sets it",
    "{{ loop.index }}": "line 1: 'loop' is known inside a loop only",
    "{{ caller() }}": "line 1: 'caller' is known inside a macro only",
    "{{ self }}": "line 1: 'self' has another meaning in Jinja; use another name",
    "{% macro m() %}{{ varargs }}{% endmacro %}": "line 1: 'varargs' has another meaning",
    "{% set loop = 1 %}": "line 1: 'loop' has another meaning",
    "{% macro range() %}{% endmacro %}": "line 1: 'range' has another meaning",
    "a\n{{ first_name|safe }}": "line 2: the filter 'safe' is not part of the language: values"
    " are escaped, so that nobody's name can write HTML into the mail; HTML is written in the"
    " template itself",
    "\n{% autoescape false %}{{ email }}{% endautoescape %}": "line 2: {% autoescape %} is not"
    " part of the language: values are escaped",
    "{{ '%s'|format(email) }}": "the filter 'format' is not part of the language: put texts"
    " together with ~",
    "{{ email|uper }}": "the filter 'uper' is not part of the language; did you mean 'upper'?",
    "{{ email is callable }}": "the test 'callable' is not part of the language",
    "{{ email|upper(1) }}": "the filter 'upper': too many positional arguments",
    "{{ email|truncate(lenght=1) }}": "the filter 'truncate': got an unexpected keyword",
    "{{ email|replace('a') }}": "the filter 'replace': missing a required argument: 'new'",
    "{{ email|truncate(2) }}": "line 1: the filter 'truncate' cannot be used so: 2 characters",
    "{{ email|truncate('x') }}": "line 1: the filter 'truncate' cannot be used so: ",
    "{% include 'a' %}": "{% include %} is not part of the language: a template is one text",
    "{% extends 'a' %}": "{% extends %} is not part of the language: a template is one text",
    "{% import 'a' as b %}": "{% import %} is not part of the language: a template is one text",
    "{% from 'a' import b %}": "{% from %} is not part of the language: a template is one text",
    "{% block a %}{% endblock %}": "{% block %} is not part of the language: a template is one",
    "{% do email %}": "line 1: Encountered unknown tag 'do'",
    "{% for x in tags %}{% break %}{% endfor %}": "line 1: Encountered unknown tag 'break'",
    "{% for x in tags recursive %}{% endfor %}": "recursive loops are not part of the language",
    "{{ email.upper() }}": "only macros and range() can be called; for upper case and the like"
    " there are filters: {{ first_name|upper }}",
    "{{ namespace(x=1) }}": "only macros and range() can be called",
    "{% set tags.x = 1 %}": "{% set %} sets one name at a time",
    "{% set tags.x %}a{% endset %}": "{% set x.y %} is not part of the language",
    "{% set a, b = tags %}": "{% set %} sets one name at a time",
    "{% for a, (b, c) in tags %}{% endfor %}": "a loop has names separated by commas",
    "{{ range }}": "'range' is called: {{ range(…) }}",
    "{% macro m() %}{% endmacro %}{{ m }}": "'m' is called: {{ m(…) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}": "the macro 'm' takes a, each once",
    "{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}": "the macro 'm' takes a, each once",
    "{% macro m() %}{% endmacro %}{{ m(b=1) }}": "the macro 'm' takes nothing, each once",
    "{% macro m() %}{% endmacro %}{% macro m() %}{% endmacro %}": "there are two macros 'm'",
    "{% macro m() %}{% endmacro %}{% call m() %}x{% endcall %}": "{% call %} is for macros that",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}": "line 1: calls what is no macro",
    "{{ range(*tags) }}": "* and ** are not part of the language",
    "{{ email|join(*tags) }}": "* and ** are not part of the language",
    "{{ range() }}": "range() takes one to three numbers",
    "{{ {email: 1} }}": "the keys in { } are texts",
    "{{ attributes._x }}": "a name may not begin with '_': '_x'",
    "{{ attributes['__class__'] }}": "a name may not begin with '_': '__class__'",
    "{{ _budget }}": "a name may not begin with '_': '_budget'",
    "{{ email|_concat }}": "the filter '_concat' is not part of the language",
    # the author's mistakes that only a rendering shows
    "{{ 'a' * 3 }}": "line 1: '*' is for numbers; texts are put together with ~",
    "\n{{ 'a' % 3 }}": "line 2: '%' is for numbers",
    "{{ 1 / 0 }}": "line 1: '/' cannot be done with these numbers",
    "{% for x in 5 %}{% endfor %}": "line 1: a loop is over a list",
    "{{ 5|items }}": "line 1: the filter 'items' cannot be used so: it is of another kind",
    "{{ 'x'|abs }}": "line 1: the filter 'abs' cannot be used so: it is no number",
    "{{ 5[1:2] }}": "line 1: only a list or a text can be cut",
}


@pytest.mark.parametrize(("source", "why"), REFUSED.items())
@pytest.mark.parametrize("field", ["html", "text", "subject"])
def test_what_is_refused_names_its_field_and_line_and_what_to_do(
    source: str, why: str, field: str
) -> None:
    with pytest.raises(TemplateError) as raised:
        shown(source, part=field)
    assert why in str(raised.value)
    assert raised.value.field == field


def test_the_first_line_that_is_wrong_is_told() -> None:
    with pytest.raises(TemplateError, match=r"line 2: .*'one'"):
        shown("\n{{ email|one }}\n{{ email|two }}\n{{ email|three }}")


# how it is cut


def cut(source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    template = Template(subject="x", html=None, text=source, campaign=CAMPAIGN)
    assert template.text is not None
    return template.text.literals, template.slots(ANN).text


@pytest.mark.parametrize(
    ("source", "literals", "values"),
    [
        ("static", ("static",), ()),
        ("{# a #}b{# c #}d", ("bd",), ()),
        ("Hi {{ first_name }}!", ("Hi ", "!"), ("Ann",)),
        ("{{ first_name }}", ("", ""), ("Ann",)),
        ("{% if first_name %}a{{ email }}{% endif %}.", ("", "."), ("aann@example.net",)),
        ("{% set a = 1 %}x{{ a }}y{{ a }}", ("x", "y", ""), ("1", "1")),
        # what meets is one
        ("a{{ email }}{{ first_name }}b", ("a", "b"), ("ann@example.netAnn",)),
        ("a{{ 1 }}{% set b = 2 %}{{ b }}c", ("a", "c"), ("12",)),
        ("a{{ 1 -}}   {{- 2 }}c", ("a", "c"), ("12",)),
        ("{% macro m() %}x{% endmacro %}a{{ m() }}b", ("a", "b"), ("x",)),
        ("{% set a %}x{% endset %}a", ("a",), ()),
        ("a{{ attributes.nothing }}b", ("a", "b"), ("",)),
    ],
)
def test_a_template_is_cut_at_what_is_computed(
    source: str, literals: tuple[str, ...], values: tuple[str, ...]
) -> None:
    assert cut(source) == (literals, values)


def test_a_subject_is_static_or_one_slot() -> None:
    template = Template(subject="a {{ 1 }} b {{ 2 }}", html="a", text=None, campaign=CAMPAIGN)
    assert template.subject.literals == ("", "")
    assert template.slots(ANN).subject == ("a 1 b 2",)
    assert (template.html, template.text) == (Skeleton(("a",)), None)


# the cut changes nothing: Jinja says the same about the whole

PIECES = st.sampled_from(
    [
        "a",
        " ",
        "\n",
        "<p>",
        "</p>",
        "{ ",
        "}",
        "%",
        "-x-",
        "&amp;",
        "ü😀",
        "{# c #}",
        "{%- raw %}{{{% endraw %}",
    ]
)
WORDS = st.sampled_from(["'a'", "'<b>'", "' é\"x '", "email", "attributes.city"])
TEXTS = st.recursive(
    WORDS | st.sampled_from(["first_name", "last_name", "attributes.gone", "attributes['a key']"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["upper", "lower", "trim", "capitalize", "string"])).map(
            lambda made: f"({made[0]})|{made[1]}"
        ),
        inner.map(lambda text: f"({text})|replace('a', '<')"),
        inner.map(lambda text: f"({text})|default('you', true)"),
        inner.map(lambda text: f"({text})|truncate(5, true, '…')"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} ~ {pair[1]})"),
        st.tuples(inner, WORDS).map(lambda pair: f"({pair[0]} if {pair[1]} else 'no')"),
    ),
    max_leaves=4,
)
NUMBERS = st.sampled_from(
    [
        "0",
        "2.5",
        "attributes.points",
        "tags|length",
        "attributes.points + 1",
        "-(3 * 2) // 4",
        "7 % 4",
    ]
)
CONDITIONS = st.one_of(
    TEXTS,
    st.tuples(WORDS, st.sampled_from(["==", "!=", "<", "in"]), WORDS).map(" ".join),
    st.tuples(NUMBERS, st.sampled_from(["==", "<", ">="]), NUMBERS).map(" ".join),
    st.sampled_from(
        ["'vip' in tags", "not last_name", "attributes.gone is defined", "loop is defined"]
    ),
)
LISTS = st.sampled_from(
    ["tags", "attributes.list", "range(3)", "[1, '<']", "attributes.gone", "tags|sort"]
)


def blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{{% if {} %}}{}{{% else %}}{}{{% endif %}}".format, CONDITIONS, inner, inner),
        st.builds("{{%- if {} -%}}{}{{%- endif -%}}".format, CONDITIONS, inner),
        st.builds(
            "{{% for x in {} %}}{}{{{{ x }}}}{{% else %}}-{{% endfor %}}".format, LISTS, inner
        ),
        st.builds("{{% for x in {} %}}{{{{ loop.index }}}}{}{{% endfor %}}".format, LISTS, inner),
        st.builds("{{% set v = {} %}}{}{{{{ v }}}}".format, TEXTS, inner),
        st.builds("{{% set v %}}{}{{% endset %}}{{{{ v }}}}{{{{ v }}}}".format, inner),
        st.builds("{{% filter upper %}}{}{{% endfilter %}}".format, inner),
        st.builds("{{% with w = {} %}}{}{{{{ w }}}}{{% endwith %}}".format, TEXTS, inner),
        st.builds("{{{{ m({}) }}}}{}".format, TEXTS, inner),
        st.builds("{{% call b() %}}{}{{% endcall %}}".format, inner),
        st.tuples(inner, inner).map("".join),
    )


MACROS = (
    "{% macro m(x, y='-') %}<i>{{ x }}{{ y }}</i>{% endmacro %}"
    "{% macro b() %}[{{ caller() }}]{% endmacro %}"
)
TEMPLATES = st.recursive(
    st.one_of(
        PIECES,
        TEXTS.map(lambda text: f"{{{{ {text} }}}}"),
        TEXTS.map(lambda text: f"{{{{- {text} -}}}}"),
        NUMBERS.map(lambda number: f"{{{{ {number} }}}}"),
    ),
    blocks,
    max_leaves=12,
).map(lambda body: f"{MACROS}{body}".replace("loop is defined", "tags is defined"))
VALUES = st.text(st.sampled_from("ab <>&\"'{}%-\n\r\té😀א\u2028"), max_size=6)
PEOPLE = st.builds(
    Person,
    email=st.just("ann@example.net"),
    first_name=st.none() | VALUES.filter(bool),
    last_name=st.none() | VALUES.filter(bool),
    tags=st.lists(VALUES, max_size=3),
    attributes=st.fixed_dictionaries(
        {
            "points": st.integers(-5, 5),
            "city": VALUES.filter(bool),
            "a key": VALUES.filter(bool),
            "list": st.lists(VALUES | st.integers(0, 9), max_size=3),
        }
    ),
    unsubscribe_url=st.just("https://example.com/u"),
)


def ordinary(source: str, person: Person, *, escaped: bool) -> str:
    """By a Jinja that knows nothing of slots, sandboxes and budgets."""
    environment = jinja2.Environment(
        autoescape=escaped,
        undefined=jinja2.ChainableUndefined,
        finalize=text_of,
        keep_trailing_newline=True,
    )
    known: Mapping[str, Any] = {
        name: value
        for name in ("email", "first_name", "last_name", "attributes", "tags")
        if (value := getattr(person, name)) is not None
    }
    return environment.from_string(source).render(known)


def one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()[:LONGEST_SUBJECT]


@settings(deadline=None)
@given(source=TEMPLATES, person=PEOPLE)
def test_the_cut_changes_nothing(source: str, person: Person) -> None:
    template = Template(subject=f"s{source}", html=source, text=source, campaign=CAMPAIGN)
    slots = template.slots(person)
    assert template.html is not None
    assert template.text is not None
    assert template.html.fill(slots.html) == ordinary(source, person, escaped=True)
    whole = ordinary(source, person, escaped=False)
    assert template.text.fill(slots.text) == whole
    assert template.subject.fill(slots.subject) == one_line(f"s{whole}")
