"""The least that could be started: an app of Flask with one page, and SQLAlchemy imported."""

import sqlalchemy.orm  # noqa: F401 - what it costs to import is what is measured
from flask import Flask

app = Flask(__name__)


@app.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}
