"""Templates and data made to harm: each is a TemplateError within a second, or harmless."""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import ROOT
from utils.personalisation import Person, Template, TemplateError

PERSON = Person(
    email="ann@example.net",
    first_name="Ann",
    attributes={"a": 5, "b": "x", "list": [1, "2", [3], {"k": None}], "map": {"x": [1]}},
    tags=["t", "u"],
    unsubscribe_url="https://example.com/u",
)
SECOND = 1.0
"""Of CPU time, which is what is promised. The worst of these took a half on a busy machine."""


def grown(step: str, times: int, end: str) -> str:
    return "{% set a = ['x'] %}{% set b = ['x'] %}" + step * times + end


def nested(opening: str, inside: str, closing: str, times: int) -> str:
    return opening * times + inside + closing * times


TEN, TEN_B = "[a,a,a,a,a,a,a,a,a,a]", "[b,b,b,b,b,b,b,b,b,b]"
LOOPS = "{% for i in range(1000) %}{% for j in range(300) %}"
ENDS = "{% endfor %}{% endfor %}"
LONG = "{% set s %}" + "{% for i in range(1000) %}" + "<!--a" * 35 + "{% endfor %}{% endset %}"

REFUSED: dict[str, str] = {
    # reaching Python
    "class": "{{ email.__class__.__mro__ }}",
    "class by item": "{{ email['__class__'] }}",
    "globals of a macro": "{% macro m() %}{% endmacro %}{{ m.__globals__ }}",
    "self": "{{ self.__init__ }}",
    "attr": "{{ email|attr('__class__') }}",
    "map": "{{ [email]|map('upper')|list }}",
    "call": "{{ email.format(1) }}",
    "call of an item": "{{ attributes['f']() }}",
    "call of a call": "{{ range(1)() }}",
    "call of an argument": "{% macro m(f) %}{{ f() }}{% endmacro %}{{ m(email) }}",
    "lipsum": "{{ lipsum(10**9) }}",
    "cycler": "{{ cycler(1) }}",
    "dict": "{{ dict(a=1) }}",
    "namespace": "{% set n = namespace(a=1) %}{{ n.a }}",
    "joiner": "{{ joiner() }}",
    "context": "{{ context }}",
    "environment": "{{ environment }}",
    "debug": "{% debug %}",
    "super": "{% block a %}{{ super() }}{% endblock %}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
    "extends": "{% extends email %}",
    "autoescape": "{% autoescape false %}{{ email }}{% endautoescape %}",
    "safe": "{{ email|safe }}",
    "our own filters": "{{ email|_concat('x') }}",
    "format": "{{ '%999999999d'|format(1) }}",
    "format by operator": "{{ '%999999999d' % 1 }}",
    "xmlattr": "{{ {'a': 1}|xmlattr }}",
    "pprint": "{{ attributes|pprint }}",
    "loop outside": "{{ loop.index }}",
    "caller outside": "{{ caller() }}",
    # long texts
    "times": "{{ 'a' * 10**9 }}",
    "times of a list": "{{ [1] * 10**9 }}",
    "doubling by ~": "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a ~ a %}" * 40,
    "doubling by +": "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a + a %}" * 40,
    "doubling by set": "{% set a %}aaaaaaaaaa{% endset %}"
    + "{% set a %}{{ a }}{{ a }}{% endset %}" * 40,
    "doubling by replace": "{% set a = 'aa' %}" + "{% set a = a|replace('a', a) %}" * 40,
    "doubling by join": "{% set a = 'aa' %}" + "{% set a = [a, a]|join(a) %}" * 40,
    "doubling by filter": "{% set a = 'aa' %}"
    + "{% set a %}{% filter replace('a', a) %}{{ a }}{% endfilter %}{% endset %}" * 40,
    "doubling by macro": "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set a = 'aa' %}"
    + "{% set a = m(a) %}" * 40,
    "doubling by truncate": "{% set a = 'aa' %}"
    + "{% set a = a|truncate(a|length, true, a, 0) ~ a %}" * 40,
    "long text in loops": LOOPS + "a" * 1000 + ENDS,
    "long lists written": LOOPS + "{{ range(1000) }}" + ENDS,
    "center": "{{ 'a'|center(10**9) }}",
    "indent": "{{ 'a'|indent(10**9) }}",
    # large numbers
    "power": "{{ 10**64**64 }}",
    "power of power": "{{ ((10**15)**64)**64 }}",
    "complex": "{{ (0 - 8)**0.5 }}",
    "long number": "{{ 0x" + "f" * 100_000 + " }}",
    "long decimal number": "{{ " + "9" * 5_000 + " }}",
    "long float": "{{ 1e999 }}",
    "underscores": "{{ " + "1_" * 5_000 + "1 }}",
    "round": "{{ 1|round(-1000000000) }}",
    "round up": "{{ 1|round(1000000000, 'ceil') }}",
    "range": "{% for i in range(10**9) %}{% endfor %}",
    "range of ranges": "{% for i in range(-10**15, 10**15) %}{% endfor %}",
    "multiplying": "{% set n = 9 %}" + "{% set n = n * n %}" * 60,
    # lists
    "lists of lists": grown(f"{{% set a = {TEN} %}}", 12, "{{ a }}"),
    "lists of lists joined": grown(f"{{% set a = {TEN} %}}", 12, "{{ a|join }}"),
    "lists of lists compared": grown(
        f"{{% set a = {TEN} %}}{{% set b = {TEN_B} %}}", 12, "{{ 1 if a == b }}"
    ),
    "lists of lists sorted": grown(f"{{% set a = {TEN} %}}", 12, "{{ a|sort|length }}"),
    "mappings of mappings": grown("{% set a = {'a': a, 'b': a, 'c': a, 'd': a} %}", 30, "{{ a }}"),
    "tuples of tuples": grown("{% set a = (a, a, a, a) %}", 30, "{{ a }}"),
    "lists through macros": "{% macro m(x, n) %}{{ m([x,x,x,x], n - 1) if n else x }}{% endmacro %}"
    "{{ m([1], 30) }}",
    "sum of lists": grown(f"{{% set a = {TEN}|sum(start=[]) %}}", 12, "{{ a|length }}"),
    "varargs": "{% macro m() %}{{ m(varargs, varargs) }}{% endmacro %}{{ m(1) }}",
    "kwargs": "{% macro m() %}{{ m(a=kwargs, b=kwargs) }}{% endmacro %}{{ m(a=1) }}",
    # long work
    "loops": "{% for i in range(1000) %}" * 4 + "{% endfor %}" * 4,
    "loops that pick nothing": LOOPS + "{% for k in range(1000) if false %}{% endfor %}" + ENDS,
    "loops of much": LOOPS + "{{ email.x }}" * 1_000 + ENDS,
    "loops in lists": LOOPS + "{% set x = range(1000)|list %}" + ENDS,
    "loops with sort": LOOPS + "{% set x = range(1000)|sort|reverse %}" + ENDS,
    "loops with conditions": LOOPS + "{% if 1 in range(1000)|list %}{% endif %}" + ENDS,
    "recursive loop": "{% for i in tags recursive %}{{ loop(tags) }}{% endfor %}",
    "macro of itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "macros of one another": "{% macro a() %}{{ b() }}{% endmacro %}"
    "{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
    "macros that double": "{% macro m0() %}x{% endmacro %}"
    + "".join(
        f"{{% macro m{n}() %}}{{{{ m{n - 1}() }}}}{{{{ m{n - 1}() }}}}{{% endmacro %}}"
        for n in range(1, 40)
    )
    + "{{ m39() }}",
    "callers that double": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + nested("{% call m() %}", "x", "{% endcall %}", 18),
    "macro with a long default": "{% macro m(a="
    + "+".join(["1"] * 90)
    + ") %}{% endmacro %}"
    + LOOPS
    + "{{ m() }}"
    + ENDS,
    "long names in sum": "{{ range(1000)|sum(attribute='" + "a." * 50_000 + "') }}",
    "trim of much": LONG + "{{ s|trim(s) }}",
    "tags stripped": LONG + "{% for i in range(1000) %}{% set x = s|striptags %}{% endfor %}",
    "words counted": LONG + "{% for i in range(1000) %}{% set x = s|wordcount %}{% endfor %}",
    "text searched": LONG + "{% for i in range(1000) %}{% set x = s in s %}{% endfor %}",
    # long and deep templates
    "many parts": "{{ email|upper }}" * 6_000,
    "many tags": "{{ email }}" * 45_000,
    "many comments": "{##}" * 120_000,
    "many statements": "{% set a = 1 %}" * 30_000,
    "one long list": "{{ [" + "1," * 200_000 + "] }}",
    "one long sum": "{{ " + "1+" * 200_000 + "1 }}",
    "one long ~": "{{ " + "'a'~" * 100_000 + "1 }}",
    "one long or": "{{ " + "email or " * 50_000 + "1 }}",
    "one long name": "{{ email" + ".a" * 200_000 + " }}",
    "many filters": "{{ email" + "|upper" * 50_000 + " }}",
    "many macros": "{% macro m() %}{% endmacro %}" * 9_000,
    "brackets": nested("{{ ", "1", " }}", 1).replace("1", "(" * 100_000 + "1" + ")" * 100_000),
    "lists in lists": "{{ " + "[" * 100_000 + "]" * 100_000 + " }}",
    "not not not": "{{ " + "not " * 100_000 + "1 }}",
    "minus minus": "{{ " + "-" * 100_000 + "1 }}",
    "else if": "{{ " + "1 if 1 else " * 30_000 + "1 }}",
    "ifs": nested("{% if email %}", "x", "{% endif %}", 5_000),
    "fors": nested("{% for i in tags %}", "x", "{% endfor %}", 30),
    "macros in macros": nested("{% macro m() %}", "x", "{% endmacro %}", 200),
    "sets in sets": nested("{% set a %}", "x", "{% endset %}", 200),
    "open comment": "{#" * 200_000,
    "open raw": "{% raw %}" * 50_000,
    "open tags": "{%" * 200_000,
    "open text": "{{ '" + "\\'" * 200_000,
    "blanks": "{%" + " " * 400_000,
    # what no mail can hold
    "NUL": "a\0b",
    "NUL in a text": "{{ '\\0' }}",
    "braces in a style": "<style>" + "{" * 100_000 + "</style>",
    "half a character": "a\ud800b",
    "half a character in a text": "{{ '\\ud800' }}",
    "half a character in a branch": "{% if last_name %}{{ '\\udc00' }}{% endif %}",
}


