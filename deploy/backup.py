"""``toolforge-preview backup`` and ``restore``: a copy of the database, made and put back."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import click
from redis.exceptions import RedisError

from deploy.opened import opened_parts, operator
from orchestrator import backup as copies
from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput

_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@_FILE
def backup(file: Path) -> None:
    """Write all that the database holds, as it is at one moment, to FILE; the service may run."""
    rows = copies.back_up(opened_parts(), file)
    click.echo(f"{rows} rows are in {file}. Let nobody else read it, and keep the setting secret_key.")


@click.command()
@_FILE
@click.option(
    "--paused",
    is_flag=True,
    help="Do nothing to any account before `toolforge-preview switch resume`, so that you can look first.",
)
def restore(file: Path, paused: bool) -> None:
    """Put the copy FILE back into an empty database of any kind, and bring it to the newest form.

    What has changed since is found out when the service starts. While workers run only --paused is let.
    """
    parts = opened_parts()
    if not paused and _workers_run(parts):
        raise BadInput(
            "Workers are at work, or were half a minute ago: stop all processes first, or restore with "
            "--paused. Nothing was changed."
        )
    head = copies.put_back(parts, file, who=operator(), stays_paused=paused)
    made_at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(head.made_at))
    click.echo(f"The copy of {made_at} UTC is put back.")
    click.echo("API tokens that were revoked since are good again, and approvals given since are gone.")
    if paused:
        click.echo("Everything is paused: go on with `toolforge-preview switch resume`.")


def _workers_run(parts: Parts) -> bool:
    """Whether any has swept not long ago; without Redis none can."""
    with suppress(RedisError):
        return parts.pulse.is_felt()
    return False
