"""The page at /docs, in a real browser: it shows the calls, and asks nobody outside."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_readme import serving

PORT = 14_914

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Without these Chromium asks its maker about updates and components.
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

THE_BROWSERS_OWN = (".google.com", ".googleapis.com")
"""Hosts that Chromium asks whatever page it shows."""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: chromium)")
def test_the_page_shows_every_call_and_makes_no_request_elsewhere(
    tmp_path: Path,
) -> None:
    assert CHROMIUM is not None
    asked = tmp_path / "net.json"
    with serving(tmp_path, PORT):
        shown, hosts = _look(CHROMIUM, tmp_path, asked)
    assert {"/send-campaign", "/preview", "/add-subscriber", "/esp-status"} <= shown
    assert {host for host in hosts if not host.endswith(THE_BROWSERS_OWN)} == {f"127.0.0.1:{PORT}"}


def _look(chromium: str, tmp_path: Path, asked: Path) -> tuple[set[str], set[str]]:
    """The paths that the page shows, and every host that the browser asked."""
    done = subprocess.run(
        [
            *(chromium, *QUIET, f"--user-data-dir={tmp_path}/profile", f"--log-net-log={asked}"),
            *("--virtual-time-budget=8000", "--dump-dom", f"http://127.0.0.1:{PORT}/docs"),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    shown = set(re.findall(r'data-path="([^"]+)"', done.stdout))
    return shown, set(re.findall(r'"url":"https?://([^/"]+)', asked.read_text()))
