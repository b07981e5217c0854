"""Whole files of people."""

import io
from pathlib import Path
from typing import IO, Any

from flask import Response, request, send_file
from flask_openapi.blueprint import APIBlueprint
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import LimitedStream

from api.errors import Problem
from api.json_body import refuse_encoding
from api.schemas import Answer, ProblemAnswer, Query
from api.schemas import Path as PathModel
from api.system import the_system
from config.settings import ROOT
from list_manager import BadHeader, ImportResult, find_refusals, import_csv
from utils.intake import refusals

api = APIBlueprint("imports", __name__)

MAX_BYTES = 1_000_000_000
CUT_OFF = (
    "The body ended before its Content-Length. What came before is imported as far as it was "
    "read; send the whole file again, which changes nothing twice."
)
_BODY = {
    "description": "UTF-8, the first line names the columns: `email`, and of choice `first_name`, "
    "`last_name`, `tags` (separated by `;`); any other column becomes an attribute.",
    "required": True,
    "content": {
        "text/csv": {
            "schema": {"type": "string"},
            "example": "email,first_name,tags,city\nann@example.com,Ann,news;vip,Oslo\n",
        }
    },
}


class RefusedRow(Answer):
    row: int
    """As a spreadsheet counts: the header is row 1."""
    email: str
    reason: str


class ImportAnswer(Answer):
    """`rows` = created + updated + suppressed + duplicates + invalid."""

    rows: int
    created: int
    updated: int
    suppressed: int
    duplicates: int
    invalid: int
    refused: list[RefusedRow]
    refused_url: str | None


class ImportQuery(Query):
    allow_role: bool = False
    allow_disposable: bool = False


class RefusedPath(PathModel):
    name: str


@api.post(
    "/subscribers/import",
    request_body=_BODY,
    responses={200: ImportAnswer, 400: ProblemAnswer, 415: ProblemAnswer, 422: ProblemAnswer},
)
def import_subscribers(query: ImportQuery) -> dict[str, Any]:
    """Add or update everybody in a CSV file, streamed.

    People who left, bounced or complained stay as they are and are counted as
    `suppressed`. `refused` shows the first 100 lines that name nobody; the file at
    `refused_url` has all of them for seven days. Role addresses (`support@`) and mailboxes
    that are thrown away are refused, unless the query allows them; `abuse@` and its like
    always are. An import that broke off can be sent again.
    """
    _check_type()
    request.max_content_length = MAX_BYTES
    system = the_system()
    try:
        result = import_csv(
            system.database,
            _whole(),
            hash_key=system.hash_key,
            now=system.clock(),
            refusals=_folder(),
            refuse=refusals(roles=query.allow_role, disposable=query.allow_disposable),
        )
    except BadHeader as error:
        raise Problem("invalid", f"{error}.") from error
    except ClientDisconnected as error:
        raise Problem("bad-request", CUT_OFF) from error
    return _answer(result).model_dump(mode="json")


@api.get("/subscribers/import/<name>/refused", responses={404: ProblemAnswer})
def refused(path: RefusedPath) -> Response:
    """The lines that an import refused, as CSV: row, email, reason."""
    found = find_refusals(_folder(), path.name, the_system().clock())
    if found is None:
        raise Problem("not-found", "There is no such list of refusals; they are kept for 7 days.")
    return send_file(found, "text/csv", as_attachment=True, download_name="refused.csv")


def _check_type() -> None:
    refuse_encoding(request)
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != "text/csv" or charset not in ("utf-8", "utf8", "us-ascii"):
        raise Problem(
            "unsupported-media-type", "Send CSV in UTF-8, with the header Content-Type: text/csv."
        )


def _whole() -> IO[bytes] | io.RawIOBase:
    """The body; where it ends before its time, reading it fails instead of ending, since the
    last line may be half of an address that is somebody else's."""
    length = request.content_length
    return request.stream if length is None else LimitedStream(request.stream, length)


def _folder() -> Path:
    """Beside the database, or beside where one would be."""
    path = the_system().database.path
    return (path.resolve().parent if path else ROOT / "data") / "imports"


def _answer(result: ImportResult) -> ImportAnswer:
    return ImportAnswer(
        rows=result.rows,
        created=result.created,
        updated=result.updated,
        suppressed=result.suppressed,
        duplicates=result.duplicates,
        invalid=result.invalid,
        refused=[
            RefusedRow(row=one.row, email=_printable(one.email), reason=one.reason)
            for one in result.refused
        ],
        refused_url=result.refused_id and f"/subscribers/import/{result.refused_id}/refused",
    )


def _printable(text: str) -> str:
    """As it stood in the file, cut; bytes that were not UTF-8 show as question marks."""
    return text[:400].encode("utf-8", "replace").decode()
