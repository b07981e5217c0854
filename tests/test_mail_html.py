"""A template made ready for mail: nothing of its author's is lost, and nothing breaks us."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.test_template_attacks import within_a_second
from utils.css_inlining import inline_css
from utils.html_text import to_text
from utils.mail_html import NO_TRACK, has_link, prepare
from utils.personalisation import Person, Template, TemplateError

ADDRESS = "Orchard Farm, 2 Hill Road"
LINK = '<a href="{{ unsubscribe_url }}">leave</a>'
OURS = f'<a {" ".join(NO_TRACK)} href="{{{{ unsubscribe_url }}}}">leave</a>'
FOOT = '<p style="font-size:12px;color:#666666">'
STYLE = "<style>td{color:red}p,.x{margin:0}@media (x){td{color:blue}}</style>"
ANN = Person(
    email="ann@example.net",
    first_name="Ann",
    attributes={"a": 1, "url": "https://example.com/?a=1&b=2", "css": "color:green"},
    tags=["t", "<u>"],
    unsubscribe_url="https://example.com/leave",
)
NOBODY = ANN._replace(first_name=None, attributes={}, tags=[])


def filled(html: str, person: Person) -> str:
    template = Template(subject="s", html=html, text=None, campaign={})
    assert template.html is not None
    return template.html.fill(template.slots(person).html)


def html_of(html: str) -> str:
    """The HTML part as sent, of a template that has its own foot."""
    made, _ = prepare(html + LINK + ADDRESS, None, address=ADDRESS)
    assert made is not None
    assert made.count(OURS) == 1
    return made.replace(OURS, "").replace(ADDRESS, "")


# styles

PLACES = {
    "between rows": "<table>{% for i in tags %}<tr><td>{{ i }}</td></tr>{% endfor %}</table>",
    "between cells": "<table><tr>{% for i in tags %}<td>{{ i }}</td>{% endfor %}</tr></table>",
    "cells without a row": "<table>{% for i in tags %}<td>{{ i }}</td>{% endfor %}</table>",
    "text in a table": "<table>{% for i in tags %}text<tr><td>{{ i }}</td></tr>{% endfor %}</table>",
    "quotes and > in Jinja": "<p>{{ tags|join('>') }}{{ first_name|default(\"<'\") }}</p>",
    "a value": '<p title="{{ first_name|default("x") }}">1</p>',
    "part of a value": "<p><a href='https://e.com/{{ attributes.a }}?b={{ email|urlencode }}'>x</a></p>",
    "a value without quotes": "<p title={{ first_name|default('a') }} class=x>1</p>",
    "an attribute": '<p {% if attributes.a %}class="x"{% endif %}>1</p>',
    "an attribute or another": "<p {% if attributes.a %}id=a{% else %}title=b{% endif %} class=x>1</p>",
    "one attribute or another": '<p {% if attributes.a %}class="x"{% else %}class="y"{% endif %}>1</p>',
    "a condition round a class": '<p {% if attributes.a %} class="x" {% endif %} id="a">1</p>',
    "a condition round a style": '<p {% if attributes.a %} style="a:b" {% endif %} id="a">1</p>',
    "the name of an attribute": "<p data-{{ attributes.a }}='1'>1</p>",
    "the name of a tag": "<h{{ attributes.a }}>1</h{{ attributes.a }}><p>1</p>",
    "a comment": "<p>a<!-- {{ first_name }} > -->b</p>",
    "a comment of one word": "<!--{{ email }}--><p>1</p><!--{% if tags %}x{% endif %}-->",
    "Outlook only": "<!--[if mso]><table><tr><td>{{ first_name }}</td></tr></table><![endif]--><p>1</p>",
    "all but Outlook": "<!--[if !mso]><!--><table>{% for i in tags %}<tr><td>{{ i }}</td></tr>"
    "{% endfor %}</table><!--<![endif]--><p>1</p>",
    "an empty comment": "<!--><table>{% for i in tags %}<tr><td>{{ i }}</td></tr>{% endfor %}</table>",
    "the title": "<title>{{ first_name }} > 1</title><p>1</p>",
    "a list": "<ul>{% for i in tags %}<li>{{ i }}</li>{% endfor %}</ul><p>1</p>",
    "an end that is missing": "<ul>{% for i in tags %}<li>{{ i }}{% endfor %}</ul><p>1</p>",
    "two tags for one end": "<p>{% if attributes.a %}<b>{% else %}<b class=x>{% endif %}1</b></p>",
    "a condition for the end": "<div>{% if attributes.a %}</div><div>{% endif %}<p>1</p></div>",
    "a choice": "<select>{% for i in tags %}<option>{{ i }}</option>{% endfor %}</select><p>1</p>",
    "raw": "<p>{% raw %}{{ <b>x</b> }}{% endraw %}</p>",
    "comments of Jinja": "<table>{# <tr> #}<tr><td>1</td></tr>{# a #}</table>",
    "braces as entities": "<p title='&#123;&#123; a'>&#123;&#123; a }} &#123;% b %} {&#123; &#x7b;#</p>",
    "blocks set": "{% set b %}<p>{{ first_name }}</p>{% endset %}{{ b }}{{ b }}<p>1</p>",
    "macros": "{% macro m(a) %}<p>{{ a }}</p>{% endmacro %}{{ m(1) }}{{ m('<') }}",
    "a whole page": "{% set a = 1 %}<!doctype html><html lang=en><head><title>t</title></head>"
    "<body>{{ a }}<p>1</p></body></html>{# end #}",
    "an XHTML page": '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "x.dtd"><html>'
    '<head><link rel="stylesheet" href="https://fonts.example.com/a.css" /></head><body><p>{{ email }}<br />'
    "</p></body></html>",
    "a tbody": "<table><tbody><tr><td>{{ email }}</td></tr></tbody></table>",
    "capitals": "<TABLE>{% for i in tags %}<TR><TD CLASS=X>{{ i }}</TD></TR>{% endfor %}</TABLE>",
    "other names": "<v:rect xmlns:v='urn:x' fillcolor='{{ attributes.a }}'><p>1</p></v:rect>",
    "entities": "<p title='&quot;&eacute;'>&nbsp;&amp;&lt;&copy;&#x1F600; é {{ email }}</p>",
    "whitespace control": "<p>a {%- if attributes.a -%} b {%- endif %} c</p>",
    "a script": "<script>if (a < b && '</p>') { x({{ attributes.a }}) }</script><p>1</p>",
    "class last": "<p id='a' title='{{ email }}' class='x'>{{ email }}</p>",
    "a style of its own": "<p style='top:1px'>{{ email }}</p>",
    "a style by Jinja": "<p style='{{ attributes.css }}'>{{ email }}</p>",
    "a style with conditions": "<p style='a:b{% if attributes.a %};top:1px{% endif %}'>1</p><p>2</p>",
    "rules by Jinja": "<style>p{color:{{ attributes.a }}}</style><p>1</p><p>2</p>",
    "rules with conditions": "<style>{% if tags %}b{top:0}{% endif %}</style><p>1</p>",
}
LOST = {
    "ends that cross": "<p><b>{{ email }}<i>1</b>2</i></p>",
    "an end without a beginning": "<p>{{ email }}</p></p>",
    "a page in a page": "{% set b %}<html>{% endset %}{{ b }}<p>1</p>",
    "our placeholders": "<p>cxj0j {{ email }}</p>",
}


def styled(html: str) -> str:
    return html.replace("<head>", f"<head>{STYLE}") if "<head>" in html else STYLE + html


def bare(html: str) -> str:
    """Without the styles of elements, and without blanks."""
    pattern = r"""[\s/]style(?:=(?:"[^"]*"|'[^']*'))?(?=[\s/<>])"""
    return "".join(re.sub(pattern, " ", html).split())


@pytest.mark.parametrize("place", PLACES)
def test_styles_are_inlined_and_all_else_stays_as_it_was(place: str) -> None:
    html = styled(PLACES[place])
    made = inline_css(html)
    assert 'style="color: red' in made or 'style="margin: 0' in made
    assert bare(made) == bare(html)
    assert inline_css(made) == made
    for person in (ANN, NOBODY):
        assert bare(filled(made, person)) == bare(filled(html, person))


@pytest.mark.parametrize("place", LOST)
def test_styles_stay_where_they_are_where_the_inliner_reads_another_page(place: str) -> None:
    html = STYLE + LOST[place]
    assert inline_css(html) == html


@pytest.mark.parametrize("html", [*PLACES.values(), *LOST.values(), "<p>unclosed <b>", "x > y &"])
def test_without_styles_the_html_stays_byte_for_byte(html: str) -> None:
    if "<style" not in html and "cxj" not in html:
        assert inline_css(html) == html
        assert html_of(html) == html


@pytest.mark.parametrize(
    ("html", "inlined"),
    [
        ("<td>{{ i|join('>') }}</td>", "<td style=\"color: red\">{{ i|join('>') }}</td>"),
        ('<td title="{{ "x" }}">1</td>', '<td title="{{ "x" }}" style="color: red">1</td>'),
        ("<td class=big />", '<td class=big style="color: red;font: &#x27;A&#x27;" />'),
        ("<td style='top:0'>1</td>", '<td style="color: red;top: 0">1</td>'),
        ("<td style='{{ x }}'>1</td>", '<td style="color: red; {{ x }}">1</td>'),
        ("<td {% if x %}id=a{% endif %}>1</td>", '<td {% if x %}id=a{% endif %} style="color: red">1</td>'),
    ],
)  # fmt: skip
def test_where_styles_are_put(html: str, inlined: str) -> None:
    page = '<style>td{color:red}.big{font:"A"}@media (x){td{color:blue}}</style>'
    made = inline_css(f"{page}<table><tr>{html}</tr></table>")
    assert made == f"{page}<table><tr>{inlined}</tr></table>"


def test_no_file_of_ours_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("p{color:green}")
    for where in (f"{tmp_path}/a.css", f"file://{tmp_path}/a.css"):
        html = f'<style>@import "{where}";</style><link rel="stylesheet" href="{where}"><p>1</p>'
        assert inline_css(html) == html


# the text part


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>A</h1><p>b &amp; c</p>", "A\n\nb & c\n"),
        ("<p>x<br>y</p>", "x\ny\n"),
        ("<ul><li>a</li><li>b</li></ul>", "- a\n\n- b\n"),
        ("<a href='https://example.com/'>go</a>", "go (https://example.com/)\n"),
        ("<a href='https://example.com/'>https://example.com/</a>", "https://example.com/\n"),
        ("<a href='mailto:a@b.c'>a@b.c</a> <a href='#x'>top</a> <a>y</a>", "a@b.c top y\n"),
        ("<a href='https://e.com/'><img src=x alt='A picture'></a>", "A picture (https://e.com/)\n"),
        ("<a href='https://e.com/'><img src=x></a>", "https://e.com/\n"),
        ("<img src=x alt='A picture'>", "A picture\n"),
        ("<style>p{}</style><script>x</script><p>t</p>", "t\n"),
        ("<head><title>T</title></head><p>t</p>", "t\n"),
        ("<p>&euro; 5 &ndash;&nbsp;&lt;b&gt;\n  &#233;</p>", "€ 5 \u2013 <b> é\n"),
        ("<div style='DISPLAY : none'><div>pre</div>header</div><p>t</p>", "t\n"),
        ("<img style='display:none' alt=x><p>t</p>", "t\n"),
        (
            "<table>{% for i in tags %}<tr><td>{{ i }}</td><td>b</td></tr>{% endfor %}</table>",
            "{% for i in tags %}\n{{ i }} b\n{% endfor %}\n",
        ),
        ("<p>{{ a|replace('<', '>') }}</p>", "{{ a|replace('<', '>') }}\n"),
        ("<a href='{{ attributes.url }}'>{{ first_name }}</a>", "{{ first_name }} ({{ attributes.url }})\n"),
        ("<a href='{% if 1 %}a{% else %}b{% endif %}'>x</a>", "x ({% if 1 %}a{% else %}b{% endif %})\n"),
        # what holds the template together is kept
        ("<head>{% set a = 1 %}<title>{{ a }}</title></head>{{ a }}", "{% set a = 1 %}{{ a }}\n"),
        ("<!-- {% if tags %} --><p>x</p><!-- {% endif %} -->", "{% if tags %}\n\nx\n\n{% endif %}\n"),
        ("<style>{% set a = 1 %}</style>{{ a }}", "{% set a = 1 %}{{ a }}\n"),
        ("<p {% if tags %}class=x{% endif %} id={{ x }}>x</p>", "{% if tags %}{% endif %}\n\nx\n"),
        ("<p style='display:none'>{% if 1 %}a{% endif %}{{ b }}</p>x", "{% if 1 %}{% endif %}x\n"),
        ("<p>{% raw %}{{ x }}{% endraw %}</p>", "{% raw %}{{ x }}{% endraw %}\n"),
        ("<h{% if tags %}1{% endif %}>x</h1>", ""),
        ("<a href='#{% if tags %}1{% endif %}'>x</a>", ""),
        # and what is no Jinja in the HTML does not become it
        ("&#123;&#123; x }} {&#123;% y %}", '{{ "{" }}{ x }} {{ "{" }}{{ "{" }}% y %}\n'),
        ("<p>{<b>{{ email }}</b>}</p>", '{{ "{" }}{{ email }}}\n'),
    ],
)  # fmt: skip
def test_the_text_part_says_what_the_html_says(html: str, text: str) -> None:
    assert to_text(html) == text


