"""What is exported is imported again as it was, and what a file must not bring is refused."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from database.models import Subscriber
from database.session import Database
from list_manager import ImportResult, import_csv
from lists.cells import harmless, plain
from lists.exporting import csv_pages
from tests.conftest import NOW
from tests.people import HASH_KEY, add, either_database, postgres
from utils.intake import WORDS, Risk, refusals

__all__ = ["either_database", "postgres"]  # fixtures

FORMULAS = ["=1+1", "+47 123", "-5", "@here", "'=1", "''+x", "'tis", "plain", "\tx", "a'=b"]


def read(database: Database, text: str, folder: Path, **allowed: bool) -> ImportResult:
    stream = io.BytesIO(text.encode())
    return import_csv(
        database, stream, hash_key=HASH_KEY, now=NOW, refusals=folder, refuse=refusals(**allowed)
    )


@given(st.text(alphabet="'=+-@\t\rab "))
def test_every_cell_is_harmless_and_comes_back(text: str) -> None:
    assert plain(harmless(text)) == text
    assert not harmless(text).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_the_list_comes_back_as_it_was(either_database: Database, tmp_path: Path) -> None:
    def known() -> list[tuple[object, ...]]:
        with either_database.read() as session:
            return [
                (one.email, one.first_name, one.last_name, one.tags, one.attributes)
                for one in session.scalars(select(Subscriber).order_by(Subscriber.email_key))
            ]

    for number, text in enumerate(FORMULAS):
        name = text.strip()
        add(either_database, f"person{number}@example.com", first_name=name, attributes={"a": text})
    add(either_database, "+plus@example.com", tags=frozenset({"=t", "u"}))
    add(
        either_database, "'=odd@example.com", last_name='He said "hi",\u00e9', attributes={"b": "x"}
    )
    before, text = known(), "".join(csv_pages(either_database))
    with either_database.write() as session:
        for person in session.scalars(select(Subscriber)):
            session.delete(person)
    assert read(either_database, text, tmp_path).created == len(FORMULAS) + 2
    assert known() == before


def test_an_export_is_of_one_tag_or_all(either_database: Database) -> None:
    add(either_database, "ann@example.com", tags=frozenset({"vip"}), attributes={"city": "Oslo"})
    add(either_database, "bob@example.com", attributes={"other": "x"})
    assert list(csv_pages(either_database, tag="vip")) == [
        "email,first_name,last_name,tags,city\r\n",
        "ann@example.com,,,vip,Oslo\r\n",
    ]


LIST = "email\nann@example.com\nabuse@example.com\nsupport@example.com\nann@mailinator.com\n"


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        ({}, [(3, Risk.HARD_ROLE), (4, Risk.ROLE), (5, Risk.DISPOSABLE)]),
        ({"roles": True}, [(3, Risk.HARD_ROLE), (5, Risk.DISPOSABLE)]),
        ({"disposable": True}, [(3, Risk.HARD_ROLE), (4, Risk.ROLE)]),
        ({"roles": True, "disposable": True}, [(3, Risk.HARD_ROLE)]),
    ],
)
def test_a_file_brings_no_roles_and_no_throw_away_mailboxes(
    database: Database, tmp_path: Path, allowed: dict[str, bool], refused: list[tuple[int, Risk]]
) -> None:
    result = read(database, LIST, tmp_path, **allowed)
    assert [(one.row, one.reason) for one in result.refused] == [
        (row, WORDS[risk]) for row, risk in refused
    ]
    assert (result.created, result.invalid) == (4 - len(refused), len(refused))
