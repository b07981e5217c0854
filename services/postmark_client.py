"""The SDK's client of Postmark, over our transport: it follows nothing and shows no token."""

from io import BytesIO
from typing import Any

import requests
import urllib3
from postmarker.core import PostmarkClient
from requests.adapters import HTTPAdapter

from config.esp_config import PostmarkConfig
from services.http_transport import Transport
from services.wire import json_body


class Client(PostmarkClient):  # type: ignore[misc] # the SDK has no types
    """The SDK's client over our transport. Its own follows redirects with the token."""

    def __init__(self, config: PostmarkConfig, transport: Transport) -> None:
        # With the slash, and calls without one, a path in the base URL stays.
        root = config.base_url.rstrip("/") + "/"
        super().__init__(
            server_token=config.api_key, account_token=config.account_token, root_api_url=root
        )
        self._session = _session(transport)

    def __repr__(self) -> str:
        return "<postmarker client>"  # the SDK's shows the token

    def check_response(self, response: requests.Response) -> None:
        """The SDK's lets each 3xx pass, and fails over an error without an ErrorCode."""
        if response.status_code != 200:
            raise Refused(response)


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, response: requests.Response) -> None:
        super().__init__(response.status_code)
        self.status = response.status_code
        try:
            body = response.json()
        except (ValueError, RecursionError):
            body = None
        self.item: dict[str, Any] = body if isinstance(body, dict) else {}
        if not isinstance(self.item.get("ErrorCode"), int):
            self.item = {}
        # No id outside a 200, whatever an answer claims.
        self.item.pop("MessageID", None)


def _session(transport: Transport) -> requests.Session:
    session = _Session()
    session.trust_env = False  # no proxies and no .netrc
    session.max_redirects = 0
    session.adapters.clear()
    session.mount("http://", _Pooled(transport))
    session.mount("https://", _Pooled(transport))
    return session


class _Session(requests.Session):
    """Writes JSON as all of us do, and takes what is written already: requests' own way takes
    three times as long."""

    def request(  # type: ignore[override] # as the SDK calls it
        self, method: str, url: str, *, json: Any, headers: dict[str, str], **options: Any
    ) -> requests.Response:
        if json is not None:
            options["data"] = json if isinstance(json, bytes) else json_body(json)
            headers = {**headers, "Content-Type": "application/json"}
        return super().request(method, url, headers=headers, **options)


class _Pooled(HTTPAdapter):
    """requests' way to our transport, which has the timeouts and follows nothing."""

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        answer = self._transport.exchange(
            request.method or "", request.url or "", dict(request.headers), body
        )
        # Without the headers: they describe a body that has been read already.
        raw = urllib3.HTTPResponse(
            BytesIO(answer.body), status=answer.status, preload_content=False
        )
        response = self.build_response(request, raw)
        # Else it would be guessed, which takes long for a large answer.
        response.encoding = "utf-8"
        return response
