"""The control listener: what the simulator took, and orders how to behave, as JSON."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Protocol

from config.esp_config import EspName
from services.simulator.dialect import is_json, parse_json
from services.simulator.http1 import Request, Response, json_response, read_body
from services.simulator.ledger import Ledger
from services.simulator.limits import AccountLimits
from services.simulator.listener import Listener
from services.simulator.modes import Behaviour
from services.simulator.pages import HEADERS, list_page, mail_page
from services.simulator.records import Mail
from services.simulator.shape import JsonObject, as_list, as_object, as_text
from services.simulator.wire import Wire, finish

MAX_PAGE = 1000
PAGE = 100
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost"})


class Controlled(Protocol):
    """What the control listener steers, in the event loop's own thread."""

    ledger: Ledger

    async def put_behaviour(self, esp: EspName, behaviour: Behaviour) -> None:
        """Raises ValueError when the ESP cannot behave so."""

    def put_limits(self, esp: EspName, limits: AccountLimits) -> None: ...

    def put_webhooks(self, order: JsonObject) -> None: ...

    def put_domains(self, domains: list[str]) -> None: ...

    def block(self, esp: EspName, provider: str, *, blocked: bool = True) -> None: ...

    async def put_back(self) -> None: ...

    def stats(self) -> JsonObject: ...


class ControlListener(Listener):
    """For people and tests. Anything that changes something needs a JSON content type.

    A web page that a person has open could otherwise reach it: no page can send that
    type, or another Host header, across origins without being asked first.
    """

    def __init__(self, port: int, controlled: Controlled) -> None:
        super().__init__(port)
        self.followed_redirects = 0
        self._controlled = controlled
        self._orders: Mapping[str, Callable[[JsonObject], Awaitable[None]]] = {
            "/behaviour": self._behave,
            "/limits": self._limit,
            "/reset": self._reset,
            "/webhooks": self._webhooks,
            "/block": self._block,
            "/domains": self._domains,
        }

    async def exchange(self, head: Request, wire: Wire) -> bool:
        body = await read_body(wire.reader, wire.writer, head)
        response = await self._respond(replace(head, body=body))
        return await finish(wire, response, Behaviour())

    async def _respond(self, request: Request) -> Response:
        if request.path == "/elsewhere":
            self.followed_redirects += 1
            return json_response(200, {})
        host = request.headers.get("host", "").rpartition(":")
        if (host[0] or host[2]) not in LOOPBACK_NAMES:
            return _problem(421, "this is not the host you asked for")
        try:
            if request.method == "POST":
                return await self._obey(request)
            if request.method == "GET":
                return self._show(request)
            return _problem(405, "GET or POST")
        except (ValueError, TypeError) as error:
            return _problem(400, str(error))

    async def _obey(self, request: Request) -> Response:
        order = self._orders.get(request.path)
        if order is None:
            return _problem(404, "no such order")
        if not is_json(request):
            return _problem(415, "Content-Type must be application/json")
        await order(as_object(parse_json(request.body or b"{}")))
        return json_response(200, {})

    async def _behave(self, order: JsonObject) -> None:
        esp = EspName(order.pop("esp", None))
        await self._controlled.put_behaviour(esp, Behaviour.from_words(order))

    async def _limit(self, order: JsonObject) -> None:
        esp = EspName(order.pop("esp", None))
        self._controlled.put_limits(esp, AccountLimits(**order))

    async def _webhooks(self, order: JsonObject) -> None:
        self._controlled.put_webhooks(order)

    async def _block(self, order: JsonObject) -> None:
        self._controlled.block(EspName(order.pop("esp", None)), order.pop("provider", ""), **order)

    async def _domains(self, order: JsonObject) -> None:
        self._controlled.put_domains([as_text(one) for one in as_list(order.get("domains"))])

    async def _reset(self, order: JsonObject) -> None:
        await self._controlled.put_back()

    def _show(self, request: Request) -> Response:
        match request.path.split("/")[1:]:
            case [""]:
                ledger = self._controlled.ledger
                return list_page(ledger.mails(limit=PAGE), ledger.accepted())
            case ["stats"]:
                return json_response(200, self._stats())
            case ["duplicates"]:
                return json_response(200, {"duplicates": self._controlled.ledger.duplicates()})
            case ["mails"]:
                return json_response(200, {"mails": self._list(request.query)})
            case ["mails", name]:
                return self._show_mail(name)
        return _problem(404, "no such page")

    def _show_mail(self, name: str) -> Response:
        is_page, number = name.endswith(".html"), name.removesuffix(".html")
        mail = self._controlled.ledger.mail(_number(number))
        if mail is None:
            return _problem(404, "no such mail")
        return mail_page(mail) if is_page else json_response(200, _plain(mail), HEADERS)

    def _list(self, query: Mapping[str, str]) -> list[JsonObject]:
        mails = self._controlled.ledger.mails(
            esp=EspName(query["esp"]) if query.get("esp") else None,
            to=query.get("to"),
            before=_number(query["before"]) if query.get("before") else None,
            limit=min(_number(query.get("limit", str(PAGE))), MAX_PAGE),
        )
        return [_without_bodies(mail) for mail in mails]

    def _stats(self) -> JsonObject:
        return {**self._controlled.stats(), "followed_redirects": self.followed_redirects}


def _problem(status: int, text: str) -> Response:
    return json_response(status, {"error": text})


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise ValueError(f"{text[:20]!r} is not a number")
    return int(text)


def _plain(mail: Mail) -> JsonObject:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(mail).items()
    }


def _without_bodies(mail: Mail) -> dict[str, Any]:
    return {name: value for name, value in _plain(mail).items() if name not in ("html", "text")}
