"""``toolforge-preview pool``: the dev tool accounts, seen and ordered about by operators."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from deploy import pool_file
from deploy.opened import opened_parts, operator
from orchestrator.belongings import ENVVAR_PREFIX, Holdings, Sorted
from orchestrator.bootstrap import Parts
from orchestrator.connect import add_account
from orchestrator.errors import BadInput
from orchestrator.markdown import plain
from orchestrator.pool import Account
from orchestrator.records import Lease
from orchestrator.toolforge import ToolforgeError
from orchestrator.views import AccountView
from worker import holdings


@click.group()
def pool() -> None:
    """The dev tool accounts."""


#: How a tool is given to the pool, for whoever has not done that before.
_GUIDE = """\
{tool} becomes a dev account of the pool once its credentials are known here.

With them Toolforge Preview can build, run and delete everything in that account, and read its envvars; and
what it runs there is the code of merge requests. Take a tool that is made for it, and has nothing of value.

1. As that tool, on a bastion of Toolforge, have its credentials shown:

     become {tool}
     cat ~/.toolskube/client.crt ~/.toolskube/client.key

2. Bring them to where the workers run, as two files that only the service can read, or as two envvars of the
   service's own tool, DEV1_CRT and DEV1_KEY.

3. Add it. The credentials are tried before they are taken; kept is where they are, and not they themselves:

     toolforge-preview pool add {tool} --cert FILE --key FILE
     toolforge-preview pool add {tool} --env DEV1

4. See that it becomes free. What somebody else has in it is never deleted by itself, and keeps it out of use:

     toolforge-preview pool show {tool}

To take it back:

     toolforge-preview pool drain {tool}
     toolforge-preview pool remove {tool}

Whoever has had the certificate could still use it until it is renewed, or the tool deleted.

