"""`setup.sh`, the real script, in a project of its own with a Python and a pip that act.

What a clean clone with real packages does is tried by `.ci/run`.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from config.settings import ROOT, load_settings

TOOLS = [
    *("awk", "bash", "cat", "chmod", "cksum", "cmp", "cp", "dirname", "getconf", "grep", "ls"),
    *("mkdir", "mv", "rm", "sed", "sh", "tail", "tee", "touch"),
]

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason="setup.sh needs bash and the usual tools"
)

# Stands for the system's Python and for .venv/bin/python; what it is asked for beyond the
# standard library is noted in `calls` and acted.
PYTHON = f"""#!/bin/sh
case "$*" in
  "-c import ensurepip, venv" | "-c import pip") exit "${{WITHOUT_ENSUREPIP:-0}}" ;;
  "-m venv"*) echo venv >>calls && mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-m pip"*) echo pip >>calls && . ./installer ;;
  "-m compileall"*) ;;
  "-m pytest"* | "-m bench"* | "cli.py demo") printf "${{FAULT_TIER:+tier $FAULT_TIER: }}" && printf '%s|' "$@" ;;
  "cli.py init") echo init >>calls && touch data/email.db && exit "${{INIT_CODE:-0}}" ;;
  *) exec {sys.executable} "$@" ;;
esac
"""
UV = """#!/bin/sh
echo "uv $1" >>calls
case "$1" in
  venv) mkdir -p .venv/bin && cp "$4" .venv/bin/python ;;
  pip) . ./installer ;;
