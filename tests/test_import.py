"""A CSV file into the list: what it does to whom, what it refuses, what it costs."""

import csv
import gc
import io
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from database.models import Subscriber, SubscriberStatus, SuppressionReason
from database.session import Database
from list_manager import BadHeader, ImportResult, find_refusals, import_csv, suppress
from lists import importing, refusals
from lists.csv_rows import Refusal
from tests.conftest import NOW
from tests.people import (
    HASH_KEY,
    add,
    assert_counters_are_true,
    days,
    either_database,
    postgres,
    who,
)

__all__ = ["either_database", "postgres"]  # fixtures

LATER = NOW + timedelta(hours=1)


def run(database: Database, text: str | bytes, folder: Path, **said: Any) -> ImportResult:
    raw = text if isinstance(text, bytes) else text.encode()
    said.setdefault("now", NOW)
    return import_csv(database, io.BytesIO(raw), hash_key=HASH_KEY, refusals=folder, **said)


def counts(result: ImportResult) -> dict[str, int]:
    found = {name: n for name, n in asdict(result).items() if isinstance(n, int) and n}
    assert result.rows == sum(found.values()) - result.rows
    return found


def people(database: Database) -> list[tuple[Any, ...]]:
    with database.read() as session:
        return [
            (one.email, one.first_name, one.last_name, one.attributes, one.tags, one.status.value)
            for one in session.scalars(select(Subscriber).order_by(Subscriber.email_key))
        ]


def test_each_line_becomes_a_person(either_database: Database, tmp_path: Path) -> None:
    result = run(
        either_database,
        "email,first_name,last_name,tags,city,Favourite colour\r\n"
        "Ann@Example.com,Ann,Lee,news;vip;news,Oslo,\r\n"
        'bob@gmail.com,"Bob ""B"", jr.",,,,"dark\nred"\r\n'
        "\r\n"
        ",,,,,\r\n"
        "cid@example.com\r\n",
        tmp_path,
    )
    assert counts(result) == {"rows": 3, "created": 3}
    assert people(either_database) == [
        ("Ann@example.com", "Ann", "Lee", {"city": "Oslo"}, ["news", "vip"], "active"),
        ("bob@gmail.com", 'Bob "B", jr.', None, {"Favourite_colour": "dark\nred"}, [], "active"),
        ("cid@example.com", None, None, {}, [], "active"),
    ]
    with either_database.read() as session:
        bob = session.scalars(select(Subscriber).where(Subscriber.first_name.like("Bob%"))).one()
        assert (bob.email_key, bob.email_hash) == ("bob@gmail.com", who("bob@gmail.com"))
        assert (bob.mailbox_provider, bob.consent_source, bob.created_at, bob.updated_at) == (
            "gmail",
            "import",
            NOW,
            NOW,
        )
    assert days(either_database) == {"joined": 3}
    assert_counters_are_true(either_database)


def test_a_known_person_is_merged(either_database: Database, tmp_path: Path) -> None:
    add(
        either_database,
        "ann@example.com",
        first_name="Ann",
        last_name="Old",
        attributes={"city": "Oslo", "plan": {"deep": [1, None]}},
        tags=frozenset({"b", "Z", "é"}),
    )
    add(either_database, "bob@example.com", first_name="Bob")
    result = run(
        either_database,
        "email,first_name,last_name,tags,city\nANN@example.com,,New,a;b,Rome\nbob@example.com\n",
        tmp_path,
        now=LATER,
    )
    assert counts(result) == {"rows": 2, "updated": 2}
    assert people(either_database) == [
        (
            "ANN@example.com",
            "Ann",
            "New",
            {"city": "Rome", "plan": {"deep": [1, None]}},
            ["Z", "a", "b", "é"],
            "active",
        ),
        ("bob@example.com", "Bob", None, {}, [], "active"),
    ]
    assert days(either_database) == {"joined": 2}
    assert_counters_are_true(either_database)


def test_the_same_file_again_changes_nothing(either_database: Database, tmp_path: Path) -> None:
    text = "email,tags,city\n" + "".join(f"reader{n}@example.com,b;a,Oslo {n}\n" for n in range(50))
    assert counts(run(either_database, text, tmp_path)) == {"rows": 50, "created": 50}
    before = people(either_database)
    assert counts(run(either_database, text, tmp_path)) == {"rows": 50, "updated": 50}
    assert people(either_database) == before
    assert days(either_database) == {"joined": 50}
    assert_counters_are_true(either_database)