# the foot


@pytest.mark.parametrize(
    ("template", "has"),
    [
        ("{{ unsubscribe_url }}", True),
        (LINK, True),
        ("{{ unsubscribe_url|e }} {{ 'x' }}", True),
        ("{{ 'Leave: ' ~ unsubscribe_url }}", True),
        ("{%if a%}{{ unsubscribe_url }}{%endif%}", False),
        ("{% if a %}x{% endif %}{{ unsubscribe_url }}", True),
        ("{% with a=1 %}x{% endwith %}{{ unsubscribe_url }}", True),
        ("{% set a = 1 %}{{ unsubscribe_url }}", True),
        ("{% set a|replace('=', '') %}x{% endset %}{{ unsubscribe_url }}", True),
        ("{% set a %}{{ unsubscribe_url }}{% endset %}", False),
        ("{% for i in tags %}{{ unsubscribe_url }}{% endfor %}", False),
        ("{% macro m() %}{{ unsubscribe_url }}{% endmacro %}", False),
        ("{% raw %}{{ unsubscribe_url }}{% endraw %}", False),
        ("{{ unsubscribe_url if tags }}", False),
        ("{{ tags and unsubscribe_url }}", False),
        ("{{ 'unsubscribe_url' }}{{ attributes.unsubscribe_url }}", False),
        ("{# unsubscribe_url #}", False),
        ("{# {{ unsubscribe_url }} #}", False),
        ("unsubscribe_url", False),
    ],
)
def test_a_link_counts_only_where_everybody_gets_it(template: str, has: bool) -> None:
    assert has_link(template) is has


