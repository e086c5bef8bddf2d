"""``toolforge-preview incident``: failures of one cause in several projects, and corrections for them."""

from __future__ import annotations

import sys
import time

import click

from deploy.opened import opened_parts
from orchestrator.bootstrap import Parts
from orchestrator.corrections import Correction, correct
from orchestrator.errors import BadInput
from orchestrator.incidents import Incident
from orchestrator.markdown import plain
from orchestrator.report import instant


@click.group()
def incident() -> None:
    """Failures of one cause in several projects."""


@incident.command("list")
def incident_list() -> None:
    """List what fails in several projects for the same cause."""
    found = opened_parts().pages.incidents(time.time())
    for one in found:
        click.echo(f"{one.id}  {len(one.projects)} projects  since {instant(one.since)}")
        click.echo(f"  {plain(one.failure.summary)}")
    if not found:
        click.echo("Nothing fails in several projects for the same cause.")


@incident.command("show")
@click.argument("incident_id", metavar="ID")
def incident_show(incident_id: str) -> None:
    """Show the merge requests of the incident ID, and what to do."""
    one = _incident(opened_parts(), incident_id)
    click.echo(f"{plain(one.failure.summary)}\n{plain(one.failure.remedy)}")
    for affected in one.affected:
        failed_at = instant(affected.deployment.since)
        click.echo(f"{affected.path}!{affected.iid}  {affected.deployment.sha[:12]}  {failed_at}")


@incident.command("pins")
@click.argument("incident_id", metavar="ID")
@click.option("--to", "version", required=True, help="The version to ask for, such as 3.13.")
@click.option(
    "--open-merge-requests", "are_opened", is_flag=True, help="Open them; without it nothing is changed."
)
def incident_pins(incident_id: str, version: str, are_opened: bool) -> None:
    """Set the version that the projects of the incident ID ask for, by a merge request in each of them.

    Each gets a preview as any other does, before a person merges it. Done twice, it does nothing anew.
    """
    parts = opened_parts()
    one = _incident(parts, incident_id)
    done = [correct(parts, one, path, version, is_opened=are_opened) for path in one.projects]
    for correction in done:
        click.echo(_words(correction))
    sys.exit(1 if any(correction.problem for correction in done) else 0)


def _incident(parts: Parts, incident_id: str) -> Incident:
    found = next((one for one in parts.pages.incidents(time.time()) if one.id == incident_id), None)
    if found is None:
        raise BadInput(f"There is no incident '{incident_id}'; `toolforge-preview incident list` shows them.")
    return found


def _words(correction: Correction) -> str:
    if correction.problem:
        return f"{correction.path}: {plain(correction.problem)}"
    change = f"{correction.file}: {correction.before or 'nothing'} -> {correction.after}"
    where = f"  {correction.url}" if correction.url else ""
    return f"{correction.path}: {change}{where}"
