"""The benchmarks run to their end, and what they compare comes to the same."""

import http.client
import json
import re
import shlex
import sys
from dataclasses import replace
from itertools import count, product
from pathlib import Path

import pytest

from bench import keeping, planning, starting, stats, webhooks
from bench.campaign import matrix, peers
from bench.campaign import run as campaign
from bench.campaign.esp import running_sink
from bench.campaign.goals import A_TENTH, ONE_WORKER, WITH_LOGIC, Figures, Setting, judged
from bench.command import USUAL, asked, main
from bench.importing import bare, ours, verdicts, write_file
from config.settings import ROOT


def test_ours_and_the_peer_count_the_same_from_the_same_webhooks(tmp_path: Path) -> None:
    found = webhooks.compare(tmp_path, 2_000, {1: 3, 100: 2}, 2)
    [counted] = found["what ours and the peer counted"]
    assert counted["webhook_events"] == 2 * 2 * (3 + 200)
    assert min(counted[name] for name in ("delivered", "bounced", "opened", "clicked")) > 0
    sides = [(row["clients"], row["batch"], row["side"]) for row in found["webhooks"]]
    expected = [(c, b, s) for c in (1, 4) for b in (1, 100) for s in ("ours", "orm", "limit")]
    assert sides == expected


def test_webhooks_come_in_while_a_campaign_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MAILS_A_CALL", (100,))
    rows = webhooks.beside_a_campaign(tmp_path, 1_000)
    sides = [(row["processes"], row["ESP's ms"], row["of"]) for row in rows]
    of = ("webhook events/s", "emails/s")
    assert sides == list(product((1, 2), webhooks.LATENCIES_MS, of))
    assert all(row["alone"] and row["both"] for row in rows)


