"""The app's own description: /openapi.json, and /docs, a page that needs no internet."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, send_from_directory
from flask_openapi.openapi import OpenAPI
from pydantic import ValidationError

from api.auth import PUBLIC_RULES
from api.errors import PROBLEMS, request_id, validation_problem
from api.json_body import ApiRequest
from api.schemas import ProblemAnswer

VERSION = "1.0.0"
_KINDS = "\n".join(
    f"- `/problems/{kind}` ({status}): {title}" for kind, (status, title) in PROBLEMS.items()
)
_DESCRIPTION = f"""Campaigns through SendGrid, Amazon SES and Postmark, each mail at most once.

Calls need `Authorization: Bearer <API_KEY>`; with a key that may do less, others are a 403. Errors
are `application/problem+json` (RFC 9457); `type` is one of:

{_KINDS}
"""
_PROBLEM = {
    "application/problem+json": {
        "schema": {"$ref": f"#/components/schemas/{ProblemAnswer.__name__}"}
    }
}


class Api(OpenAPI):
    """The Flask app: strict JSON in, documented answers out."""

    request_class = ApiRequest

    def __init__(self, name: str) -> None:
        super().__init__(
            name,
            info={"title": "Email delivery", "version": VERSION, "description": _DESCRIPTION},
            security_schemes={"key": {"type": "http", "scheme": "bearer"}},
            validation_error_model=ProblemAnswer,
            validation_error_callback=_refuse,
            doc_ui=False,
            static_folder=None,
        )
        self.openapi_version = "3.1.0"

    def generate_spec_json(self) -> None:
        super().generate_spec_json()  # type: ignore[no-untyped-call] # theirs has no types
        for path, operations in self.spec_json["paths"].items():
            public = path.replace("{", "<").replace("}", ">") in PUBLIC_RULES
            for operation in operations.values():
                _describe_errors(operation["responses"])
                if not public:
                    operation["security"] = [{"key": []}]

    def log_exception(self, exc_info: Any) -> None:
        self.logger.error("request %s failed", request_id(), exc_info=exc_info)


def _describe_errors(responses: dict[str, Any]) -> None:
    """Every error has the one shape; `default` stands for those that a call does not name."""
    responses["default"] = {"description": "An error, with what to do about it"}
    for status, response in responses.items():
        if status == "default" or status[0] in "45":
            response["content"] = _PROBLEM


def _refuse(error: ValidationError) -> Response:
    raise validation_problem(error)


docs = Blueprint("docs", __name__)

_SWAGGER = find_spec("flask_openapi_swagger")
_FILES = Path(str(_SWAGGER and _SWAGGER.origin)).parent / "templates" / "swagger"
_START = """window.onload = () => SwaggerUIBundle({
  url: "openapi.json", dom_id: "#page", deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout"
});
"""
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Email delivery: the calls</title>
<link rel="icon" href="docs/images/swagger.svg">
<link rel="stylesheet" href="docs/css/swagger-ui.css">
<div id="page"></div>
<script src="docs/js/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
# The page's script builds elements with style attributes; its own scripts are files.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@docs.get("/openapi.json")
def description() -> Response:
    app = current_app
    assert isinstance(app, Api)
    return jsonify(app.api_doc)


@docs.get("/docs")
def page() -> Response:
    return Response(_PAGE, mimetype="text/html", headers={"Content-Security-Policy": _POLICY})


@docs.get("/docs/<path:name>")
def file(name: str) -> Response:
    if name == "start.js":
        return Response(_START, mimetype="text/javascript")
    return send_from_directory(_FILES, name, max_age=3600)