@pytest.mark.parametrize(
    ("html", "foot"),
    [
        ("<p>x</p>", [ADDRESS, "Unsubscribe"]),
        (f"<p>x</p>{LINK}", [ADDRESS]),
        ("<p>x {{ unsubscribe_url }}</p>", [ADDRESS]),
        ("<p>Orchard&nbsp;Farm,<br>2 Hill Road</p>", ["Unsubscribe"]),
        ("<p>ORCHARD\n<b>farm</b> 2 Hill Road</p>", ["Unsubscribe"]),
        (f"<p>{ADDRESS}</p>{LINK}", []),
        # what not everybody sees
        (f"<!-- {ADDRESS} {LINK} -->", [ADDRESS, "Unsubscribe"]),
        (f"<!--[if mso]>{ADDRESS} {LINK}<![endif]-->", [ADDRESS, "Unsubscribe"]),
        (f"{{% if tags %}}{ADDRESS} {LINK}{{% endif %}}", [ADDRESS, "Unsubscribe"]),
        (f"<title>{ADDRESS} {{{{ unsubscribe_url }}}}</title>", [ADDRESS, "Unsubscribe"]),
        (f"<p title='{ADDRESS} {{{{ unsubscribe_url }}}}'>x</p>", [ADDRESS, "Unsubscribe"]),
        (f"{{# {ADDRESS} {LINK} #}}", [ADDRESS, "Unsubscribe"]),
    ],
)
def test_the_foot_has_what_the_template_has_not(html: str, foot: list[str]) -> None:
    made, text = prepare(f"<body>{html}</body>", None, address=ADDRESS)
    assert made is not None
    added = made.partition(FOOT)[2]
    assert [part for part in (ADDRESS, "Unsubscribe") if part in added] == foot
    assert made.endswith("</body>")
    template = Template(subject="s", html=made, text=text, campaign={})
    assert template.text is not None
    for shown in (filled(made, NOBODY), template.text.fill(template.slots(NOBODY).text)):
        assert NOBODY.unsubscribe_url in shown