def test_an_import_and_the_limit_add_the_same_people(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    write_file(file, 300)
    assert [side(file, tmp_path / f"{side.__name__}.db") for side in (ours, bare, verdicts)] == [
        300,
        300,
        300,
    ]


def test_each_page_of_figures_is_asked_for_over_both_ledgers() -> None:
    found = stats.run(200, small=100, times=2)
    assert [row["page"] for row in found["pages"]] == list(stats.PAGES)
    assert all(row["ratio"] > 0 for row in found["pages"])


def test_the_dns_check_is_measured_against_another_and_against_silence() -> None:
    dns = pytest.importorskip("bench.dns", reason="checkdmarc is in requirements-dev.txt")
    found = dns.run(1)
    assert [row["side"] for row in found["a good domain, 50 ms a question"]] == list(dns.SIDES)
    assert found["nobody answers"][0]["unknown"] > 30


def test_what_keeping_costs_is_measured_beside_the_claim_and_the_writes() -> None:
    found = keeping.run(keeping.BATCH * keeping.CLAIMS)
    sides = [[next(iter(row.values())) for row in rows] for rows in found.values()]
    assert sides == [
        ["claim", "mark", "mark, fsync'd each time"],
        ["nothing", "cli.py backup", "VACUUM INTO, unverified"],
    ]


def test_a_plan_is_measured_against_bare_statements_that_write_as_many_rows() -> None:
    rows, goals = planning.run(300, rounds=1).values()
    assert [row["side"] for row in rows] == ["ours", *planning.BARE]
    assert [goal["goal"] for goal in goals] == ["ours >= 0.8 x bare, one statement"]


def test_a_start_is_measured_against_an_empty_app() -> None:
    rows, goals = starting.run(1).values()
    assert [row["side"] for row in rows] == [starting.OURS, starting.SANDBOX, starting.EMPTY]
    assert all(row["s"] > 0 for row in rows)
    assert len(goals) == 4


def test_a_matrix_runs_the_short_ones_and_says_what_it_left_out() -> None:
    wanted = matrix.settings(["sendgrid"], [40, 100_000], [0, 100], [2])
    looks = count()
    found = matrix.run(wanted, minutes=1.0, clock=lambda: 16.0 * next(looks))
    done, left_out = found["medians of 1"], found[matrix.left_out_title(1.0)]
    assert [(row["people"], row["ms"]) for row in done] == [(40, 0), (40, 100)]
    assert all(row["mails/s"] > 0 and row["x wire"] > 0 for row in done)
    assert [(row["people"], row["ms"], row["would take s"]) for row in left_out] == [
        (100_000, 0, 18),
        (100_000, 100, 28),
    ]


def examples(*pages: str) -> list[str]:
    """Every command of a benchmark in these documents, without what starts it."""
    found = [re.findall(EXAMPLE, (ROOT / page).read_text(), re.MULTILINE) for page in pages]
    assert all(found)
    return [arguments for page in found for arguments in page]


EXAMPLE = r"^ *(?:\./setup\.sh bench|python -m bench) ?(.*)$"


@pytest.mark.parametrize("arguments", examples("docs/performance.md", "bench/README.md"))
def test_every_example_of_the_documents_is_understood(arguments: str) -> None:
    said = asked(shlex.split(arguments) or ["campaign"])  # as setup.sh does
    assert said.bench in {"campaign", "matrix", *USUAL}


@pytest.mark.parametrize(
    "arguments", [one for one in examples("docs/performance.md") if one.startswith("campaign")]
)
def test_every_campaign_of_the_documents_runs(
    arguments: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """To a few people and without peers, or it would take a day."""
    monkeypatch.setattr(peers, "python", lambda: None)
    kept = tmp_path / "found.json"
    small = ["--people", "20", "--rounds", "1", "--json", str(kept), "--against"]
    main([*shlex.split(arguments), *small])
    [*_, (title, rows)] = json.loads(kept.read_text())["tables"].items()
    assert "20 people" in title
    assert rows[0]["side"] == "ours"
    assert title in capsys.readouterr().out.replace("\n", "")


def test_a_million_people_are_compared_with_a_tenth_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(campaign, "LARGE", 60)
    setting = Setting(esp="sendgrid", people=60, latency_ms=0, workers=2, batch=20)
    rows, goals = campaign.run(setting, rounds=1, peers_python=None, against=()).values()
    assert [row["side"] for row in rows] == ["ours", A_TENTH]
    assert [goal["goal"] for goal in goals] == [f"memory <= 1.15 x {A_TENTH}"]


def test_every_benchmark_is_in_the_readme() -> None:
    text = (ROOT / "bench" / "README.md").read_text()
    assert [name for name in ("campaign", "matrix", *USUAL) if f"| `{name}` |" not in text] == []


def test_a_run_is_shown_with_the_load_of_the_machine_and_kept_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["import", "--people", "60", "--json", str(tmp_path / "found.json")])
    kept = json.loads((tmp_path / "found.json").read_text())
    assert list(kept) == ["conditions", "asked", "tables", "conditions after"]
    assert kept["asked"] == {"bench": "import", "people": 60}
    shown = capsys.readouterr().out
    assert "load average" in shown
    assert all(title in shown for title in kept["tables"])


@pytest.mark.parametrize(
    ("path", "body", "status", "answer"),
    [
        ("/v3/mail/send", b'{"personalizations":[{"to":[1]},{"to": [2]}]}', 202, b""),
        (
            "/email/batch",
            rb'[{"To":"a@b.c"},{"To": "\"A\" <d@e.f>"}]',
            200,
            rb'[{"ErrorCode":0,"Message":"OK","MessageID":"sink1","To":"a@b.c"},'
            rb'{"ErrorCode":0,"Message":"OK","MessageID":"sink2","To":"\"A\" <d@e.f>"}]',
        ),
        (
            "/v2/email/outbound-bulk-emails",
            b'[{"Destination":1},{"Destination":2}]',
            200,
            b'{"BulkEmailEntryResults":[{"Status":"SUCCESS","MessageId":"sink1"},'
            b'{"Status":"SUCCESS","MessageId":"sink2"}]}',
        ),
    ],
)
def test_the_sink_counts_the_mails_of_each_esp_and_gives_each_an_id(
    path: str, body: bytes, status: int, answer: bytes
) -> None:
    with running_sink(sys.executable, latency_ms=1) as sink:
        connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=10)
        connection.request("POST", path, body)
        answered = connection.getresponse()
        assert (answered.status, answered.read()) == (status, answer)
        connection.close()
        counted = {"calls": 1, "messages": 2, "bytes": len(body), "connections": 1}
        assert (sink.counts(), sink.ask("GET", "/body")) == (counted, body)
        sink.reset()
        assert sink.counts() == dict.fromkeys(counted, 0)


