"""Hostile input by area, one JSON file each: what is answered, word for word or by its status.

What holds for every answer: it is one of ours, never a 5xx (503 with a reason excepted), takes
no second, and nothing that looks like markup comes back where a browser would read it as such.
"""

import io
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from config.esp_config import EspName
from database.session import Database
from lists.csv_rows import BadHeader, Refusal, read_rows
from tests.conftest import Clock
from tests.hostile import ENOUGH, FILES, cases, file_names
from tests.signing import SendGridSigner, basic_header, postmark_listening, sendgrid_listening
from tests.sns_signing import amazon, listening, notification, posted
from tests.test_template_attacks import within_a_second
from tests.web import KEY, problem, system_on
from utils.addresses import InvalidAddress, normalise
from utils.dns import dkim, dmarc, spf_terms
from utils.dns.findings import shown
from utils.personalisation import Person, Template, TemplateError

SIGNER = SendGridSigner()
MARKUP = ("<script", "<img", "<svg", "<b>")
EVIL = Person(
    email="ann@example.net",
    first_name="<img src=x onerror=alert(1)>",
    last_name="{% raw %}",
    attributes={
        "js": '"><script>alert(1)</script>',
        "none": None,
        "tpl": "{{ 7*7 }}",
        "crlf": "A\r\nBcc: x@example.net",
        "nul": "a\x00b",
        "sep": "a\u2028b",
    },
    tags=["a", "<b>"],
    unsubscribe_url="https://example.com/u",
)


@pytest.fixture(autouse=True)
def _answers_within_a_second() -> Iterator[None]:
    with within_a_second():
        yield


class Ticking(Clock):
    """Goes on with every look at it, so that calls come no faster than is allowed."""

    def __call__(self) -> datetime:
        self.forward(seconds=0.6)
        return self.now