@pytest.mark.parametrize(
    ("html", "place"),
    [
        ("<p>x</p>", "<p>x</p>@"),
        ("<body>x</BODY ></html>", "<body>x@</BODY ></html>"),
        ("<!-- </body> --><body>x</body>", "<!-- </body> --><body>x@</body>"),
        ("", "@"),
    ],
)
def test_the_foot_is_at_the_end_of_the_body(html: str, place: str) -> None:
    made, _ = prepare(html, "x", address=ADDRESS)
    assert made is not None
    before, after = place.split("@")
    assert made.startswith(before + FOOT)
    assert made.endswith(f"</p>\n{after}")


LEAVE = "Unsubscribe: {{ unsubscribe_url }}\n"


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Hi", f"Hi\n\n-- \n{ADDRESS}\n{LEAVE}"),
        ("Hi\n\n\n", f"Hi\n\n-- \n{ADDRESS}\n{LEAVE}"),
        (f"Hi {ADDRESS.upper()}", f"Hi {ADDRESS.upper()}\n\n-- \n{LEAVE}"),
        ("Hi {{ unsubscribe_url }}", f"Hi {{{{ unsubscribe_url }}}}\n\n-- \n{ADDRESS}\n"),
        (f"{{{{ unsubscribe_url }}}}\n{ADDRESS}", f"{{{{ unsubscribe_url }}}}\n{ADDRESS}"),
        ("{% if tags %}" + ADDRESS + "{% endif %}", "{% if tags %}" + ADDRESS + "{% endif %}\n\n-- \n" + ADDRESS + "\n" + LEAVE),
    ],
)  # fmt: skip
def test_the_foot_of_a_text(text: str, made: str) -> None:
    assert prepare(None, text, address=ADDRESS) == (None, made)
    assert prepare(None, made, address=ADDRESS) == (None, made)


