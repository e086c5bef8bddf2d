"""``toolforge-preview preview``: previews, in the database of this installation, or by a server's API.

With ``--server`` a maintainer does from anywhere, with a token, what an operator does here.
"""

from __future__ import annotations

import re
import time
import webbrowser

import click
from rich.console import Console

from deploy.arguments import Duration
from deploy.here import Here
from deploy.opened import opened_parts, operator
from deploy.remote import Remote, opened_remote
from deploy.screen import overview_table, previews_table
from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput, NotFound
from orchestrator.preview import Step
from orchestrator.report import instant
from orchestrator.settings import TOKEN_VARIABLE
from web.shapes import FailureOut, PreviewOut

_NAME = click.argument("name", metavar="GROUP/PROJECT!IID")
_SERVER = click.option(
    "--server", metavar="URL", help=f"Ask this server, with the token in {TOKEN_VARIABLE}, not the database."
)


@click.group()
def preview() -> None:
    """Previews of merge requests, named GROUP/PROJECT!IID."""


@preview.command("list")
@_SERVER
def preview_list(server: str | None) -> None:
    """List the newest previews; without a server also the queue and the pool."""
    if server is not None:
        Console().print(previews_table(opened_remote(server).previews()))
    else:
        Console().print(overview_table(opened_parts().views.overview(time.time())))


@preview.command("show")
@_NAME
@_SERVER
def preview_show(name: str, server: str | None) -> None:
    """Tell how a preview is doing, and why it failed."""
    source = _source(server)
    found = _asked(source, name)
    click.echo(f"{name}: {found.title}\n{found.web_url}")
    if found.deployment_id is None:
        click.echo("nothing has been deployed yet")
        return
    click.echo(f"{found.state}, commit {found.sha}")
    if found.address and found.expires_at:
        click.echo(f"{found.address} until {instant(found.expires_at.timestamp())}")
    elif found.stop_reason:
        click.echo(f"nothing is up: {found.stop_reason}")
    newest = source.deployment(found.deployment_id)
    _tell_failure(newest.failure)
    if newest.opinion is not None:
        click.echo(f"second opinion: {newest.opinion.told}")


@preview.command("logs")
@_NAME
@click.option("-f", "--follow", is_flag=True, help="Of what runs: go on until its end.")
@click.option("--job", is_flag=True, help="What the tool wrote, and not its build.")
@_SERVER
def preview_logs(name: str, follow: bool, job: bool, server: str | None) -> None:
    """Print the log of the newest deployment's build."""
    source = _source(server)
    found = _asked(source, name)
    if found.deployment_id is None:
        raise BadInput(f"Nothing of {name} has been deployed yet.")
    try:
        for line in source.log(found.deployment_id, "job" if job else "build", follow=follow):
            click.echo(line)
    except NotFound:
        raise BadInput(f"There is no such log of {name}, which is {found.state}.") from None


@preview.command("open")
@_NAME
@_SERVER
def preview_open(name: str, server: str | None) -> None:
    """Open a preview in the browser."""
    address = _asked(_source(server), name).address
    # What a server says is not run, whatever it says.
    if not address or not address.startswith(("https://", "http://")):
        raise BadInput(f"Nothing of {name} is up.")
    click.echo(address)
    webbrowser.open(address)


@preview.command("stop")
@_NAME
@_SERVER
def preview_stop(name: str, server: str | None) -> None:
    """Take a preview down and give its account back."""
    if server is not None:
        click.echo(_done(opened_remote(server), name, "stop"))
        return
    parts = opened_parts()
    parts.lifecycle.stop(_preview_id(parts, name), "operator", "stopped by an operator", time.time())
    click.echo(f"{name} is being taken down.")


@preview.command("keep")
@_NAME
@click.argument("seconds", metavar="DURATION", type=Duration())
@_SERVER
def preview_keep(name: str, seconds: float, server: str | None) -> None:
    """Let a live preview neither expire nor give way to others for DURATION, such as 48h or 3d."""
    if server is not None:
        click.echo(_done(opened_remote(server), name, "keep", duration=f"{seconds // 60:.0f}m"))
        return
    parts = opened_parts()
    parts.lifecycle.keep(_preview_id(parts, name), seconds, operator(), time.time())
    click.echo(f"{name} is kept until {instant(time.time() + seconds)}.")


@preview.command("release")
@_NAME
@_SERVER
def preview_release(name: str, server: str | None) -> None:
    """Let a preview that is kept give way again."""
    if server is not None:
        click.echo(_done(opened_remote(server), name, "release"))
        return
    parts = opened_parts()
    parts.lifecycle.release(_preview_id(parts, name), operator(), time.time())
    click.echo(f"{name} is not kept any more.")


@preview.command("redeploy")
@_NAME
@click.option("--sha", help="The commit that you have looked at; nothing is done when it is not the head.")
@_SERVER
def preview_redeploy(name: str, sha: str | None, server: str | None) -> None:
    """Build the head commit again, or approve it if it waits for that."""
    if server is not None:
        remote = opened_remote(server)
        click.echo(_done(remote, name, "redeploy", sha=sha or _known_head(remote, name)))
        return
    parts = opened_parts()
    parts.lifecycle.approve_or_redeploy(_preview_id(parts, name), "operator", time.time(), sha=sha)
    click.echo(f"{name} is queued.")


# --- in the database ----------------------------------------------------------------------------------


def _preview_id(parts: Parts, name: str) -> int:
    named = _named(name)
    view = parts.views.preview(*named) if named else None
    if view is None:
        raise _unknown(name)
    return view.preview.id


def _named(name: str) -> tuple[str, int] | None:
    path, _, iid = name.rpartition("!")
    return (path, int(iid)) if path and re.fullmatch(r"[0-9]{1,9}", iid) else None


def _unknown(name: str) -> BadInput:
    return BadInput(f"There is no preview '{name}'; `toolforge-preview preview list` shows the newest.")


# --- in either ----------------------------------------------------------------------------------------


def _source(server: str | None) -> Here | Remote:
    return opened_remote(server) if server is not None else Here(opened_parts())


def _asked(source: Here | Remote, name: str) -> PreviewOut:
    named = _named(name)
    if named is None:
        raise _unknown(name)
    try:
        return source.preview(*named)
    except NotFound:
        raise _unknown(name) from None


def _tell_failure(failure: FailureOut | None) -> None:
    if failure is not None:
        for words in (failure.summary, failure.remedy, failure.excerpt):
            if words:
                click.echo(words)


# --- by a server's API --------------------------------------------------------------------------------


def _done(remote: Remote, name: str, verb: str, **body: str) -> str:
    named = _named(name)
    if named is None:
        raise _unknown(name)
    try:
        return f"{name}: {remote.act(*named, verb, body)}"
    except NotFound:
        raise _unknown(name) from None


def _known_head(remote: Remote, name: str) -> str:
    """The head, to be built again; a stranger's commit is approved only by who names it."""
    found = _asked(remote, name)
    newest = found.deployment_id
    if newest is not None and remote.deployment(newest).step == Step.AWAIT_APPROVAL:
        raise BadInput(f"It waits for an approval: look at {found.head_sha}, then name it with --sha.")
    return found.head_sha
