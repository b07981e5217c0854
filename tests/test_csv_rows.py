"""Any bytes as a CSV file: people that can be stored, lines refused with a reason, or a bad header."""

import csv
import io
import json
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from lists import fields
from lists.csv_rows import BadHeader, Refusal, Row, read_rows
from utils.addresses import normalise

_CELLS = st.lists(
    st.sampled_from(
        [
            *(
                "ann@example.com",
                "Bob@EXAMPLE.org",
                "'=1@example.com",
                "nobody",
                "abuse@example.com",
            ),
            *(
                '"',
                '""',
                "'",
                "=1+1",
                "a;b",
                ";;",
                "\0",
                "\r",
                "\n",
                "\x1b",
                "\x85",
                "\ufeff",
                "x" * 300,
            ),
        ]
    )
    | st.text(max_size=5),
    max_size=3,
).map("".join)
_HEADERS = st.sampled_from(
    [
        "email",
        "email,first_name,last_name,tags,city",
        "city,EMAIL,Favourite colour",
        "email,,x",
        "a",
    ]
)
_LINES = st.lists(st.lists(_CELLS, min_size=1, max_size=6), max_size=6)


def check(raw: bytes) -> list[Row | Refusal]:
    """Read it, and hold each row against what the database and templates take."""
    with read_rows(io.BytesIO(raw)) as rows:
        found = list(rows)
    for row in found:
        if isinstance(row, Refusal):
            assert row.row >= 2
            assert row.reason
            continue
        key, email, first, last, attributes, tags, _ = row
        assert (normalise(email).key, normalise(email).email) == (key, email)
        for name in (first, last):
            assert name is None or fields.clean_name(name) == name != ""
        said = json.loads(attributes)
        assert fields.clean_attributes(said) == said
        assert "\0" not in "".join(said.values())
        assert fields.clean_tags(json.loads(tags)) == json.loads(tags)
        json.dumps(row, ensure_ascii=False).encode()
    return found


@settings(max_examples=400, deadline=None)
@given(
    header=st.sampled_from([b"", b"email\n", b"email,tags,a\n", b"\xef\xbb\xbfemail,a\r\n"]),
    raw=st.binary(max_size=200),
)
def test_any_bytes_are_read_to_their_end(header: bytes, raw: bytes) -> None:
    with suppress(BadHeader):
        check(header + raw)


@settings(max_examples=400, deadline=None)
@given(header=_HEADERS, lines=_LINES)
def test_any_cells_that_were_written_as_csv_are_one_row_each(
    header: str, lines: list[list[str]]
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(lines)
    raw = f"{header}\r\n{text.getvalue()}".encode("utf-8", "surrogatepass")
    try:
        found = check(raw)
    except BadHeader:
        assert header == "a"
        return
    assert len(found) <= len(lines)
