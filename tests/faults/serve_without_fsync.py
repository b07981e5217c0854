"""The server as it must not be: `synchronous=NORMAL`, which leaves commits to the next checkpoint.

For `test_fsync_order`, which must be able to see the difference; no setting leads here.
"""

import app
from database import session

FULL = "synchronous=FULL"


def main() -> None:
    weak = tuple(one.replace("FULL", "NORMAL") for one in session._PRAGMAS)
    assert FULL in session._PRAGMAS
    setattr(session, "_PRAGMAS", weak)  # noqa: B010 - past the type, which has its length
    app.serve()


if __name__ == "__main__":
    main()
