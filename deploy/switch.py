"""``toolforge-preview switch``: what operators stop on purpose, and let go on."""

from __future__ import annotations

import time

import click

from deploy.opened import connected_project, opened_parts, operator
from orchestrator.report import instant
from orchestrator.switches import reason


@click.group()
def switch() -> None:
    """What is stopped on purpose."""


_WHY = click.option("--why", required=True, help="Why, for everybody who waits; say until when if known.")
_PROJECT = click.option("--project", "path", metavar="GROUP/PROJECT", help="Only this project.")


@switch.command("list")
@click.option("--history", is_flag=True, help="Also what was stopped and resumed before.")
def switch_list(history: bool) -> None:
    """List what is stopped, since when, by whom and why."""
    parts = opened_parts()
    views = parts.views.switches()
    for view in views:
        click.echo(f"{view.what}  since {instant(view.switch.at)}  by {view.switch.who}  {view.switch.why}")
    if not views:
        click.echo("Nothing is stopped.")
    for event in parts.views.history("switch") if history else ():
        change = event.after or f"end of {event.before}"
        click.echo(f"{instant(event.at)}  {change}  by {event.who}  {event.why}")


@switch.command("pause")
@_PROJECT
@_WHY
def switch_pause(path: str | None, why: str) -> None:
    """Plan nothing of a project. Without --project the emergency stop: nothing is done to any account."""
    parts = opened_parts()
    project_id = None if path is None else connected_project(parts, path).id
    parts.lifecycle.pause(operator(), reason(why), time.time(), project_id=project_id)
    click.echo(f"{path or 'Everything'} is paused.")


@switch.command("freeze")
@_WHY
def switch_freeze(why: str) -> None:
    """Build nothing new; what runs goes on, and previews that are up are left alone."""
    opened_parts().lifecycle.freeze(operator(), reason(why), time.time())
    click.echo("Builds are frozen.")


@switch.command("resume")
@_PROJECT
def switch_resume(path: str | None) -> None:
    """Go on with a project. Without --project end the emergency stop, and the freeze of the builds."""
    parts = opened_parts()
    project_id = None if path is None else connected_project(parts, path).id
    parts.lifecycle.resume(operator(), time.time(), project_id=project_id)
    click.echo(f"{path or 'Everything'} goes on.")
