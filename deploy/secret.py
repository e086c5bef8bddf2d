"""``toolforge-preview project secret``: the secret envvars of a project, here or by a server's API.

A value comes from a prompt or from standard input: what stands on a command line is in the list of processes,
and in the shell's history.
"""

from __future__ import annotations

import sys
import time

import click

from deploy.opened import connected_project, opened_parts, operator
from deploy.remote import opened_remote
from orchestrator.errors import BadInput
from orchestrator.markdown import plain
from orchestrator.report import instant
from orchestrator.secret_rules import MOST_BYTES, as_kept, check_name
from orchestrator.settings import TOKEN_VARIABLE
from web.shapes import SecretOut

_SERVER = click.option(
    "--server", metavar="URL", help=f"Ask this server, with the token in {TOKEN_VARIABLE}, not the database."
)
_PATH = click.argument("path", metavar="GROUP/PROJECT")
_NAME = click.argument("name")


@click.group()
def secret() -> None:
    """Secret environment variables, for previews of the project's own branches."""


@secret.command("list")
@_PATH
@_SERVER
def secret_list(path: str, server: str | None) -> None:
    """List the secrets of a project, by whom they were set and when; nobody is shown what they hold."""
    if server is not None:
        found = opened_remote(server).secrets(path)
    else:
        parts = opened_parts()
        connected = connected_project(parts, path)
        found = [SecretOut.of(one) for one in parts.secrets.of(connected.id)]
    for one in found:
        lost = "" if one.is_readable else "  WRONG: no key opens it; set it anew"
        click.echo(f"{one.name}  set {instant(one.set_at.timestamp())} by {plain(one.set_by)}{lost}")


@secret.command("set")
@_PATH
@_NAME
@_SERVER
def secret_set(path: str, name: str, server: str | None) -> None:
    """Set or replace the secret NAME of a project; its value is asked for, or read from standard input."""
    check_name(name)
    value = as_kept(_value(name))
    if server is not None:
        opened_remote(server).put_secret(path, name, value)
    else:
        parts = opened_parts()
        parts.secrets.put(connected_project(parts, path).id, name, value, operator(), time.time())
    click.echo(f"{name} is set; it counts from the next deployment of each preview on.")


@secret.command("remove")
@_PATH
@_NAME
@_SERVER
def secret_remove(path: str, name: str, server: str | None) -> None:
    """Forget the secret NAME of a project."""
    check_name(name)
    if server is not None:
        opened_remote(server).remove_secret(path, name)
    else:
        parts = opened_parts()
        parts.secrets.remove(connected_project(parts, path).id, name, operator(), time.time())
    click.echo(f"{name} is removed; what is up has it until its next deployment.")


@secret.command("reseal")
def secret_reseal() -> None:
    """Encrypt the secrets of all projects with the present secret_key; exit 1 when some cannot be read.

    To be run after secret_key was changed and the one before put into old_secret_keys, which is not needed
    any more then.
    """
    done = opened_parts().secrets.reseal(operator(), time.time())
    click.echo(f"{done.sealed} secrets were encrypted with the present key.")
    for path, name in done.unreadable:
        click.echo(f"No key opens {name} of {path}: have a Maintainer set it anew.", err=True)
    sys.exit(1 if done.unreadable else 0)


def _value(name: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True))
    raw = sys.stdin.buffer.read(2 * MOST_BYTES)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadInput("The value is no text in UTF-8.") from None