@pytest.mark.parametrize(
    "address", ["C/O {{ x }}, {% y", "A & B <c>, 1 Road", "Line 1\nLine 2", "{# 1", "{% endraw"]
)
def test_an_address_is_no_template(address: str) -> None:
    made, text = prepare("<p>x</p>", None, address=address)
    assert made is not None
    template = Template(subject="s", html=made, text=text, campaign={})
    assert template.html is not None
    assert template.text is not None
    slots = template.slots(ANN)
    escaped = address.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert escaped.replace("\n", "<br>") in template.html.fill(slots.html)
    assert address in template.text.fill(slots.text)
    assert prepare(made, text, address=address) == (made, text)


# links that no ESP rewrites

UNTRACKED = " ".join(NO_TRACK)


@pytest.mark.parametrize(
    ("html", "marked"),
    [
        (LINK, OURS),
        ("<A HREF={{ unsubscribe_url }}>x</A>", f"<A {UNTRACKED} HREF={{{{ unsubscribe_url }}}}>x</A>"),
        ("<a href='https://example.com/'>x</a>", "<a href='https://example.com/'>x</a>"),
        ("<a href='{{ attributes.url }}'>x</a>", "<a href='{{ attributes.url }}'>x</a>"),
        ("<b>{{ unsubscribe_url }}</b>", "<b>{{ unsubscribe_url }}</b>"),
        ("<abbr title='{{ unsubscribe_url }}'>x</abbr>", "<abbr title='{{ unsubscribe_url }}'>x</abbr>"),
        (
            "<a clicktracking=off href='{{ unsubscribe_url }}'>x</a>",
            "<a ses:no-track data-pm-no-track clicktracking=off href='{{ unsubscribe_url }}'>x</a>",
        ),
        ("{% if tags %}" + LINK + "{% endif %}", "{% if tags %}" + OURS + "{% endif %}"),
        ("<a title='>' href='{{ unsubscribe_url }}'>", f"<a {UNTRACKED} title='>' href='{{{{ unsubscribe_url }}}}'>"),
    ],
)  # fmt: skip
def test_our_links_and_no_others_are_kept_from_tracking_once(html: str, marked: str) -> None:
    foot = f"<p>{ADDRESS} {{{{ unsubscribe_url }}}}</p>"
    made, text = prepare(html + foot, None, address=ADDRESS)
    assert made == marked + foot
    assert prepare(made, text, address=ADDRESS) == (made, text)


