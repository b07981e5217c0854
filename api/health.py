"""For load balancers and people who watch: is the process up, can it do its work."""

from flask_openapi.blueprint import APIBlueprint
from pydantic import Field
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.errors import Problem
from api.schemas import Answer, ProblemAnswer
from api.system import the_system

api = APIBlueprint("health", __name__)


class HealthAnswer(Answer):
    status: str


class ReadyAnswer(HealthAnswer):
    reason: str | None = Field(description="In safe mode: why nothing is sent, and what to do")


@api.get("/healthz", responses={200: HealthAnswer})
def healthz() -> dict[str, str]:
    """The process is up. Says nothing about what it needs: see `/readyz`."""
    return {"status": "ok"}


@api.get("/readyz", responses={200: ReadyAnswer, 503: ProblemAnswer})
def readyz() -> dict[str, str | None]:
    """200 when the database can be written to and the engine runs, 503 when not: also until it
    has asked for the right to send, so that who sends takes campaigns from the first 200 on. A
    process that stands by is ready.

    Also 200 in `safe-mode` (the database was restored or copied, and nobody confirmed that it
    may send): what ESPs and readers tell must come in.
    """
    system = the_system()
    if system.engine is not None and system.engine.fault is not None:
        raise Problem("unavailable", f"{system.engine.fault[0].upper()}{system.engine.fault[1:]}.")
    if system.engine is not None and system.engine.cannot_write:
        raise Problem(
            "unavailable", "The database cannot be written to: a step of the engine failed."
        )
    if system.engine is not None and not system.engine.has_looked:
        raise Problem("unavailable", "The engine begins: whether this process sends is not known.")
    try:
        with system.database.write() as session:
            # Takes the writer's turn and reads the file, but changes nothing.
            session.execute(text("UPDATE installation SET identity = identity WHERE id = 0"))
        held = system.safe_mode
    except SQLAlchemyError as error:  # a broken file is not an OperationalError
        raise Problem("unavailable", "The database cannot be written to.") from error
    return {"status": "ready" if held is None else "safe-mode", "reason": held}