def test_nobody_who_left_is_revived_or_changed(either_database: Database, tmp_path: Path) -> None:
    add(either_database, "left@example.com", first_name="Left")
    add(either_database, "bounced@example.com", first_name="Bounced")
    add(either_database, "resting@example.com", first_name="Resting")
    add(either_database, "pending@example.com", first_name="Pending")
    for email, reason, until in (
        ("left@example.com", SuppressionReason.UNSUBSCRIBED, None),
        ("bounced@example.com", SuppressionReason.HARD_BOUNCE, None),
        ("erased@example.com", SuppressionReason.COMPLAINT, None),
        ("resting@example.com", SuppressionReason.SOFT_BOUNCE, LATER),
    ):
        with either_database.write() as session:
            suppress(session, who(email), reason=reason, source="x", now=NOW, until=until)
    with either_database.write() as session:
        found = session.scalars(select(Subscriber).where(Subscriber.first_name == "Pending"))
        found.one().status = SubscriberStatus.PENDING
    before = people(either_database)
    names = ("left", "bounced", "erased", "resting", "pending", "new")
    result = run(
        either_database,
        "email,first_name,tags\n" + "".join(f"{name}@example.com,Eve,x\n" for name in names),
        tmp_path,
    )
    assert counts(result) == {"rows": 6, "created": 1, "suppressed": 5}
    after = people(either_database)
    assert [one for one in after if one[0] != "new@example.com"] == before


def test_the_first_line_of_a_person_counts_and_later_ones_are_duplicates(
    either_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PAGE", 3)
    lines = ["ann", "ANN", "bob", "cid", "bob", "Ann", "dan", "ann"]
    text = "email,first_name\n" + "".join(
        f"{name}@example.com,{number}\n" for number, name in enumerate(lines)
    )
    result = run(either_database, text, tmp_path)
    assert counts(result) == {"rows": 8, "created": 4, "duplicates": 4}
    assert [(one[0], one[1]) for one in people(either_database)] == [
        ("ann@example.com", "0"),
        ("bob@example.com", "2"),
        ("cid@example.com", "3"),
        ("dan@example.com", "6"),
    ]
    assert_counters_are_true(either_database)


_BAD_LINES: dict[str, tuple[bytes, str]] = {
    "no address": (b",Ann", "the address is empty"),
    "not an address": (b"ann,Ann", "@-sign"),
    "not ASCII before the @": ("jörg@example.com,Jörg".encode(), "none of the ESPs"),
    "Latin-1 in the address": (b"j\xf6rg@example.com,x", "none of the ESPs"),
    "Latin-1 in a name": (b"ann@example.com,J\xf6rg", "not UTF-8"),
    "Latin-1 in a tag": (b"ann@example.com,,J\xf6rg", "not UTF-8"),
    "Latin-1 in an attribute": (b"ann@example.com,,,J\xf6rg", "not UTF-8"),
    "a NUL in an attribute": (b"ann@example.com,,,a\x00b", "NUL"),
    "a line break in a name": (b'ann@example.com,"A\nB"', "control characters"),
    "a long name": (b"ann@example.com," + b"x" * 201, "at most 200 characters"),
    "a tag with a comma": (b'ann@example.com,,"a,b"', "commas"),
    "a long tag": (b"ann@example.com,," + b"x" * 65, "1 to 64 characters"),
    "too many tags": (
        b"ann@example.com,," + b";".join(b"t%d" % n for n in range(51)),
        "at most 50 tags",
    ),
    "a large attribute": (b"ann@example.com,,," + b"x" * 32_001, "32000 bytes"),
    "a huge field": (b"ann@example.com,,," + b"x" * 50_000, "not CSV: field larger"),
    "more fields than the header": (b"ann@example.com,,,,more", "more fields than the header"),
    "a formula": (b"=cmd()@example.com,x", "invalid characters"),
}


@pytest.mark.parametrize("name", _BAD_LINES)
def test_a_bad_line_is_refused_with_its_reason_and_the_rest_goes_on(
    database: Database, tmp_path: Path, name: str
) -> None:
    line, reason = _BAD_LINES[name]
    result = run(
        database,
        b"email,first_name,tags,city\nbefore@example.com\n" + line + b"\nafter@example.com\n",
        tmp_path,
    )
    assert counts(result) == {"rows": 3, "created": 2, "invalid": 1}
    (refusal,) = result.refused
    assert refusal.row == 3
    assert reason in refusal.reason
    assert [one[0] for one in people(database)] == ["after@example.com", "before@example.com"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "one of them `email`"),
        (b"\n", "one of them `email`"),
        (b"ann@example.com\nbob@example.com\n", "one of them `email`"),
        (b"email;first_name\n", "separated by commas"),
        (b"email\tfirst_name\n", "separated by commas"),
        ("email,name\n".encode("utf-16"), "one of them `email`"),
        (b"email,E-Mail,EMAIL\n", "more than one column is named email"),
        (b"email,a b,a_b\n", "more than one column is named a_b"),
        (b"email,1st\n", "column '1st' cannot be an attribute"),
        (b"email,\xff\n", "cannot be an attribute"),
        (b"email," + b"x" * 65 + b"\n", "cannot be an attribute"),
        (b"email," + b",".join(b"a%d" % n for n in range(51)), "at most 50 columns"),
        (b"x" * 50_000, "not CSV"),
    ],
)
def test_a_file_without_a_clear_header_is_refused_as_a_whole(
    database: Database, tmp_path: Path, text: bytes, reason: str
) -> None:
    with pytest.raises(BadHeader, match=reason.replace("`", ".")):
        run(database, text, tmp_path)
    assert people(database) == []


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfemail,first_name\r\nann@example.com,Ann\r\n",
        b"EMAIL , First_Name\nann@example.com,Ann",
        b'"first_name","email"\n"Ann","ann@example.com"\n',
        b"first_name,email,,\nAnn,ann@example.com,,\n",
        b"email,first_name\rann@example.com,Ann\r",
    ],
    ids=["byte order mark", "spaces and case", "quoted", "nameless columns", "old Mac"],
)
def test_files_as_programs_write_them(database: Database, tmp_path: Path, text: bytes) -> None:
    assert counts(run(database, text, tmp_path)) == {"rows": 1, "created": 1}
    assert people(database) == [("ann@example.com", "Ann", None, {}, [], "active")]