# all of it


@pytest.mark.parametrize("html", [*PLACES.values(), *LOST.values()])
@pytest.mark.parametrize("style", ["", STYLE, "<style>p{color:red !important;top:0}</style>"])
def test_what_is_ready_is_left_as_it_is(html: str, style: str) -> None:
    once = prepare(style + html, None, address=ADDRESS)
    assert prepare(*once, address=ADDRESS) == once


FRAGMENTS = [
    *("<p>", "</p>", "<table>", "<tr>", "<td class='x'>", "</td>", "</tr>", "</table>", "<b>"),
    *(
        "</b>",
        "text ",
        "<a href='{{ unsubscribe_url }}'>",
        "</a>",
        "<br/>",
        "<!--",
        "-->",
        "&#123;",
    ),
    *("{{ email }}", "{% if tags %}", "{% else %}", "{% endif %}", "{% for i in tags %}", "<"),
    *(
        "{% endfor %}",
        "{% set a = 1 %}",
        "{# c #}",
        "<p ",
        ">",
        "class=x ",
        "'",
        '"',
        " style='a:b'",
    ),
    *("<style>", STYLE, "</style>", "</body>", "<title>", "</title>", ADDRESS, "<html><body>", "}"),
]


@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(html=st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join))
def test_whatever_compiles_is_made_ready_and_stays_what_it_was(html: str) -> None:
    try:
        filled(html, ANN)
    except TemplateError:
        assume(False)
    made, text = prepare(html, None, address=ADDRESS)
    Template(subject="s", html=made, text=text, campaign={}).slots(ANN)
    inlined = inline_css(html)
    assert bare(filled(inlined, ANN)) == bare(filled(html, ANN))
    assert inline_css(inlined) == inlined


@pytest.mark.parametrize(
    "html",
    [
        "<style>p{}</style>" + "<div>" * 12_000,
        "<style>" + "".join(f"p{{a{n}:b}}" for n in range(1000)) + "</style>" + "<p>x</p>" * 3000,
        "<style>" + "".join(f".\\a{{a{n}:b}}" for n in range(1000)) + "</style>" + "<p class=a>x</p>" * 3000,
        "<style>p{a:b}</style><p style='" + "a:b;" * 30_000 + "'>x</p>",
        "<style>" + "/*" * 100_000 + "</style><p>x</p>",
        "<a " * 14_000,
        "<!--" * 10_000,
        "<" * 20_000,
        "<![ x",
        "<a href='" * 5_000,
        "<p>" + "x" * 500_000,
        "<p>x</p>" * 20_000 + "{{ email }}",
        "</p>" * 50_000,
        "{{ email }}<p " * 2_000,
    ],
    ids=lambda html: html[:20],
)  # fmt: skip
def test_html_that_ended_the_process_or_took_minutes_is_made_ready(html: str) -> None:
    with within_a_second():
        made, text = prepare(html, None, address=ADDRESS)
    assert made is not None
    assert ADDRESS in made
    assert ADDRESS in text
