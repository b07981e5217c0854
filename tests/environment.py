"""The environment of an app in live mode that is a process of its own: tests and benchmarks."""

import os
import re
from pathlib import Path

from config.settings import ROOT

API_KEY = "5up3r-Random-Key-For-Tests-9182"
SECRET_KEY = "An0ther-Random-Secret-Of-Forty-Characters-Or-More"


def live_environment(port: int, database: Path, **esps: str) -> dict[str, str]:
    """With the settings of some ESPs, and nothing of this machine's own."""
    names = re.findall(r"^([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return {
        # An empty variable hides what the machine's .env may say.
        **dict.fromkeys(names, ""),
        "PATH": os.environ["PATH"],
        "SENDING_MODE": "live",
        "DATABASE_URL": f"sqlite:///{database}",
        "DATA_DIR": str(database.parent),
        "API_KEY": API_KEY,
        "SECRET_KEY": SECRET_KEY,
        "PORT": str(port),
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "FROM_EMAIL": "news@example.com",
        "POSTAL_ADDRESS": "Example Ltd, 1 Example Street",
        "DNS_GATE": "off",  # or the app asks the machine's name servers, whatever they know
        # Who waits for a state asks more often than any client.
        **dict.fromkeys(("API_CALLS_PER_MINUTE", "PUBLIC_CALLS_PER_MINUTE"), "0"),
        **esps,
    }