esac
"""
OLD_PYTHON = '#!/bin/sh\n[ "$*" = -V ] && echo Python 3.9.2 || exit 1\n'
DF = "#!/bin/sh\necho Filesystem\necho /dev/disk 1 1 ${FREE_KB:-1000000} 1% /\n"
INSTALLS = "echo Collecting flask\necho Installing collected packages: flask\n"
VERSION = f"Python {sys.version.split()[0]}"


class Project:
    """A folder that holds what `setup.sh` needs, and a PATH that holds nothing else."""

    def __init__(self, root: Path) -> None:
        self.root = root / "a project"
        self.bin = root / "bin"
        self.bin.mkdir()
        (self.root / "database/migrations/versions").mkdir(parents=True)
        (self.root / "database/migrations/versions/0001.py").touch()
        for name in ("setup.sh", ".env.example"):
            shutil.copy(ROOT / name, self.root / name)
        (self.root / "requirements.txt").write_text("flask==3\n")
        self.installer(INSTALLS)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        self.program("df", DF)
        self.program("python3.11", PYTHON)

    def program(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def installer(self, script: str) -> None:
        """What pip or uv does when it installs."""
        (self.root / "installer").write_text(script)

    def start(self, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self.root / "setup.sh", *arguments],
            cwd="/",
            env={"PATH": str(self.bin), "PYTHONDONTWRITEBYTECODE": "1", **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell that runs the tests in the background has them ignore Ctrl-C, and what
            # is ignored at its start a shell cannot trap.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments: str, **environ: str) -> tuple[int, list[str], str]:
        process = self.start(*arguments, **environ)
        out, error = process.communicate(timeout=30)
        return process.returncode, out.splitlines(), error

    def calls(self) -> list[str]:
        """What Python and uv were asked for since the last time."""
        calls = self.root / "calls"
        said = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return said

    @property
    def env(self) -> Path:
        return self.root / ".env"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


NEXT = "Try ./setup.sh demo, or start the server: python3 app.py"
NOTHING_TO_DO = (0, ["Nothing to do: everything is set up.", NEXT], "")
PIP_LINE = "Installing the packages of requirements.txt with pip, which takes half a minute"
CORES = os.sysconf("SC_NPROCESSORS_ONLN")
UV_LINE = "Installing the packages of requirements.txt with uv"
ENV_LINE = "Writing .env: sandbox mode, random API_KEY and SECRET_KEY"


def test_first_run_does_all_and_the_second_nothing(project: Project) -> None:
    created = f"Creating .venv with {VERSION} ({project.bin}/python3.11)"
    lines = [created, PIP_LINE, ". unpacking", ENV_LINE, "Preparing the database", NEXT]
    assert project.run() == (0, lines, "")
    assert project.calls() == ["venv", "pip", "init"]
    assert project.run() == NOTHING_TO_DO
    assert project.calls() == []


def test_uv_is_used_where_there_is_one(project: Project) -> None:
    project.program("uv", UV)
    created = f"Creating .venv with {VERSION} ({project.bin}/python3.11)"
    # uv does without the parts that Debian leaves out of its Python.
    code, lines, error = project.run(WITHOUT_ENSUREPIP="1")
    assert (code, lines[:2], error) == (0, [created, UV_LINE], "")
    assert project.calls() == ["uv venv", "uv pip", "init"]
    assert project.run() == NOTHING_TO_DO


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["demo"], "cli.py|demo|"),
        (["test"], "-m|pytest|"),
        (["test", "-k", "a b"], "-m|pytest|-k|a b|"),
        (["test", "--long"], f"tier long: -m|pytest|tests/faults|-n|{CORES + 1}|--dist|worksteal|"),
        (["test", "--long", "-k", "a b"], "tier long: -m|pytest|-k|a b|"),
        (["bench"], "-m|bench|campaign|"),
        (["bench", "campaign", "--esp", "ses"], "-m|bench|campaign|--esp|ses|"),
    ],
)
def test_what_comes_after_set_up(project: Project, arguments: list[str], passed: str) -> None:
    project.run()
    assert project.run(*arguments) == (0, [passed], "")


def test_unknown_arguments_show_the_usage(project: Project) -> None:
    code, lines, error = project.run("install")
    assert (code, lines, project.calls()) == (2, [], [])
    assert [line.split("  ")[0] for line in error.splitlines()] == [
        "./setup.sh",
        "./setup.sh demo",
        "./setup.sh test [arguments]",
        "./setup.sh test --long [...]",
        "./setup.sh bench [arguments]",
    ]


def remove_python(project: Project) -> None:
    (project.bin / "python3.11").unlink()


def only_old_python(project: Project) -> None:
    remove_python(project)
    project.program("python3", OLD_PYTHON)


def installer(script: str) -> Callable[[Project], None]:
    return lambda project: project.installer(f"{script}\nexit 1\n")


NO_NETWORK = (
    "the package registry does not answer: check the network or the proxy; see data/setup.log"
)
FULL = "the disk is full: free some space (here, in TMPDIR, in ~/.cache), then run ./setup.sh again"


@pytest.mark.parametrize(
    ("arrange", "environ", "expected"),
    [
        (remove_python, {}, "Python 3.11 or newer is needed, and python3 is not installed"),
        (only_old_python, {}, "Python 3.11 or newer is needed, and python3 is Python 3.9.2"),
        (
            None,
            {"WITHOUT_ENSUREPIP": "1"},
            "{bin}/python3.11 cannot make environments;"
            " on Debian or Ubuntu: apt install python3-venv",
        ),
        (
            None,
            {"FREE_KB": "307200"},
            "the disk is full: 300 MB are free here, 400 MB are needed",
        ),
        (installer("echo 'ERROR: [Errno 28] No space left on device'"), {}, FULL),
        (installer("echo 'Caused by: failed to write (os error 28)'"), {}, FULL),
        (
            installer(
                "echo 'WARNING: Retrying after connection broken by NewConnectionError'\n"
                "echo 'ERROR: No matching distribution found for flask==3'"
            ),
            {},
            NO_NETWORK,
        ),
        (installer("echo 'error: Request failed: dns error' >&2"), {}, NO_NETWORK),
        (
            installer("echo 'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES'"),
            {},
            "a package is not the one that requirements.txt names by its hash; see data/setup.log",
        ),
        (
            installer("echo 'ERROR: something else'"),
            {},
            "'python' failed: ERROR: something else (all of it: data/setup.log)",
        ),
        (None, {"INIT_CODE": "1"}, "the database could not be prepared"),
    ],
)
def test_failure_is_one_line_and_the_next_run_goes_on(
    project: Project,
    arrange: Callable[[Project], None] | None,
    environ: dict[str, str],
    expected: str,
) -> None:
    if arrange:
        arrange(project)
    code, _, error = project.run(**environ)
    assert (code, error) == (1, f"setup.sh: {expected.format(bin=project.bin)}\n")

    project.program("python3.11", PYTHON)
    project.installer(INSTALLS)
    assert project.run()[::2] == (0, "")
    assert project.run() == NOTHING_TO_DO


def test_interrupted_half_way(project: Project) -> None:
    os.mkfifo(project.root / "reached")
    project.installer("echo >reached\nread never <reached\n")
    process = project.start()
    (project.root / "reached").read_text()
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30)[1] == (
        "setup.sh: interrupted; run ./setup.sh again to go on\n"
    )
    assert process.returncode == 1
    project.calls()

    project.installer(INSTALLS)
    assert project.run()[::2] == (0, "")
    assert project.calls() == ["pip", "init"]


def test_two_at_once_take_turns(project: Project) -> None:
    os.mkfifo(project.root / "reached")
    os.mkfifo(project.root / "go")
    project.installer("echo >reached\nread go <go\n")
    first = project.start()
    (project.root / "reached").read_text()
    second = project.start()
    assert second.stdout is not None
    assert second.stdout.readline() == "Waiting for another ./setup.sh to finish\n"
    (project.root / "go").write_text("go\n")
    assert [first.communicate(timeout=30)[1], first.returncode] == ["", 0]
    assert second.communicate(timeout=30) == ("\n".join([*NOTHING_TO_DO[1], ""]), "")
    assert project.calls() == ["venv", "pip", "init"]


def change_requirements(project: Project) -> None:
    (project.root / "requirements.txt").write_text("flask==4\n")


def break_python(project: Project) -> None:
    python = project.root / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/no/such/python")


def upgrade_python(project: Project) -> None:
    installed = project.root / ".venv/installed"
    installed.write_text(installed.read_text().replace(VERSION, "Python 3.11.0"))


def add_migration(project: Project) -> None:
    (project.root / "database/migrations/versions/0002.py").write_text("new\n")


def lose_database(project: Project) -> None:
    (project.root / "data/email.db").unlink()


def change_settings(project: Project) -> None:
    project.env.write_text(project.env.read_text().replace("PORT=5000", "PORT=5001"))


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        (change_requirements, ["pip", "init"]),
        (break_python, ["venv", "pip", "init"]),
        (upgrade_python, ["pip"]),
        (add_migration, ["init"]),
        (lose_database, ["init"]),
        (change_settings, ["init"]),
    ],
)
def test_what_changed_is_done_again(
    project: Project, change: Callable[[Project], None], redone: list[str]
) -> None:
    project.run()
    project.calls()
    change(project)
    assert project.run()[::2] == (0, "")
    assert project.calls() == redone
    assert project.run() == NOTHING_TO_DO


def test_env_is_private_random_and_enough_to_start(project: Project, tmp_path: Path) -> None:
    project.run()
    other = tmp_path / "other"
    other.mkdir()
    second = Project(other)
    second.run()
    assert project.env.stat().st_mode & 0o777 == 0o600

    ours, theirs = load_settings({}, project.env), load_settings({}, second.env)
    assert {ours.api_key, *ours.secret_keys}.isdisjoint({theirs.api_key, *theirs.secret_keys})
    keys = {"API_KEY": ours.api_key, "SECRET_KEY": ours.secret_keys[0]}
    assert ours == load_settings(keys, ROOT / ".env.example")


def test_env_that_is_there_is_kept_and_made_private(project: Project) -> None:
    project.env.write_text("API_KEY=mine\nSECRET_KEY=mine too\n")
    project.env.chmod(0o644)
    code, lines, error = project.run()
    assert (code, error) == (0, "")
    assert "Others could read .env: changed its mode to 600" in lines
    assert project.env.read_text() == "API_KEY=mine\nSECRET_KEY=mine too\n"
    assert project.env.stat().st_mode & 0o777 == 0o600
    assert project.run() == NOTHING_TO_DO


def test_env_copied_by_hand_gets_the_keys_it_lacks(project: Project) -> None:
    shutil.copy(ROOT / ".env.example", project.env)
    code, lines, error = project.run()
    assert (code, error) == (0, "")
    assert "Writing a random key into .env where it had none" in lines
    assert len(load_settings({}, project.env).secret_keys[0]) == 43
    assert project.env.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("url", "looked_at_again"),
    [
        ("sqlite:///data/email.db", []),
        ("sqlite:///data/other.db", ["init"]),
        ("postgresql://localhost/email", ["init"]),
    ],
)
def test_database_that_is_no_file_is_looked_at_each_time(
    project: Project, url: str, looked_at_again: list[str]
) -> None:
    project.run(DATABASE_URL=url)
    project.calls()
    project.run(DATABASE_URL=url)
    assert project.calls() == looked_at_again