def test_an_open_quote_does_not_swallow_the_file(database: Database, tmp_path: Path) -> None:
    lines = b"".join(b"reader%d@example.com,%s\n" % (n, b"x" * 40) for n in range(3000))
    result = run(database, b'email,city\nann@example.com,"Oslo\n' + lines, tmp_path)
    assert result.invalid == 1
    assert result.created > 2000


def test_refused_lines_are_kept_in_a_file_for_seven_days(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MAX_KEPT", 150)
    folder = tmp_path / "imports"
    text = "email\n=1+1\n" + "".join(f"reader{n}\n" for n in range(199))
    result = run(database, text, folder)
    assert (result.invalid, len(result.refused)) == (200, 100)
    assert result.refused_id is not None
    path = find_refusals(folder, result.refused_id, NOW)
    assert path is not None
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert (len(rows), rows[0]) == (151, ["row", "email", "reason"])
    assert rows[1] == ["2", "'=1+1", result.refused[0].reason]
    assert result.refused[1] == Refusal(3, "reader0", "An email address must have an @-sign")
    in_time = path.stat().st_mtime
    monkeypatch.setattr(refusals, "KEPT", timedelta(0))
    after = NOW.fromtimestamp(in_time + 1, NOW.tzinfo)
    assert find_refusals(folder, result.refused_id, after) is None
    run(database, "email\n", folder, now=after)
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "..", "../email.db", "x" * 22 + "/..", "x" * 22])
def test_only_an_id_finds_refusals(tmp_path: Path, name: str) -> None:
    assert find_refusals(tmp_path, name, NOW) is None


def test_an_import_that_broke_off_can_be_run_again(
    either_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PAGE", 10)
    text = "email\n" + "".join(f"reader{n}@example.com\n" for n in range(35))

    def stop(rows: int) -> None:
        if rows == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(either_database, text, tmp_path, progress=stop)
    assert len(people(either_database)) == 20
    assert_counters_are_true(either_database)
    assert counts(run(either_database, text, tmp_path)) == {
        "rows": 35,
        "created": 15,
        "updated": 20,
    }
    assert_counters_are_true(either_database)


class _Generated(io.RawIOBase):
    """A file that is made while it is read, so that none of it waits in memory."""

    def __init__(self, rows: int) -> None:
        self._lines = self._make(rows)
        self._left = b"email,first_name,tags,city\n"

    def _make(self, rows: int) -> Iterator[bytes]:
        for n in range(rows):
            yield b"reader%d@host%d.example.com,Ann%d,news;t%d,Oslo %d\n" % (n, n % 9, n, n % 5, n)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while len(self._left) < len(buffer) and (line := next(self._lines, b"")):
            self._left += line
        given, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)


def _peak(database: Database, rows: int, tmp_path: Path) -> int:
    def tidy(_rows: int) -> None:
        gc.collect()  # or the peak says when the collector last ran

    tracemalloc.start()
    try:
        stream = _Generated(rows)
        import_csv(database, stream, hash_key=HASH_KEY, now=NOW, refusals=tmp_path, progress=tidy)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_file(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PAGE", 1000)
    _peak(database, 5_000, tmp_path)  # caches fill
    small, large = _peak(database, 4_000, tmp_path), _peak(database, 20_000, tmp_path)
    kept_rows = 16_000 * 100  # what 16,000 more rows would take if they were only text
    assert large - small < kept_rows / 4


def test_a_page_takes_a_constant_number_of_statements(
    either_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PAGE", 1000)
    statements = [0]

    @event.listens_for(either_database.writer, "begin")
    def _begin(_connection: object) -> None:
        statements.append(0)

    @event.listens_for(either_database.writer, "before_cursor_execute")
    def _count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements[-1] += not statement.startswith("BEGIN")

    import_csv(either_database, _Generated(5_000), hash_key=HASH_KEY, now=NOW, refusals=tmp_path)
    per_page = [n for n in statements if n > 1]
    assert len(per_page) == 5
    assert len(set(per_page)) == 1
    assert per_page[0] <= 10


def test_two_imports_of_one_file_at_once_count_everybody_once(
    either_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PAGE", 50)
    lines = [f"reader{n}@example.com,t{n % 3}\n" for n in range(400)]
    files = ["email,tags\n" + "".join(order) for order in (lines, reversed(lines))]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda text: run(either_database, text, tmp_path), files))
    assert sum(result.created for result in results) == 400
    assert sum(result.updated for result in results) == 400
    assert len(people(either_database)) == 400
    assert days(either_database) == {"joined": 400}
    assert_counters_are_true(either_database)
