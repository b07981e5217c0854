"""Webhooks of SendGrid into a ledger: ours, a view per event with the ORM, and the limit."""

import http.client
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain, cycle, product
from json import dumps, loads
from pathlib import Path
from queue import Empty, SimpleQueue

from bench.ledgers import build
from bench.servers import Server, free_port, ours, peer, running
from bench.tables import Row, Tables, milliseconds
from bench.traffic import Call, Traffic
from config.settings import ROOT

PATH = "/engagement-webhook/sendgrid"
CALLS = {1: 100, 100: 20, 1000: 6}
"""Calls a round, by events in a call."""
ROUNDS = 3
CLIENTS = (1, 4)
LATENCIES_MS = (0, 100)
MAILS_A_CALL = (100, 1000)
OURS, ORM, LIMIT = "ours", "orm", "limit"


def run(people: int) -> Tables:
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(folder), people, CALLS, ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        return found | {"while a campaign sends": beside_a_campaign(Path(folder), people // 5)}


def compare(folder: Path, people: int, calls: Mapping[int, int], rounds: int) -> Tables:
    """The same calls to each side, in turns; `AssertionError` when they end with other counters."""
    with sides(folder, people) as (traffic, servers):
        rows = [
            row
            for clients in CLIENTS
            for size, n in calls.items()
            for row in _measure(traffic, servers, clients, size, n, rounds)
        ]
    ended = [counters(folder / f"{side}.db") for side in (OURS, ORM)]
    assert ended[0] == ended[1], ended
    figures = {name: n for name, n in ended[0].items() if isinstance(n, int)}
    return {"webhooks": rows, "what ours and the peer counted": [figures]}


@contextmanager
def sides(folder: Path, people: int) -> Iterator[tuple[Traffic, dict[str, Server]]]:
    """A server of each side, each on its own copy of one ledger."""
    key = build(folder / f"{OURS}.db", people=people)
    for side in (ORM, LIMIT):
        shutil.copy(folder / f"{OURS}.db", folder / f"{side}.db")
    traffic = Traffic(key, people)
    orm = f"bench.orm_webhook_view:create_app('{folder / 'orm.db'}', '{traffic.public_key}', '{key.hex()}')"
    limit = f"bench.bare_webhook_view:create_app('{folder / 'limit.db'}', '{traffic.public_key}')"
    with ExitStack() as stack:
        port = free_port()
        servers = {
            OURS: stack.enter_context(
                running(*ours(folder / f"{OURS}.db", traffic.public_key, port), port)
            )
        }
        for side, app in ((ORM, orm), (LIMIT, limit)):
            port = free_port()
            servers[side] = stack.enter_context(running(*peer(app, port), port))
        yield traffic, servers


def _measure(
    traffic: Traffic, servers: dict[str, Server], clients: int, size: int, n: int, rounds: int
) -> list[Row]:
    sums = {side: [0.0, 0.0] for side in servers}
    latencies: dict[str, list[float]] = {side: [] for side in servers}
    for _ in range(rounds):
        calls = traffic.calls(n, size)
        for side, server in servers.items():
            cpu, begin = server.cpu_s(), time.perf_counter()
            latencies[side] += send(server, calls, clients)
            sums[side][0] += time.perf_counter() - begin
            sums[side][1] += server.cpu_s() - cpu
    events = rounds * n * size
    wall, cpu = sums[ORM]
    return [
        {
            "clients": clients,
            "batch": size,
            "side": side,
            "calls": rounds * n,
            "events/s": round(events / sums[side][0]),
            **milliseconds(latencies[side]),
            "CPU s": round(sums[side][1], 2),
            "events/CPU s": round(events / max(sums[side][1], 0.01)),
            "x peer": round(wall / sums[side][0], 1),
            "x peer, CPU": round(cpu / max(sums[side][1], 0.01), 1),
        }
        for side in servers
    ]


def send(server: Server, calls: Sequence[Call], clients: int) -> list[float]:
    """Make all the calls; seconds of each. `AssertionError` at the first that is not a 200."""
    waiting: SimpleQueue[Call] = SimpleQueue()
    for call in calls:
        waiting.put(call)
    with ThreadPoolExecutor(clients) as pool:
        return list(chain(*pool.map(lambda _: list(_client(server, waiting)), range(clients))))


def _client(server: Server, waiting: SimpleQueue[Call]) -> Iterator[float]:
    """One connection, kept alive."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    while True:
        try:
            call = waiting.get_nowait()
        except Empty:
            connection.close()
            return
        begin = time.perf_counter()
        connection.request("POST", PATH, call.body, call.headers)
        answer = connection.getresponse()
        said = answer.read()
        yield time.perf_counter() - begin
        assert answer.status == 200, said


_COUNTED = {
    "engagement_counts": "tier, n",
    "subscriber_days": "kind, n",
    "campaign_tallies": "kind, key, n",
    "esp_performance": "mailbox_provider, round(failures / successes, 4), window_blocks",
}


def counters(path: Path) -> Row:
    """What must be the same whoever recorded the events."""
    with sqlite3.connect(path) as raw:
        names = ("delivered", "bounced", "complained", "opened", "clicked", "unsubscribed")
        campaign = raw.execute(f"SELECT {', '.join(names)} FROM campaigns WHERE id = 1").fetchone()
        found: Row = dict(zip(names, campaign, strict=True))
        for table in ("webhook_events", "bounces", "complaints", "suppressions"):
            [found[table]] = raw.execute(f"SELECT count(*) FROM {table}").fetchone()
        found["left"] = dict(
            raw.execute("SELECT status, n FROM subscriber_counts WHERE n AND status <> 'active'")
        )
        for table, columns in _COUNTED.items():
            found[table] = raw.execute(
                f"SELECT {columns} FROM {table} ORDER BY {columns}"
            ).fetchall()
        found["interest"] = [
            round(one, 3)
            for one in raw.execute(
                "SELECT sum(interest), sum(interest_mails) FROM subscribers"
            ).fetchone()
        ]
        found["days"] = raw.execute(
            "SELECT sum(delivered), sum(bounced), sum(complained) FROM esp_performance_days"
        ).fetchone()
    raw.close()
    return found


def beside_a_campaign(folder: Path, people: int, size: int = 100) -> list[Row]:
    """Webhooks and a campaign to everybody, each alone and then both into one database: by one
    process, whose threads share one core, and by two; at an ESP that answers at once or as ESPs
    do; with as many mails a call as shipped, and as many as SendGrid takes."""
    rows = []
    for processes, latency_ms, mails in product((1, 2), LATENCIES_MS, MAILS_A_CALL):
        path = folder / f"{processes}-{latency_ms}-{mails}.db"
        traffic = Traffic(build(path, people=people), people)
        with ExitStack() as stack:
            url = stack.enter_context(sink(latency_ms))
            ports = [free_port() for _ in range(processes)]
            servers = [
                stack.enter_context(
                    running(*ours(path, traffic.public_key, port, url, mails), port)
                )
                for port in ports
            ]
            kept = _beside(servers, traffic, people, size)
            said = {"processes": processes, "ESP's ms": latency_ms, "mails a call": mails}
            rows += [{**said, **row} for row in kept]
    return rows


def _beside(servers: Sequence[Server], traffic: Traffic, people: int, size: int) -> list[Row]:
    """The first of the servers sends, the last takes the webhooks."""
    sender, taker = servers[0], servers[-1]
    _campaign(sender, "warm-up", people)
    calls = traffic.calls(traffic.left // size // 3, size)
    begin = time.perf_counter()
    send(taker, calls, 2)
    alone = len(calls) * size / (time.perf_counter() - begin)
    emails_alone = _campaign(sender, "alone", people)
    with ThreadPoolExecutor() as pool:
        campaign = pool.submit(_campaign, sender, "both", people)
        events = _until(campaign, taker, traffic, size)
    both = campaign.result()
    return [
        {
            "of": of,
            "alone": round(before),
            "both": round(after),
            "kept": round(after / before, 2),
        }
        for of, before, after in (
            ("webhook events/s", alone, events),
            ("emails/s", emails_alone, both),
        )
    ]


def _until(campaign: Future[float], server: Server, traffic: Traffic, size: int) -> float:
    """Events a second while the campaign runs; told again once all were told."""
    calls = cycle(traffic.calls(traffic.left // size, size))
    begin, n = time.perf_counter(), 0
    while not campaign.done():
        send(server, [next(calls) for _ in range(4)], 2)
        n += 4
    return n * size / (time.perf_counter() - begin)


def _campaign(server: Server, subject: str, people: int) -> float:
    """Send it to everybody and wait; emails a second."""
    said = {
        "subject": subject,
        "html": "<p><a href='{{ unsubscribe_url }}'>Leave</a></p>",
        "esp": "sendgrid",
    }
    headers = {"Content-Type": "application/json", "Prefer": "wait=60", "Idempotency-Key": subject}
    begin = time.perf_counter()
    status = 202
    while status in (202, 409):
        status, answer = server.call("POST", "/send-campaign", dumps(said).encode(), headers)
    told = loads(answer)
    assert (status, told["status"]) == (200, "sent"), answer
    return float(told["counts"]["accepted"] / (time.perf_counter() - begin))


@contextmanager
def sink(latency_ms: int) -> Iterator[str]:
    """The ESP as a process of its own; its address."""
    command = [sys.executable, "-m", "bench.sink", "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[1]
        finally:
            process.terminate()