@contextmanager
def within_a_second() -> Iterator[None]:
    """Of this thread's own time, so that a busy machine fails nobody, and without the garbage of
    all the tests before."""
    gc.disable()
    begun = time.thread_time()
    try:
        yield
        assert time.thread_time() - begun < SECOND
    finally:
        gc.enable()


def template(source: str, field: str = "html") -> Template:
    parts = {"html": None, "text": None} | {field: source}
    return Template(subject="Hello", html=parts["html"], text=parts["text"], campaign={"id": 1})


@pytest.mark.parametrize("field", ["html", "text"])
@pytest.mark.parametrize("name", REFUSED)
def test_an_attack_is_refused_within_a_second(name: str, field: str) -> None:
    with within_a_second(), pytest.raises(TemplateError) as raised:
        template(REFUSED[name], field)
    assert raised.value.field == field
    assert str(raised.value)


@pytest.mark.parametrize(
    "source",
    [
        "{{ email|upper }} " * 1_200,
        "{% if email %}x{% endif %}" * 1_000,
        "{% for i in tags %}{{ i }}{% endfor %}" * 700,
        "{% set a = 1 %}" * 1_600,
        "{{ [" + "1," * 4_000 + "] }}",
        nested("{% if email %}", "x", "{% endif %}", 90),
        nested("{% for i in tags %}", "x", "{% endfor %}", 10),
        "x" * 500_000,
    ],
    ids=["filters", "ifs", "fors", "sets", "list", "deep ifs", "deep fors", "text"],
)
def test_the_largest_that_is_taken_is_taken_within_a_second(source: str) -> None:
    with within_a_second():
        template(source)


