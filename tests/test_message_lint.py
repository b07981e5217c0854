"""The message lint: what it says of which mail, and that it says nothing of a good one."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import ROOT
from tests.test_template_attacks import within_a_second
from utils.lint.finding import INFOS, REMEDIES
from utils.message_lint import Check, Finding, Severity, lint

TEMPLATES = ROOT / "tests" / "templates"
LINK = '<a href="{{ unsubscribe_url }}">Unsubscribe</a>'
WORDS = (
    "The harvest is in and the cellar is full, so on Saturday the doors are open from ten to "
    "six. There is new cider, old cheese and bread from the village oven, and whoever wants to "
    "see the press at work comes at noon. Children plant a tree and take home a jar of honey. "
    "If it rains we meet in the barn, which has a roof again since August, thanks to many hands. "
    "Bring a basket and a friend who has never been here before, and come by train if you can."
)
GOOD: dict[str, Any] = {
    "subject": "Open day at the farm",
    "html": f"<p>{WORDS}</p><p>{LINK}</p>",
    "text": None,
    "from_email": "news@farm.example",
    "from_name": "Orchard Farm",
    "reply_to": None,
    "postal_address": "Orchard Farm, 2 Hill Road, Ludlow",
}


def mail(**differs: Any) -> list[Finding]:
    return lint(**GOOD | differs)


def ids(findings: list[Finding]) -> list[str]:
    return [finding.id.value for finding in findings]


def with_html(html: str) -> list[Finding]:
    """Of an otherwise good mail with this in it."""
    return mail(html=f"<p>{WORDS}</p>\n{html}\n<p>{LINK}</p>")


def only(findings: list[Finding]) -> tuple[str, str, int | None]:
    """Message, part and line of the one finding there is."""
    (finding,) = findings
    return finding.message, finding.where, finding.line


# Real mailings


def test_a_usual_newsletter_is_clean() -> None:
    html = (TEMPLATES / "newsletter.html").read_text()
    assert mail(html=html, subject="Rye is back, {{ first_name or 'dear reader' }}") == []


def test_a_template_from_another_system_shows_what_does_not_work_here() -> None:
    html = (TEMPLATES / "migrated.html").read_text()
    assert ids(mail(html=html)) == [
        "msg.unsubscribe_missing",
        "msg.merge_tag",
        "msg.link_incomplete",
        "msg.link_http",
        "msg.img_unreachable",
    ]


def test_a_mail_with_everything_wrong_gets_every_finding() -> None:
    html = (TEMPLATES / "wrong.html").read_text()
    found = lint(
        subject="RE: FREE MONEY NOW!!! " + "ALL THE MONEY YOU EVER WANTED " * 3,
        html=html,
        text="Something else in words that nowhere occur beyond: gardening, philosophy, astronomy, "
        "swimming, painting, chemistry, sailing, weaving.",
        from_email="winner.noreply@gmail.com",
        from_name="\U0001f381 prize@bank.example",
        reply_to="claims@other.example",
        postal_address=" ",
        html_as_sent="x" * 150_000,
    )
    assert ids(found) == [
        "msg.subject_long",
        "msg.subject_caps",
        "msg.subject_marks",
        "msg.fake_reply",
        "msg.from_freemail",
        "msg.from_name_address",
        "msg.from_name_emoji",
        "msg.reply_to_domain",
        "msg.postal_address",
        "msg.unsubscribe_missing",
        "msg.text_differs",
        "msg.merge_tag",
        "msg.link_empty",
        "msg.link_incomplete",
        "msg.link_script",
        "msg.link_http",
        "msg.link_ip",
        "msg.shortener",
        "msg.link_disguised",
        "msg.link_download",
        "msg.hidden_content",
        "msg.blocked_content",
        "msg.img_alt",
        "msg.img_unreachable",
        "msg.img_http",
        "msg.image_only",
        "msg.size",
    ]


def test_every_template_is_used() -> None:
    used = {"newsletter.html", "migrated.html", "wrong.html"}
    assert {path.name for path in TEMPLATES.iterdir()} == used


# What is said of each


def test_a_finding_carries_all_that_an_answer_needs() -> None:
    assert with_html('<p>See <a href="http://farm.example/cider">the cider</a></p>') == [
        Finding(
            id=Check.LINK_HTTP,
            severity=Severity.WARN,
            message="Links that are not encrypted (http): http://farm.example/cider.",
            remedy="Use https:// links.",
            where="html",
            line=2,
        )
    ]


MANY_LINKS = "".join(f'<a href="https://site{n}.example/">more</a>\n' for n in range(21))
SPOKEN: list[tuple[Check, dict[str, Any], tuple[str, str, int | None]]] = [
    (Check.SUBJECT_EMPTY, {"subject": " "}, ("The subject is empty.", "subject", None)),
    (
        Check.SUBJECT_LONG,
        {"subject": "Hello {{ first_name }}, " + "a" * 70},
        ("The subject has 82 characters; many mail programs show less.", "subject", None),
    ),
    (
        Check.SUBJECT_CAPS,
        {"subject": "BIG SALE TODAY"},
        ("The subject is in capitals, as in spam.", "subject", None),
    ),
    (
        Check.SUBJECT_MARKS,
        {"subject": "Sale today!!"},
        ("The subject has a row of exclamation or question marks, as in spam.", "subject", None),
    ),
    (
        Check.FAKE_REPLY,
        {"subject": "Re: your order"},
        ('The subject begins with "Re:" as if people had written before.', "subject", None),
    ),
    (
        Check.FROM_FREEMAIL,
        {"from_email": "farm@gmail.com"},
        (
            "Mail from gmail.com that its own servers did not send fails DMARC and is refused "
            "or put into junk.",
            "from_email",
            None,
        ),
    ),
    (
        Check.FROM_NOREPLY,
        {"from_email": "no-reply@farm.example"},
        (
            "Nobody can answer no-reply@farm.example; Microsoft wants senders that take replies.",
            "from_email",
            None,
        ),
    ),
    (
        Check.FROM_NAME_ADDRESS,
        {"from_name": "help@bank.example"},
        (
            "The sender's name shows help@bank.example, the mail comes from news@farm.example.",
            "from_name",
            None,
        ),
    ),
    (
        Check.FROM_NAME_EMOJI,
        {"from_name": "Farm \u2705"},
        (
            "The sender's name has a picture in it (\u2705), which Gmail holds against it.",
            "from_name",
            None,
        ),
    ),
    (
        Check.FROM_NAME_SUBJECT,
        {"from_name": "Farm: open day at the farm"},
        ("The sender's name has the subject in it.", "from_name", None),
    ),
    (
        Check.REPLY_TO_FREEMAIL,
        {"reply_to": "farm@gmx.de"},
        ("Replies go to a mailbox at gmx.de; filters know that from fraud.", "reply_to", None),
    ),
    (
        Check.REPLY_TO_DOMAIN,
        {"reply_to": "ann@union.example"},
        ("Replies go to union.example, the mail comes from farm.example.", "reply_to", None),
    ),
    (
        Check.POSTAL_ADDRESS,
        {"postal_address": ""},
        (
            "No postal address is set, which the law asks for in commercial mail.",
            "postal_address",
            None,
        ),
    ),
    (
        Check.UNSUBSCRIBE_MISSING,
        {"html": f"<p>{WORDS}</p>"},
        (
            "Not everybody's mail has an unsubscribe link; one is added at the end.",
            "html",
            None,
        ),
    ),
    (
        Check.SIZE,
        {"html_as_sent": "\u00e9" * 60_000},
        ("The HTML has 120 kB; Gmail cuts off what comes after 102 kB.", "html", None),
    ),
    (Check.TEXT_MISSING, {"text": "\n--\n"}, ("The text part has no words in it.", "text", None)),
    (
        Check.TEXT_DIFFERS,
        {"text": "Your mail program shows no HTML."},
        ("The text part says something else than the HTML part, or much less.", "text", None),
    ),
    (
        Check.MERGE_TAG,
        {"html": f"<p>{WORDS}</p>\n<p>Dear *|FNAME|*</p>{LINK}"},
        ("Placeholders that are sent as they are: *|FNAME|*.", "html", 2),
    ),
    (
        Check.HIDDEN_CONTENT,
        {"html": f'<p>{WORDS}</p>\n<p style="display:none">cheap pills</p>{LINK}'},
        ('Text that readers do not see, as in spam: "cheap pills".', "html", 2),
    ),
    (
        Check.BLOCKED_CONTENT,
        {"html": f'<p>{WORDS}</p>\n<form><input name="a"></form>{LINK}'},
        ("Parts that mail programs take out or block: <form>, <input>.", "html", 2),
    ),
    (
        Check.IMAGE_ONLY,
        {"html": f'<img src="https://farm.example/all.png" alt="All">\n{LINK}'},
        (
            "The mail is mostly pictures: 12 characters of text. Filters cannot read them, and "
            "many readers see no pictures.",
            "html",
            None,
        ),
    ),
    (
        Check.IMG_ALT,
        {"html": f'<p>{WORDS}</p>\n<img src="https://farm.example/{{{{ email }}}}.png">{LINK}'},
        ("Images without alt text: https://farm.example/{{ email }}.png.", "html", 2),
    ),
    (
        Check.IMG_HTTP,
        {"html": f'<p>{WORDS}</p>\n<img src="http://farm.example/a.png" alt="">{LINK}'},
        ("Images that are not encrypted (http): http://farm.example/a.png.", "html", 2),
    ),
    (
        Check.IMG_UNREACHABLE,
        {"html": f'<p>{WORDS}</p>\n<img src="img/a.png" alt="">{LINK}'},
        ("Images that the reader will not see: img/a.png.", "html", 2),
    ),
    (
        Check.LINK_EMPTY,
        {"html": f'<p>{WORDS}</p>\n<a href="#">Read more</a>{LINK}'},
        ('Links that lead nowhere: "Read more".', "html", 2),
    ),
    (
        Check.LINK_INCOMPLETE,
        {"html": f'<p>{WORDS}</p>\n<a href="www.farm.example">site</a>{LINK}'},
        ("Links that open nothing for the reader: www.farm.example.", "html", 2),
    ),
    (
        Check.LINK_SCRIPT,
        {"html": f'<p>{WORDS}</p>\n<a href="javascript:go()">go</a>{LINK}'},
        (
            "Links that hold a script or data, which mail programs block: javascript:go().",
            "html",
            2,
        ),
    ),
    (
        Check.LINK_HTTP,
        {"html": None, "text": "A\n\nhttp://farm.example/a.\n{{ unsubscribe_url }}"},
        ("Links that are not encrypted (http): http://farm.example/a.", "text", 3),
    ),
    (
        Check.LINK_IP,
        {"html": f'<p>{WORDS}</p>\n<a href="https://192.0.2.1/a">a</a>{LINK}'},
        ("Links to an IP address, as in spam: https://192.0.2.1/a.", "html", 2),
    ),
    (
        Check.LINK_DISGUISED,
        {"html": f'<p>{WORDS}</p>\n<a href="https://evil.example/">www.bank.example</a>{LINK}'},
        (
            "Links that show one site and open another: www.bank.example opens evil.example.",
            "html",
            2,
        ),
    ),
    (
        Check.LINK_DOWNLOAD,
        {"html": f'<p>{WORDS}</p>\n<a href="https://farm.example/Setup.EXE?v=2">a</a>{LINK}'},
        (
            "Links straight to a program, as in malware: https://farm.example/Setup.EXE?v=2.",
            "html",
            2,
        ),
    ),
    (
        Check.LINK_DOMAINS,
        {"html": f"<p>{WORDS}</p>{MANY_LINKS}{LINK}"},
        ("The links lead to 21 sites; mails that people want have fewer.", "html", None),
    ),
    (
        Check.SHORTENER,
        {"html": f'<p>{WORDS}</p>\n<a href="https://bit.ly/3x">a</a>{LINK}'},
        (
            "Shortened links, which hide from filters where they lead: https://bit.ly/3x.",
            "html",
            2,
        ),
    ),
]


@pytest.mark.parametrize(("check", "differs", "said"), SPOKEN, ids=[row[0].value for row in SPOKEN])
def test_each_check_says_what_it_found_and_where(
    check: Check, differs: dict[str, Any], said: tuple[str, str, int | None]
) -> None:
    found = mail(**differs)
    assert (ids(found), only(found)) == ([check], said)


def test_lines_are_those_of_the_template_whatever_its_jinja_is_spread_over() -> None:
    found = with_html('{# a\nremark #}{% if\ntags %}\n{% endif %}<a href="http://a.example/">a</a>')
    assert [(one.id, one.line) for one in found] == [(Check.LINK_HTTP, 5)]


def test_examples_are_few_short_and_each_once() -> None:
    pages = ["a", "b", "a", "c", "d" * 100, "e"]
    (found,) = with_html("".join(f'<a href="/{page}">x</a>' for page in pages))
    assert found.message == "Links that open nothing for the reader: /a, /b, /c and 2 more."
    (found,) = with_html(f'<a href="/{"d" * 100}">x</a>')
    assert found.message == f"Links that open nothing for the reader: /{'d' * 58}…."


def test_every_check_is_tried_and_has_a_remedy() -> None:
    assert {row[0] for row in SPOKEN} == set(Check) == set(REMEDIES)
    assert all(remedy.count(". ") == 0 and remedy.endswith(".") for remedy in REMEDIES.values())


def test_only_what_may_well_be_meant_is_an_info() -> None:
    infos = {found.id for row in SPOKEN for found in mail(**row[1]) if found.severity == "info"}
    assert infos == INFOS


# Where the line is


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("NASA and ESA", []),
        ("PARIS 2026", []),  # one word and a number
        ("{{ first_name|upper }} {{ last_name|upper }}, come", []),
        ("ALLES MUSS RAUS", ["msg.subject_caps"]),
        ("特价 今天 全部商品 全场 优惠 大减价", []),  # no capitals in Chinese
        ("Come! Now!", []),
        ("Come! Now! Really!", ["msg.subject_marks"]),
        ("What?!", ["msg.subject_marks"]),
        ("FWD: menu", ["msg.fake_reply"]),
        (" [Re 2]: menu", ["msg.fake_reply"]),
        ("AW: Ihre Anfrage", ["msg.fake_reply"]),
        ("回复：订单", ["msg.fake_reply"]),  # noqa: RUF001 - as it is written in Chinese
        ("re:Invent, what was new", []),
        ("Recipes: ten for autumn", []),
        ("Ref: 2026 in figures", []),
        ("{{ attributes.topic }}", ["msg.subject_empty"]),
        ("{{ campaign.name }}", []),
        ("{% if %}", []),  # refused elsewhere
        ("a" * 78, []),
    ],
)
def test_subject(subject: str, expected: list[str]) -> None:
    assert ids(mail(subject=subject)) == expected


@pytest.mark.parametrize(
    ("differs", "expected"),
    [
        ({"from_name": "news@farm.example"}, []),
        ({"from_name": "Farm™ & Söhne → you"}, []),
        ({"from_name": None}, []),
        ({"from_email": "a@Yahoo.co.uk"}, ["msg.from_freemail"]),
        ({"from_email": "a@gmail.com.farm.example"}, []),
        ({"from_email": "no-reply@farm.example", "reply_to": "ann@farm.example"}, []),
        ({"reply_to": "ann@mail.farm.example"}, []),
        ({"from_email": "a@mail.farm.example", "reply_to": "ann@farm.example"}, []),
        ({"from_email": "a@gmail.com", "reply_to": "a@gmail.com"}, ["msg.from_freemail"]),
        ({"from_name": "Farm for {{ first_name }}"}, ["msg.merge_tag"]),
        ({"from_email": "", "reply_to": ""}, []),
    ],
)
def test_sender(differs: dict[str, Any], expected: list[str]) -> None:
    assert ids(mail(**differs)) == expected


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ('<a href="{{ attributes.url }}">your page</a>', []),
        ('<a href="https://{{ attributes.host }}/">bank.example</a>', []),
        ('<a href="http://{{ attributes.host }}/">a</a>', ["msg.link_http"]),
        ('<a href="https://farm.example/?to={{ email }}">a</a>', []),
        ('<a href="#top">a</a><a name="top"></a>', []),
        ('<a href="mailto:ann@farm.example">ann@farm.example</a>', []),
        ('<a href="sms:+441632960001">a</a>', []),
        ('<a href="">{{ first_name }}</a>', ["msg.link_empty"]),
        ('<a href="/cider">a</a>', ["msg.link_incomplete"]),
        ('<a href="//farm.example/">a</a>', ["msg.link_incomplete"]),
        ('<a href="https://">a</a>', ["msg.link_incomplete"]),
        ('<a href="http://localhost:3000/">a</a>', ["msg.link_incomplete"]),
        ('<a href="file:///C:/cider.html">a</a>', ["msg.link_incomplete"]),
        ('<a href=" JavaScript:go()">a</a>', ["msg.link_script"]),
        ('<a href="data:text/html,hi">a</a>', ["msg.link_script"]),
        ('<a href="https://[2001:db8::1]/">a</a>', ["msg.link_ip"]),
        ('<a href="https://3221225985/">a</a>', ["msg.link_ip"]),
        ('<a href="https://www.tinyurl.com/a">a</a>', ["msg.shortener"]),
        ('<a href="https://youtu.be/a">a</a>', []),
        ('<area href="https://bit.ly/a" alt="a">', ["msg.shortener"]),
        ('<a href="https://farm.example/get.zip">a</a>', []),
        ('<a href="https://farm.example/go/bank.com">a</a>', []),
        ('<a href="https://bank.example@evil.example/">a</a>', ["msg.link_disguised"]),
        ('<a href="https://medium.example/@ann">a</a>', []),
        ('<a href="https://t.farm.example/1">https://www.farm.example/cider</a>', []),
        ('<a href="https://a.co.uk/">www.b.co.uk</a>', ["msg.link_disguised"]),
        ('<a href="https://evil.example/">bank.com</a>', ["msg.link_disguised"]),
        ('<a href="https://nodejs.example/">Node.js</a>', []),
        ('<a href="https://microsoft.example/">ASP.NET</a>', []),
        ('<a href="https://evil.example/">{{ "bank.com" }}</a>', []),
        ('<a href="https://xn--mller-kva.example/">https://müller.example</a>', []),
        ('<!-- <a href="http://old.example/">a</a> -->', []),
        ('{# <a href="http://old.example/">a</a> #}', []),
        ('{% if tags %}<a href="http://old.example/">a</a>{% endif %}', ["msg.link_http"]),
        ('<a {% if tags %}href="http://a.example/"{% endif %}>a</a>', ["msg.link_http"]),
        ('<a href="*|ARCHIVE|*">a</a>', ["msg.merge_tag"]),
        ('<a href="https://farm.example/%recipient.id%">a</a>', ["msg.merge_tag"]),
    ],
)
def test_links(link: str, expected: list[str]) -> None:
    assert ids(with_html(link)) == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ('<img src="https://a.example/a.png" alt="">', []),
        ('<img src="https://a.example/a.gif" width="1" height="1">', []),
        ('<img src="https://a.example/a.png" style="display:none">', []),
        ('<img src="https://a.example/a.png" role="presentation">', []),
        ('<img src="https://a.example/a.png" {% if tags %}alt="a"{% endif %}>', []),
        ('<img src="{{ attributes.photo }}" alt="you">', []),
        ('<img src="data:image/png;base64,AAAA" alt="a">', ["msg.img_unreachable"]),
        ('<img alt="a">', ["msg.img_unreachable"]),
        ('<td background="http://a.example/a.png">', ["msg.img_http"]),
        ("<td style=\"background:url('http://a.example/a.png')\">", ["msg.img_http"]),
        ("<style>td { background: url(http://a.example/a.png) }</style>", ["msg.img_http"]),
    ],
)
def test_images(image: str, expected: list[str]) -> None:
    assert ids(with_html(image)) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<img src="https://a.example/a.png" alt="">{{ attributes.story }}', []),
        ('<img src="https://a.example/logo.png" alt="" width="120"><p>Your code: 1234</p>', []),
        ("<p>Your code: 1234</p>", []),
        (
            '<a href="https://a.example/"><img src="https://a.example/a.png" alt="All" width=600></a>'
            "<p>Dear {{ first_name }}</p>",
            ["msg.image_only"],
        ),
        (
            '<img src="https://a.example/a.png" alt="">',
            ["msg.text_missing", "msg.image_only"],
        ),
        ("", ["msg.text_missing"]),
    ],
)
def test_mails_of_pictures(html: str, expected: list[str]) -> None:
    found = ids(mail(html=html))
    assert [one for one in found if one != "msg.unsubscribe_missing"] == expected


HIDDEN = ["msg.hidden_content"]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<p style="DISPLAY : none !important">cheap pills</p>', HIDDEN),
        ('<p style="visibility:hidden">cheap pills</p>', HIDDEN),
        ('<p style="opacity:0">cheap pills</p>', HIDDEN),
        ('<p style="font-size:0px">cheap pills</p>', HIDDEN),
        ('<p style="font:0/0 a">cheap pills</p>', HIDDEN),
        ('<p style="font-size:1px">cheap pills</p>', HIDDEN),
        ('<p style="max-height:0;overflow:hidden">cheap pills</p>', HIDDEN),
        ('<p style="text-indent:-9999px">cheap pills</p>', HIDDEN),
        ('<p style="color:transparent">cheap pills</p>', HIDDEN),
        ("<p hidden>cheap pills</p>", HIDDEN),
        ('<p style="color:#fff">cheap pills</p>', HIDDEN),
        ('<font color="white">cheap pills</font>', HIDDEN),
        ('<p style="color:#fdfdfd;background:rgb(250,250,250)">cheap pills</p>', HIDDEN),
        ('<td bgcolor="#123456"><b style="color:#123457">cheap pills</b></td>', HIDDEN),
        ("<style>.x{display:none}</style><p class='a x'>cheap pills</p>", HIDDEN),
        ("<style>p.x, b{color:white}</style><p class=x>cheap pills</p>", HIDDEN),
        ("<style>#x{font-size:0}</style><p id=x>cheap pills</p>", HIDDEN),
        ('<div style="display:none">{% if tags %}cheap pills{% endif %}</div>', HIDDEN),
        ('<div style="display:none"><p style="display:block">cheap pills</p></div>', HIDDEN),
        # Seen, or nothing to see.
        ('<div style="font-size:0"><p style="font-size:16px">words</p></div>', []),
        ('<p style="font-size:0;line-height:0">&nbsp;&zwnj;</p>', []),
        ('<p style="font-size:12px;opacity:0.9">words</p>', []),
        ('<td bgcolor="#123456"><b style="color:#fff">words</b></td>', []),
        ('<td background="https://a.example/a.png" style="color:#fff">words</td>', []),
        ('<td style="background:linear-gradient(red,blue);color:#fff">words</td>', []),
        ('<td style="background:{{ attributes.colour }};color:#fff">words</td>', []),
        ('<td style="background:rebeccapurple;color:#fff">words</td>', []),
        ("<style>.a .x{background:#000}</style><p class=x style='color:#fff'>words</p>", []),
        ("<style>.x:hover{display:none}</style><p class=x>words</p>", []),
        ("<style>.a .x{display:none}</style><p class=x>words</p>", []),
        (
            "<style>.x{display:none} @media (max-width:600px){.x{display:block}}</style>"
            "<p class=x>words</p>",
            [],
        ),
        (
            '<style>@media (max-width:600px){*[class="x"]{display:block}}</style>'
            '<p class="x" style="display:none">words</p>',
            [],
        ),
        ("<style>@media (max-width:600px){.x{display:none}}</style><p class=x>words</p>", []),
        ("<p style='display:none'>{{ attributes.hint }}</p>", []),
        ("<!--[if mso]><p style='display:none'>words</p><![endif]-->", []),
        ("<p style='display:none'><p>words", []),
        ("<title>words</title><textarea hidden>words</textarea>", ["msg.blocked_content"]),
    ],
)
def test_hidden_text(html: str, expected: list[str]) -> None:
    assert ids(with_html(html)) == expected


@pytest.mark.parametrize(
    ("preview", "expected"),
    [("A look into the cellar before you come", []), ("Cheap pills. " * 20, HIDDEN)],
)
def test_a_short_preview_text_at_the_top_may_be_hidden(preview: str, expected: list[str]) -> None:
    html = f'<div style="display:none">{preview}</div><p>{WORDS}</p>{LINK}'
    assert ids(mail(html=html)) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<script type="application/ld+json">{"@type": "Event"}</script>', []),
        ('<link rel="stylesheet" href="https://fonts.example/a.css">', []),
        ("<iframe src='https://a.example/'></iframe>", ["msg.blocked_content"]),
        ('<p onclick="go()">words</p>', ["msg.blocked_content"]),
        ('<p data-on="monday" title="one=1">words</p>', []),
    ],
)
def test_blocked_content(html: str, expected: list[str]) -> None:
    assert ids(with_html(html)) == expected


@pytest.mark.parametrize(
    ("tag", "is_foreign"),
    [
        *((tag, True) for tag in ("*|FNAME|*", "*|MC:SUBJECT|*", "%%FirstName%%", "<%name%>")),
        *((tag, True) for tag in ("%recipient.name%", "{$name}", "{first_name}", "[[fname]]")),
        *((tag, False) for tag in ("[1]", "50% off, 20% more", "{a}", "*really*", "a | b")),
        *((tag, False) for tag in ("{{ first_name }}", "{# %%x%% #}")),
    ],
)
def test_placeholders_of_other_systems(tag: str, is_foreign: bool) -> None:
    found = [with_html(f"<p>Dear {tag},</p>"), mail(subject=f"Dear {tag}, come on Saturday")]
    assert list(map(ids, found)) == [["msg.merge_tag"] if is_foreign else []] * 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (WORDS, []),
        (WORDS.upper() + " https://farm.example/?utm_source=newsletter_and_more", []),
        ("{% if first_name %}Dear {{ first_name }}{% endif %}\n" + WORDS, []),
        (WORDS + " We also sell firewood.", []),
        ("", []),  # as if there were none: made from the HTML
        (
            "Winter opening hours: closed Mondays, otherwise shorter everywhere; tractor, firewood, "
            "sausages, potatoes.",
            ["msg.text_differs"],
        ),
        (
            "Read this letter on our site: https://farm.example/letter",
            ["msg.text_differs"],
        ),
    ],
)
def test_the_text_part_goes_with_the_html(text: str, expected: list[str]) -> None:
    assert ids(mail(text=text)) == expected


@pytest.mark.parametrize(
    ("differs", "expected"),
    [
        ({"html": None, "text": WORDS + "\n{{ unsubscribe_url }}"}, []),
        ({"html": None, "text": WORDS}, ["msg.unsubscribe_missing"]),
        ({"text": WORDS}, []),  # ours is put under the text; the author sees it in the HTML
        (
            {"html": f"<p>{WORDS}</p>{{% if tags %}}{LINK}{{% endif %}}"},
            ["msg.unsubscribe_missing"],
        ),
    ],
)
def test_unsubscribe_link(differs: dict[str, Any], expected: list[str]) -> None:
    assert ids(mail(**differs)) == expected


# Size


BIG = "<tr><td>A line of words in a table</td></tr>\n"


@pytest.mark.parametrize(
    ("html", "is_too_large"),
    [
        (BIG * 2200, False),
        (BIG * 2400, True),
        ("{% if not attributes.x %}" + BIG * 2400 + "{% endif %}", True),
        ("{% if attributes.x %}" + BIG * 2400 + "{% endif %}", False),
        ("{% for n in range(300) %}" + BIG * 10 + "{% endfor %}", True),
        ("<table>" + BIG * 1500 + "</table>", False),
        ("<style>td { padding: 4px 8px }</style><table>" + BIG * 1500 + "</table>", True),
        ("{#" + BIG * 2400 + "#}" + BIG, False),
        ("{% if %}" + BIG * 2400, False),  # cannot be rendered, so nobody knows
    ],
)
def test_size_is_that_of_the_mail_as_it_is_sent(html: str, is_too_large: bool) -> None:
    assert ("msg.size" in ids(with_html(html))) is is_too_large


def test_the_size_of_the_mail_as_sent_counts_if_the_caller_has_it() -> None:
    assert ids(mail(html_as_sent="x" * 100_000)) == []
    assert ids(mail(html_as_sent="x" * 100_001)) == ["msg.size"]


# Whatever is handed over


PIECES = st.sampled_from(
    [
        *(
            "<",
            ">",
            "</",
            "<!--",
            "-->",
            "<![",
            "<a ",
            'href="',
            "'",
            '"',
            "=",
            "&",
            "&#",
            "{{",
            "}}",
        ),
        *("{%", "%}", "{#", "#}", "{{ email }}", "{% if tags %}", "{% endif %}", "\x00", "\x02"),
        *("\x020\x03", "\x02999\x03", "cxj0j", "<style>", "</style>", "<style>.a{color:", "}", "{"),
        *(
            "@media{",
            "rgb(",
            "rgb(1e9,",
            "#fff",
            "style='font-size:",
            "1.2.3px",
            ";",
            "<p class=a>",
        ),
        *("<img src=", "<script>", "https://", "http://[", "http://[::1", "@", "xn--", "bit.ly"),
        *("\u0660", "\ud800", "\U0001f600", "\n", " ", "words", "*|X|*", "Re: ", "!!", "<div>"),
    ]
)
ANYTHING = st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join))


@settings(max_examples=400, deadline=None)
@given(
    subject=ANYTHING,
    html=st.none() | ANYTHING,
    text=st.none() | ANYTHING,
    from_email=ANYTHING,
    from_name=st.none() | ANYTHING,
    reply_to=st.none() | ANYTHING,
    postal_address=ANYTHING,
)
def test_lint_never_raises(**given: Any) -> None:
    for finding in lint(**given):
        assert finding.message
        assert finding.where in {
            *("subject", "html", "text", "from_email", "from_name", "reply_to", "postal_address")
        }
        assert finding.line is None or finding.line >= 1


HOSTILE = [
    *(
        "<!--",
        "<",
        "<a ",
        "<a a=\" '",
        "</",
        "<![",
        "&",
        "<style>",
        "<style>{",
        "<style>[",
        "<div>",
    ),
    *("<style>/*", "<style>=  ", "{{", "{%", "{# ", "*|A|*", "*|", "https://a.b/ ", "<a href=x>"),
    *(
        '<a href="https://www.a.com">www.',
        "<p style='color:rgb(",
        "onclick",
        "<div></span>",
        "<img>",
    ),
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_grows_with_the_length_only(unit: str) -> None:
    page = unit * (200_000 // len(unit))
    with within_a_second():
        mail(html=page, text=page)


def test_a_large_template_is_looked_over_at_once() -> None:
    row = (
        '<tr><td class="cell" style="padding:10px 20px;color:#333333"><p>Some words &amp; more of a '
        '<a href="https://www.farm.example/a?utm_source=x" style="color:#0066cc">link</a>.</p>'
        '<img src="https://cdn.farm.example/i.png" width="600" alt="A picture"></td></tr>\n'
    )
    page = "<style>.cell{font-family:Arial}</style><table>" + row * (200_000 // len(row)) + LINK
    began = time.process_time()
    assert ids(mail(html=page)) == ["msg.size"]
    assert time.process_time() - began < 0.5  # 0.04 s on a quiet machine