@pytest.fixture(scope="module")
def client(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """The same for all, since nothing here may change how the next one is answered."""
    yield from _client(migrated_file, tmp_path_factory.mktemp("shared"))


@pytest.fixture
def fresh_client(migrated_file: Path, tmp_path: Path) -> Iterator[FlaskClient]:
    """For those that are refused after too many wrong keys."""
    yield from _client(migrated_file, tmp_path)


def _client(migrated_file: Path, folder: Path) -> Iterator[FlaskClient]:
    """With one person on the list, and ESPs that send webhooks."""
    database = Database(f"sqlite:///{shutil.copy(migrated_file, folder / 'email.db')}")
    system = system_on(database, Ticking())
    system.esps = {
        EspName.SENDGRID: sendgrid_listening(SIGNER),
        EspName.SES: listening(amazon().write(folder)),
        EspName.POSTMARK: postmark_listening(),
    }
    with create_app(system=system).test_client() as client:
        added = client.post("/add-subscriber", json={"email": "ann@example.net"}, headers=KEY)
        assert added.status_code == 201
        yield client
    database.close()


def check(response: TestResponse, status: int) -> None:
    """The status, and what holds for every answer."""
    assert response.status_code == status, response.text
    assert status < 500 or status == 503
    if status >= 400 and response.mimetype != "text/html":
        problem(response)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "Traceback" not in response.text
    if response.mimetype == "text/html":
        assert not [probe for probe in MARKUP if probe in response.text.lower()]
    assert not [name for name, value in response.headers if "\n" in value or "\r" in value]


@cases("addresses")
def test_an_address(case: Any) -> None:
    if case["expect"] == "refused":
        with pytest.raises(InvalidAddress) as refused:
            normalise(case["input"])
        assert refused.value.reason
    else:
        address = normalise(case["input"])
        assert {"email": address.email, "key": address.key} == case["expect"]


@cases("bodies")
def test_a_body(client: FlaskClient, case: Any) -> None:
    body = case["body"].encode("utf-8", "surrogatepass")
    check(
        client.open(
            case["path"],
            method=case["method"],
            data=body,
            content_type="application/json",
            headers=KEY,
        ),
        case["status"],
    )


def declared(n: int) -> str:
    return "<style>br{" + "".join(f"a{i}:b;" for i in range(n)) + "}</style>"


@pytest.mark.parametrize(
    ("page", "status"),
    [
        ("x<b>" * 125_000, 422),
        ("<style>b{color:red}</style>" + "<b>" * 150_000, 422),
        ("<b>" * 15_001, 422),
        ("<br>" * 15_000, 200),
        ("<a a b c d e f g h i j k l m n>x" * 15_000, 200),
        (declared(40) + "<br>" * 14_990, 200),
    ],
    ids=["tags", "styled", "one more", "as many", "attributes", "styles for all"],
)
def test_a_page_of_nothing_but_tags(client: FlaskClient, page: str, status: int) -> None:
    body = {"subject": "Hello", "html": page, "dry_run": True}
    answer = client.post("/send-campaign", json=body, headers=KEY)
    check(answer, status)
    if status == 422:
        told = "has more than 15,000 HTML tags (each <); make the page shorter"
        assert problem(answer)["errors"] == [{"pointer": "/html", "detail": told}]


@cases("filters")
def test_a_filter(client: FlaskClient, case: Any) -> None:
    body = {"filter": case["filter"]}
    check(client.post("/segments/preview", json=body, headers=KEY), case["status"])


@cases("queries")
def test_a_path_and_query(client: FlaskClient, case: Any) -> None:
    check(client.open(case["target"], method=case["method"], headers=KEY), case["status"])


@cases("headers")
def test_a_header(fresh_client: FlaskClient, case: Any) -> None:
    headers = {**(KEY if case["key"] else {}), **case["headers"]}
    answer = fresh_client.open(
        case["path"], method=case["method"], data=case["body"], headers=headers
    )
    check(answer, case["status"])


@cases("tokens")
@pytest.mark.parametrize("page", ["/unsubscribe", "/confirm", "/preferences"])
def test_a_token(client: FlaskClient, page: str, case: Any) -> None:
    for method in ("GET", "POST"):
        answer = client.open(page, method=method, query_string={"token": case["token"]})
        check(answer, case["status"])


@cases("webhooks")
def test_a_webhook(client: FlaskClient, case: Any) -> None:
    body = case["body"].encode("utf-8", "surrogatepass")
    headers: dict[str, str] = {}
    if case["genuine"]:
        match case["esp"]:
            case "sendgrid":
                headers = SIGNER.headers(body)
            case "postmark":
                headers = {"authorization": basic_header()}
            case "ses":
                call = posted(amazon().sign(notification(case["body"])))
                headers, body = dict(call.headers), call.body
    answer = client.post(f"/bounce-webhook/{case['esp']}", data=body, headers=headers)
    check(answer, case["status"])


@cases("csv")
def test_a_line_of_csv(client: FlaskClient, case: Any) -> None:
    """Read by itself, and through the API."""
    raw = f"{case['header']}\n{case['line']}\n".encode("utf-8", "surrogatepass")
    assert _read(raw) == case["expect"]
    answer = client.post("/subscribers/import", data=raw, content_type="text/csv", headers=KEY)
    check(answer, 422 if case["expect"] == "bad header" else 200)
    if answer.status_code == 200:
        assert answer.get_json()["created"] == (case["expect"] == "created")


def _read(raw: bytes) -> str:
    try:
        with read_rows(io.BytesIO(raw)) as rows:
            found = list(rows)
    except BadHeader:
        return "bad header"
    kinds = {"refused" if isinstance(row, Refusal) else "created" for row in found}
    assert len(kinds) <= 1, found
    return kinds.pop() if kinds else "nothing"


@cases("templates")
def test_a_template(case: Any) -> None:
    part, source = case["part"], case["source"]
    parts = {"subject": "Hello", "html": None, "text": "x", part: source}
    if case["expect"] == "refused":
        with pytest.raises(TemplateError) as refused:
            Template(**parts, campaign={"id": 1}).slots(EVIL)
        assert str(refused.value)
    else:
        template = Template(**parts, campaign={"id": 1})
        slots = template.slots(EVIL)
        assert getattr(template, part).fill(getattr(slots, part)) == case["expect"]


@cases("dns")
def test_a_text_of_dns(case: Any) -> None:
    """Taken for what it is, never raising; and shown on one line that steers no terminal."""
    text = case["text"]
    terms = spf_terms.parsed(text) if spf_terms.is_spf(text) else None
    record = dmarc.parse_record("example.com", text)
    key = dkim.parse_key(text)
    assert {
        "spf": None if terms is None else [term.text for term in terms if term.wrong],
        "dmarc": dmarc.is_record(text) and (record.value("p") or ""),
        "dkim": key.summary,
    } == {name: case[name] for name in ("spf", "dmarc", "dkim")}
    for told in (text, key.summary, *(term.wrong for term in terms or ())):
        assert shown(told).isprintable()


def test_every_file_is_used_and_there_are_enough() -> None:
    assert set(FILES) == set(file_names())
    assert sum(map(len, FILES.values())) >= ENOUGH
