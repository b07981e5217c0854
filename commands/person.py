"""`people`: one person of the list, shown, corrected, suppressed, exported or erased."""

import click

from commands.opening import as_json, console, opened, print_json
from database.models import SuppressionReason
from list_manager import erase, find_subscriber, find_traces, suppress
from lists.personal_data import personal_data
from utils.addresses import Address, InvalidAddress, normalise
from utils.tokens import email_hash


class _Email(click.ParamType[Address]):
    name = "email"

    def convert(self, value: str, param: object, ctx: object) -> Address:
        try:
            return normalise(value)
        except InvalidAddress as error:
            self.fail(error.reason)


_email = click.argument("address", metavar="EMAIL", type=_Email())


@click.group()
def people() -> None:
    """One person: show, export, suppress, erase."""


@people.command()
@_email
@as_json
def show(address: Address, json: bool) -> None:
    """How a person stands."""
    with opened() as system, system.database.read() as session:
        person = find_subscriber(session, address.key)
        if person is None:
            raise click.ClickException("nobody with this address is on the list")
        told = {
            "email": person.email,
            "status": person.status.value,
            "tier": person.tier and person.tier.value,
            "first_name": person.first_name,
            "last_name": person.last_name,
            "tags": person.tags,
            "attributes": person.attributes,
            "created_at": person.created_at,
        }
    if json:
        print_json(told)
        return
    for name, value in told.items():
        console().print(f"{name}: {value}", markup=False)


@people.command()
@_email
def export(address: Address) -> None:
    """Everything that is held about a person, as JSON."""
    with opened() as system, system.database.read() as session:
        told = personal_data(session, address, hash_key=system.hash_key, now=system.clock())
    if told is None:
        raise click.ClickException("nothing is held about this address")
    print_json(told)


@people.command(name="suppress")
@_email
@click.option("--evidence", help="Why, in your words.")
def suppress_(address: Address, evidence: str | None) -> None:
    """Never write to an address again. No command takes it back."""
    with opened() as system, system.database.write() as session:
        new = suppress(
            session,
            email_hash(system.hash_key, address.key),
            reason=SuppressionReason.MANUAL,
            source="operator",
            now=system.clock(),
            evidence=evidence,
        )
    click.echo("suppressed" if new else "was suppressed already")


@people.command(name="erase")
@_email
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--suppress", "for_good", is_flag=True, help="Also never write to them again.")
def erase_(address: Address, yes: bool, for_good: bool) -> None:
    """Erase a person's data for good; a suppression stays, as a keyed hash."""
    if not yes and click.prompt("Type the address again to erase it") != address.email:
        raise click.ClickException("that is not the address; nothing was erased")
    with opened() as system:
        now = system.clock()
        with system.database.read() as session:
            traces = find_traces(session, address.key, now)
        with system.database.write() as session:
            found = erase(
                session,
                address,
                traces,
                hash_key=system.hash_key,
                now=now,
                for_good=for_good,
                source="operator",
            )
    if not found:
        raise click.ClickException("nothing is held about this address")
    click.echo("erased")
