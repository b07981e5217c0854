"""Starts a program with the Python of its own environment, `.venv`.

Standard library only, and nothing that Python 3.8 could not read: this runs before it
is known which Python, and which packages, there are.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = 0x030B0000  # 3.11, as sys.hexversion has it
PACKAGES = ("flask", "flask_openapi", "sqlalchemy", "alembic", "gunicorn", "dotenv", "boto3")
"""Enough of requirements.txt to tell our environment from a system that has Flask by chance."""
MARK = "own-environment"


def ensure_environment(root: Path = ROOT) -> None:
    """Return when this Python can run us; else go on in `.venv`, or say what to do and exit.

    The first call of `app.py` and `cli.py`, before any import of a package.
    """
    complaint = _complaint()
    if complaint is None:
        return
    python = root / ".venv" / "bin" / "python"
    # The mark ends the loop that a broken .venv would be.
    if MARK not in sys._xoptions and os.access(str(python), os.X_OK):
        arguments = getattr(sys, "orig_argv", ["python", *sys.argv])[1:]
        try:
            os.execv(str(python), [str(python), "-X", MARK, *arguments])
        except OSError as error:
            complaint = f"{python} does not start ({error.strerror})"
    sys.exit(f"{complaint}: run ./setup.sh first")


def _complaint() -> "str | None":
    if sys.hexversion < OLDEST:
        return "Python 3.11 or newer is needed, and this is {}.{}".format(*sys.version_info)
    missing = [name for name in PACKAGES if find_spec(name) is None]
    return f"packages are missing ({', '.join(missing)})" if missing else None
