"""A template made ready for mail: nothing of its author's is lost, and nothing breaks us."""

import pytest

from utils.mail_html import NO_TRACK, has_link, prepare, to_text

ADDRESS = "Orchard Farm, 2 Hill Road"
LINK = '<a href="{{ unsubscribe_url }}">leave</a>'
OURS = f'<a {NO_TRACK} href="{{{{ unsubscribe_url }}}}">leave</a>'


def html_of(html: str) -> str:
    """The HTML part as sent, of a template that has its own foot."""
    made, _ = prepare(html + LINK + ADDRESS, None, address=ADDRESS)
    assert made is not None
    assert made.count(OURS) == 1
    return made.replace(OURS, "").replace(ADDRESS, "")


@pytest.mark.parametrize(
    "html",
    [
        "<p>{{ first_name }}</p>",
        "<table>{% for i in tags %}<tr><td>{{ i }}</td></tr>{% endfor %}</table>",
        "<p title='{{ \"a'b\" }}' {% if tags %}class=x{% endif %}>x > y &amp; z</p>",
        "<!--[if mso]><p>{{ first_name }}</p><![endif]-->",
        "{% raw %}{{ x }}{% endraw %}{# a comment #}",
        "<p>unclosed <b>",
    ],
)
def test_without_styles_the_html_stays_byte_for_byte(html: str) -> None:
    assert html_of(html) == html


@pytest.mark.parametrize(
    ("html", "inlined"),
    [
        ("<td>{{ a }}</td>", '<td style="color: red;">{{ a }}</td>'),
        (
            "<tr>{% for i in tags %}<td>{{ i|join('>') }}</td>{% endfor %}</tr>",
            "<tr>{% for i in tags %}<td style=\"color: red;\">{{ i|join('>') }}</td>{% endfor %}</tr>",
        ),
        (
            '<td title="{{ a|default("x") }}">1</td>',
            '<td title="{{ a|default("x") }}" style="color: red;">1</td>',
        ),
    ],
)
def test_styles_are_inlined_and_jinja_stays_where_it_was(html: str, inlined: str) -> None:
    page = "<html><head><style>td{color:red}@media (x){td{color:blue}}</style></head><body>"
    made = html_of(f"{page}<table>{html}</table></body></html>")
    assert inlined in made
    assert "@media (x){td{color:blue}}" in made
    assert "tbody" not in made


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>A</h1><p>b &amp; c</p>", "A\n\nb & c\n"),
        ("<p>x<br>y</p>", "x\ny\n"),
        ("<ul><li>a</li><li>b</li></ul>", "- a\n\n- b\n"),
        ("<a href='https://example.com/'>go</a>", "go (https://example.com/)\n"),
        ("<a href='https://example.com/'>https://example.com/</a>", "https://example.com/\n"),
        ("<img src=x alt='A picture'>", "A picture\n"),
        ("<style>p{}</style><script>x</script><p>t</p>", "t\n"),
        ("<head><title>T</title></head><p>t</p>", "t\n"),
        (
            "<table>{% for i in tags %}<tr><td>{{ i }}</td><td>b</td></tr>{% endfor %}</table>",
            "{% for i in tags %}\n{{ i }} b\n{% endfor %}\n",
        ),
        ("<p>{{ a|replace('<', '>') }}</p>", "{{ a|replace('<', '>') }}\n"),
    ],
)
def test_the_text_part_says_what_the_html_says(html: str, text: str) -> None:
    assert to_text(html) == text


@pytest.mark.parametrize(
    ("template", "has"),
    [
        ("{{ unsubscribe_url }}", True),
        (LINK, True),
        ("{%if a%}{{ unsubscribe_url }}{%endif%}", False),
        ("{% if a %}x{% endif %}{{ unsubscribe_url }}", True),
        ("{% with a=1 %}x{% endwith %}{{ unsubscribe_url }}", True),
        ("{% set a = 1 %}{{ unsubscribe_url }}", True),
        ("{% set a %}{{ unsubscribe_url }}{% endset %}", False),
        ("{% for i in tags %}{{ unsubscribe_url }}{% endfor %}", False),
        ("{# unsubscribe_url #}", False),
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
        ("<p>Orchard&nbsp;Farm,<br>2 Hill Road</p>", ["Unsubscribe"]),
        (f"<p>{ADDRESS}</p>{LINK}", []),
    ],
)
def test_the_foot_has_what_the_template_has_not(html: str, foot: list[str]) -> None:
    made, text = prepare(f"<body>{html}</body>", None, address=ADDRESS)
    assert made is not None
    added = made.partition('<p style="font-size:12px;color:#666666">')[2]
    assert [part for part in (ADDRESS, "Unsubscribe") if part in added] == foot
    assert made.endswith("</body>")
    assert "{{ unsubscribe_url }}" in text


def test_what_is_ready_is_left_as_it_is() -> None:
    once = prepare("<p>{{ first_name }}</p>", None, address=ADDRESS)
    assert prepare(*once, address=ADDRESS) == once


@pytest.mark.parametrize(
    "html",
    [
        "<style>p{}</style>" + "<div>" * 12_000,
        "<a " * 14_000,
        "<!--" * 10_000,
        "<" * 20_000,
        "<![ x",
        "<a href='" * 5_000,
    ],
    ids=lambda html: html[:20],
)
def test_html_that_ended_the_process_or_took_minutes_is_made_ready(html: str) -> None:
    made, text = prepare(html, None, address=ADDRESS)
    assert made is not None
    assert ADDRESS in made
    assert ADDRESS in text