@pytest.mark.parametrize("name", ["times", "loops", "macro of itself", "lists of lists", "range"])
def test_an_attack_in_a_branch_is_stopped_when_it_is_reached(name: str) -> None:
    made = template("{% if first_name %}" + REFUSED[name] + "{% endif %}")
    with within_a_second():
        try:
            made.slots(PERSON)
        except TemplateError:
            return
    assert name == "times"  # with a person's data it is nothing, see test_personalisation


ALL = """
import json, resource, sys
from tests.test_template_attacks import REFUSED, template
from utils.personalisation import TemplateError
resource.setrlimit(resource.RLIMIT_AS, (600_000_000, 600_000_000))
told = {}
for name, source in REFUSED.items():
    print(name, file=sys.stderr, flush=True)
    try:
        template(source)
        told[name] = "taken"
    except TemplateError:
        told[name] = "refused"
    except MemoryError:
        told[name] = "MemoryError"
# Not ru_maxrss: that of a forked process begins with its parent's.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([told, int(status["VmHWM"].split()[0])]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_no_attack_takes_more_memory_than_a_mail_may() -> None:
    run = subprocess.run(
        [sys.executable, "-c", ALL], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr.splitlines()[-5:]
    told, kilobytes = json.loads(run.stdout)
    assert {name for name, outcome in told.items() if outcome != "refused"} == set()
    assert kilobytes < 300_000


HARMLESS = {
    "{{ loop }}": None,
    "{% for i in tags %}{{ loop }}{{ loop.cycle }}{{ loop['__cla' ~ 'ss__'] }}{% endfor %}": "",
    "{% for i in tags %}{{ loop['_itera' ~ 'tor'] }}{{ loop.depth }}{% endfor %}": "",
    "{{ email['__cla' ~ 'ss__'] }}{{ attributes['__cla' ~ 'ss__'] }}": "",
    "{{ attributes|sort(attribute='__class__') }}": "a, b, list, map",
    "{{ [attributes]|join(attribute='__class__') }}": "",
    "{{ attributes.keys }}{{ attributes.get }}{{ email.format }}{{ tags.append }}": "",
    "{{ email[99] }}{{ email['x'] }}{{ tags[email] }}{{ attributes[tags] }}": "",
    "{{ email[::0] }}{{ email['a':] }}": "",
}


@pytest.mark.parametrize(("source", "expected"), HARMLESS.items())
def test_what_looks_like_an_attack_says_nothing(source: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(TemplateError):
            template(source)
        return
    made = template("{% if first_name %}" + source + "{% endif %}")
    assert made.slots(PERSON).html == (expected,)


# people as attackers


def deep(levels: int, make: Callable[[Any], Any]) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = make(value)
    return value


EVERYTHING = template(
    "{{ attributes.x }}{% for i in attributes.x %}{{ i }}{{ loop.index }}{% endfor %}"
    "{{ attributes.x|join(', ') }}{{ attributes.x|sort }}{{ attributes.x|upper }}"
    "{{ attributes.x|unique|first }}{{ attributes.x ~ attributes.x }}{{ attributes.x|urlencode }}"
    "{{ 1 if attributes.x == attributes.x }}{{ 1 if attributes.x < attributes.x }}"
    "{{ attributes.x|max }}{{ attributes.x|striptags|wordcount }}{{ attributes.x + attributes.x }}"
    "{{ attributes.x|dictsort }}{{ attributes.x|int }}{{ attributes.x|round }}{{ attributes.x * 2 }}"
    "{{ range(attributes.x) }}{{ attributes.x[0] }}{{ attributes.x[1:] }}"
    "{% for a, b in attributes.x %}{{ a }}{{ b }}{% endfor %}{{ attributes.x is even }}"
)
DATA: dict[str, Any] = {
    "a long list": list(range(10_000)),
    "a long list of texts": ["ab"] * 8_000,
    "a long text": "a" * 32_000,
    "a long text to escape": "&" * 32_000,
    "emoji": "😀" * 8_000,
    "open comments": "<!--" * 8_000,
    "digits": "9" * 32_000,
    "a large number": 10**300,
    "a small number": -(10**300),
    "a float": 1e308,
    "a mapping": {str(n): n for n in range(3_000)},
    "lists of lists": [[n, [n, [n]]] for n in range(2_000)],
    "some of everything": [1, "a", None, True, 2.5, [], {}, {"a": [1]}, "1"],
    "nothing": None,
    "blanks": " " * 32_000,
}


@pytest.mark.parametrize("name", DATA)
def test_a_person_s_data_cost_little(name: str) -> None:
    person = PERSON._replace(attributes={"x": DATA[name]})
    with within_a_second():
        try:
            EVERYTHING.slots(person)
        except TemplateError as error:
            assert "more than" in str(error) or "beyond" in str(error)  # noqa: PT017 - or none


UNSENDABLE = {
    "deep lists": deep(20_000, lambda value: [value]),
    "deep mappings": deep(20_000, lambda value: {"a": value}),
    "NUL": "a\0b",
    "as many NULs as there are marks": "\0\0\0",
    "half a character": "a\ud800b",
}


@pytest.mark.parametrize("name", UNSENDABLE)
@pytest.mark.parametrize(
    "source", ["{{ attributes.x }}", "a{{ attributes.x }}b{{ email }}", "{{ attributes.x|join }}"]
)
def test_what_no_mail_can_hold_is_an_error(name: str, source: str) -> None:
    person = PERSON._replace(attributes={"x": UNSENDABLE[name]})
    with within_a_second(), pytest.raises(TemplateError):
        template(source).slots(person)


INERT = [
    "{{ email }}",
    "{% raw %}",
    "{# c #}",
    "-name-",
    "%name%",
    "{{{x}}}",
    "}}",
    "\\",
    "$1",
    "%s",
]


@pytest.mark.parametrize("text", [*INERT, "<script>alert(1)</script>", "&lt;b&gt;", "\x01\x7f"])
def test_a_person_s_data_are_text(text: str) -> None:
    person = PERSON._replace(first_name=text, attributes={text: text, "x": [text]})
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for source in ("{{ first_name }}", "{{ attributes.x }}", "{{ first_name|e }}"):
        assert template(source).slots(person).html == (escaped,)
        assert template(source.replace("|e", ""), "text").slots(person).text == (text,)


# whatever is written

WORDS = r"""{{ }} {% %} {%- -%} if else elif endif for x, y in endfor set endset macro endmacro call
endcall filter endfilter with endwith raw endraw m( m() x email first_name attributes tags loop
caller() range( self loop.index loop.changed(x) loop.cycle(x) .x ['b'] [1:] 1 2.5 'a' "b" none true
[ ] ( ) { } , : . | ~ + - * / // % ** == < in not is and or |upper |join(',') |default(x) |sort
|length |round |sum |items |safe |unique |replace('a',x) |int |list is defined is odd include
extends block autoescape = {# #} <b> text __class__ \n 0x1f 1e5 \0"""
SOURCES = st.lists(st.sampled_from([*WORDS.split(), "\n", "\ud800"]), max_size=16).map(" ".join)


@settings(deadline=None, max_examples=300)
@given(source=SOURCES)
def test_whatever_is_written_is_a_template_or_a_template_error(source: str) -> None:
    for field in ("html", "text"):
        try:
            made = template(source, field)
        except TemplateError:
            continue
        made.slots(PERSON)