VARIANTS = {"sendgrid": [WITH_LOGIC], "postmark": [], "ses": [ONE_WORKER]}


@pytest.mark.parametrize("esp", campaign.SIDES)
def test_each_side_sends_a_campaign_that_the_sink_and_the_ledger_count(esp: str) -> None:
    setting = Setting(esp=esp, people=100, latency_ms=5, workers=2, batch=20)
    [rows] = campaign.run(setting, rounds=1, peers_python=None).values()
    sides = [one for one in campaign.SIDES[esp] if one != "anymail"]
    assert [row["side"] for row in rows] == [*sides, *VARIANTS[esp]]
    ours, wire, floor = rows[:3]
    assert ours["connections"] <= 2
    # The wire carries what ours did; ports and ids differ by a digit or two.
    assert abs(ours["bytes/mail"] - wire["bytes/mail"]) < 10
    # So does the floor, without the spaces that stand in SES's data.
    assert abs(ours["bytes/mail"] - floor["bytes/mail"]) < (40 if esp == "ses" else 10)
    assert all(row["s"] and row["CPU µs/mail"] and row["peak MB"] > 10 for row in rows[1:])


def test_a_goal_is_judged_in_runs_of_its_kind_only() -> None:
    setting = Setting(esp="sendgrid", people=100_000, latency_ms=100, workers=8, batch=1000)
    rates = {"ours": 90.0, "wire": 100.0, "anymail": 10.0, A_TENTH: 100.0}
    sides = {name: Figures(rate=rate, cpu_us=1.0, peak_mb=rate) for name, rate in rates.items()}
    memory = (f"memory <= 1.15 x {A_TENTH}", 0.9, "yes")
    assert [tuple(row.values()) for row in judged(setting, sides)] == [
        ("ours >= 10 x anymail", 9.0, "no"),
        ("ours >= 0.85 x wire", 0.9, "yes"),
        memory,
    ]
    assert [tuple(row.values()) for row in judged(replace(setting, people=1_000_000), sides)] == [
        (f"ours >= 0.85 x {A_TENTH}", 0.9, "yes"),
        memory,
    ]
    assert judged(replace(setting, people=10_000), {"ours": sides["ours"]}) == []


def test_peers_are_installed_by_their_hashes_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = re.split(r"\n(?=\S)", peers.REQUIREMENTS.read_text())
    packages = [one for one in wanted if re.match(r"[A-Za-z0-9]", one)]
    assert len(packages) > 8
    assert all(re.search(r"==.* \\\n    --hash=sha256:", one) for one in packages)

    asked, fake = tmp_path / "asked", tmp_path / "python"
    fake.write_text(FAKE_PYTHON.format(asked=asked))
    fake.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(fake))
    folder = tmp_path / "environment"
    assert [peers.python(folder), peers.python(folder)] == [str(folder / "bin/python")] * 2
    [venv, pip] = asked.read_text().splitlines()
    assert venv == f"-m venv --clear {folder}"
    assert pip.endswith(f"--require-hashes -r {peers.REQUIREMENTS}")


FAKE_PYTHON = """#!/bin/sh
echo "$@" >> {asked}
if [ "$2" = venv ]; then mkdir -p "$4/bin" && cp "$0" "$4/bin/python"; fi
"""


def test_without_an_environment_of_its_own_a_peer_is_not_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    assert peers.python(tmp_path) is None
    (tmp_path / "installed").write_text(peers.REQUIREMENTS.read_text())
    assert peers.python(tmp_path) == str(tmp_path / "bin/python")