Nothing was added."""


@pool.command("add")
@click.argument("tool")
@click.option("--kubeconfig", help="Path of the tool's kubeconfig.")
@click.option("--cert", help="Path of the tool's client.crt.")
@click.option("--key", help="Path of the tool's client.key.")
@click.option("--env", help="Prefix of two environment variables, PREFIX_CRT and PREFIX_KEY, with PEM texts.")
def pool_add(tool: str, kubeconfig: str | None, cert: str | None, key: str | None, env: str | None) -> None:
    """Add the dev account of TOOL, which should be empty: what others have in it keeps it out of use.

    Without any option it says, step by step, how a tool is given to the pool, and adds nothing (exit 1).
    """
    given = {"kubeconfig": kubeconfig, "cert": cert, "key": key, "env": env}
    if all(value is None for value in given.values()):
        click.echo(_GUIDE.format(tool=tool))
        sys.exit(1)
    credentials = {name: value for name, value in given.items() if value}
    if set(credentials) not in pool_file.KINDS:
        raise click.UsageError("Give --kubeconfig, or --cert and --key, or --env.")
    add_account(opened_parts(), tool, credentials, time.time())
    click.echo(f"Added {tool}; it is free as soon as it has been cleaned.")


@pool.command("list")
def pool_list() -> None:
    """List the accounts, what they do, since when, for whom and why."""
    for view in opened_parts().views.accounts():
        click.echo(_line(view))


@pool.command("show")
@click.argument("tool")
def pool_show(tool: str) -> None:
    """Show what TOOL does, whom it served, and what is really in it."""
    parts = opened_parts()
    view = parts.views.account(tool)
    click.echo(_line(view))
    for account_lease in view.leases:
        click.echo(_lease_line(account_lease, view.names))
    try:
        held, found = _look(parts, view.account)
    except (ToolforgeError, BadInput) as error:
        raise BadInput(f"What is in it could not be seen: {error}") from None
    limit = "no limit" if held.bytes_limit is None else f"{held.bytes_limit} bytes"
    click.echo(f"store: {held.bytes_used} bytes used, {limit}")
    for line in [*_things(found.ours, "ours"), *_things(found.foreign, "foreign")]:
        click.echo(line)
    for name in held.envvars:
        if not name.startswith(ENVVAR_PREFIX):
            click.echo(f"operators'  envvar {plain(name)}")
    if not (found.ours or found.foreign):
        click.echo("It is empty.")


@pool.command("drain")
@click.argument("tool")
def pool_drain(tool: str) -> None:
    """Take TOOL out of use as soon as it is free."""
    opened_parts().lifecycle.drain(tool, operator(), time.time())
    click.echo(f"{tool} is taken out of use.")


@pool.command("undrain")
@click.argument("tool")
def pool_undrain(tool: str) -> None:
    """Put TOOL back into use, by way of a cleaning."""
    opened_parts().lifecycle.drain(tool, operator(), time.time(), undo=True)
    click.echo(f"{tool} is put back into use.")


@pool.command("clean")
@click.argument("tool")
@click.option("--all", "everything", is_flag=True, help="Delete what is not ours, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def pool_clean(tool: str, everything: bool, yes: bool) -> None:
    """Clean TOOL now, instead of when its next try is due; it has to be quarantined, or being cleaned."""
    parts = opened_parts()
    account = parts.views.account(tool).account
    parts.lifecycle.check_may_clean(account)
    if everything:
        _, found = _look(parts, account)
        if found.ours or found.foreign:
            click.echo(f"This will be deleted from {tool}:")
        for line in [*_things(found.ours, "ours"), *_things(found.foreign, "foreign")]:
            click.echo(f"  {line}")
        if found.foreign and not yes:
            click.confirm("Delete it?", abort=True)
    parts.lifecycle.clean(tool, operator(), time.time(), everything=everything)
    click.echo(f"{tool} is being cleaned{' of everything' * everything}.")


@pool.command("remove")
@click.argument("tool")
def pool_remove(tool: str) -> None:
    """Take TOOL out of the pool for good; it has to be drained or quarantined."""
    opened_parts().lifecycle.remove(tool, operator(), time.time())
    click.echo(f"{tool} is not in the pool any more, and its credentials are forgotten.")


@pool.command("apply")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def pool_apply(file: Path, dry_run: bool) -> None:
    """Make the pool as the TOML file FILE says: add, change credentials, drain; nothing is removed."""
    parts = opened_parts()
    wanted = pool_file.difference(parts, file)
    if not dry_run:
        pool_file.carry_out(parts, wanted, operator(), time.time())
    for line in wanted.words():
        click.echo(f"would {line}" if dry_run else f"done: {line}")
    for tool in wanted.drained:
        click.echo(f"left as it is: {tool} is out of use; `toolforge-preview pool undrain {tool}` ends that")
    if not wanted.words():
        click.echo("The pool is as the file says.")


def _look(parts: Parts, account: Account) -> tuple[Holdings, Sorted]:
    """What is really in an account, and whose it is."""
    with parts.store.read() as tx:
        credentials = tx.credentials(account.id)
    with parts.toolforge.account(account.name, credentials) as client:
        held = holdings.look(client)
    return held, holdings.sorter(parts.store, account)(held)


def _line(view: AccountView) -> str:
    account = view.account
    words = [
        account.name,
        f"{account.state}{' (to be drained)' * (account.drain and account.state != 'drained')}",
        f"since {_time(account.since)}",
    ]
    if view.holder:
        words.append(f"for {view.holder}")
    if account.reason:
        words.append(plain(account.reason))
    return "  ".join(words)


def _lease_line(account_lease: Lease, names: Mapping[int, str]) -> str:
    holder = "many" if account_lease.preview_id is None else names[account_lease.preview_id]
    ended = f"to {_time(account_lease.ended_at)}" if account_lease.ended_at else "until now"
    line = f"lease {account_lease.fence}  {_time(account_lease.taken_at)} {ended}  {holder}"
    if account_lease.bytes_after is None:
        return f"{line}  not given back clean" if account_lease.ended_at else line
    return f"{line}  {account_lease.bytes_before or 0} bytes before, {account_lease.bytes_after} after"


def _things(held: Holdings, whose: str) -> Iterator[str]:
    for job in held.jobs:
        yield f"{whose}  job {plain(job.name)} ({plain(job.image)})"
    for build in held.builds:
        yield f"{whose}  build {plain(build.id)} ({plain(build.image_name)}, {build.status})"
    for image in held.images:
        yield f"{whose}  image {plain(image)}"
    for name in held.envvars:
        yield f"{whose}  envvar {plain(name)}"
    if held.bytes_used and not held.images:
        yield f"{whose}  {held.bytes_used} bytes of images that have no tag"


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
