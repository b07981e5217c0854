"""Started with another Python, a program goes on in its own environment or says how."""

import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import ROOT

PROGRAM = """
import sys
sys.path.insert(0, {root!r})
{change}
from utils.environment import ensure_environment
from pathlib import Path
ensure_environment(Path({own_root!r}))
print("started", sys.argv[1:])
"""
OLD = "sys.hexversion, sys.version_info = 0x03080000, (3, 8, 1)"
HINT = "run ./setup.sh first\n"


def run(tmp_path: Path, *, flags: tuple[str, ...] = (), change: str = "") -> tuple[int, str, str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(root=str(ROOT), own_root=str(tmp_path), change=change))
    done = subprocess.run(
        [sys.executable, *flags, str(program), "an argument"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def own_python(tmp_path: Path, script: str) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(script)
    python.chmod(0o755)


def test_with_the_packages_at_hand_it_goes_on(tmp_path: Path) -> None:
    own_python(tmp_path, "#!/bin/sh\nexit 9\n")
    assert run(tmp_path) == (0, "started ['an argument']\n", "")


# -S: the packages of this environment are not seen.
@pytest.mark.parametrize(("flags", "change"), [(("-S", "-u"), ""), ((), OLD)])
def test_it_changes_to_its_own_python(tmp_path: Path, flags: tuple[str, ...], change: str) -> None:
    own_python(tmp_path, '#!/bin/sh\nprintf "%s|" "$@"\n')
    given = [*flags, str(tmp_path / "program.py"), "an argument"]
    out = "".join(f"{argument}|" for argument in ("-X", "own-environment", *given))
    assert run(tmp_path, flags=flags, change=change) == (0, out, "")


@pytest.mark.parametrize(
    ("flags", "change", "complaint"),
    [
        (
            ("-S",),
            "",
            "packages are missing"
            " (flask, flask_openapi, sqlalchemy, alembic, gunicorn, dotenv, boto3)",
        ),
        ((), OLD, "Python 3.11 or newer is needed, and this is 3.8"),
    ],
)
def test_without_one_it_says_what_to_run(
    tmp_path: Path, flags: tuple[str, ...], change: str, complaint: str
) -> None:
    assert run(tmp_path, flags=flags, change=change) == (1, "", f"{complaint}: {HINT}")


def test_a_broken_environment_is_no_endless_loop(tmp_path: Path) -> None:
    own_python(tmp_path, f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    code, out, error = run(tmp_path, flags=("-S",))
    assert (code, out) == (1, "")
    assert error.startswith("packages are missing (flask")
    assert error.endswith(HINT)


def test_an_environment_that_does_not_start(tmp_path: Path) -> None:
    own_python(tmp_path, "#!/no/such/interpreter\n")
    python = tmp_path / ".venv" / "bin" / "python"
    assert run(tmp_path, flags=("-S",)) == (
        1,
        "",
        f"{python} does not start (No such file or directory): {HINT}",
    )
