"""The Python that django-anymail and uvloop are installed for: made on first use, kept, and no
part of the project's own environment."""

import subprocess
import sys
from pathlib import Path

from config.settings import ROOT

REQUIREMENTS = ROOT / "bench" / "requirements-peers.txt"


def python(folder: Path = ROOT / ".bench-venv") -> str | None:
    """Its path; `None` when it cannot be had, say without a network."""
    found, installed = folder / "bin" / "python", folder / "installed"
    wanted = REQUIREMENTS.read_text()
    if installed.exists() and installed.read_text() == wanted:
        return str(found)
    pip = [str(found), "-m", "pip", "install", "--quiet", "--retries", "1", "--require-hashes"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    installed.write_text(wanted)
    return str(found)
