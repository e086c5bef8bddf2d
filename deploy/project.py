"""``toolforge-preview project``: connected projects, and which of their merge requests get a preview."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import click

from deploy.arguments import CHECKS
from deploy.opened import connected_project, opened_parts, operator
from orchestrator.connect import connect_project
from orchestrator.markdown import plain
from orchestrator.rules import Drafts, Forks, RefusedVersions, Rules

_LISTS = {
    "labels": ("--label", "A label of which it needs one."),
    "no_labels": ("--no-label", "A label with which it gets none."),
    "targets": ("--target", "Pattern of target branches, such as main or release-*."),
    "paths": ("--path", "Pattern of paths of which one has to be changed, such as src/*."),
    "ignored_paths": ("--ignore-path", "Pattern of paths that do not matter, such as docs/* or *.md."),
    "bots": ("--bot", "User name of a bot."),
}
_ONLY_CHECKED = {"yes": True, "no": False, "default": None}


@click.group()
def project() -> None:
    """Connected GitLab projects."""


@project.command("add")
@click.argument("path")
@CHECKS
def project_add(path: str, checks: tuple[tuple[str, int | None], ...]) -> None:
    """Connect the GitLab project PATH (group/name): make its webhook, look at open merge requests."""
    dues = connect_project(opened_parts(), path, checks=checks, now=time.time())
    click.echo(f"Connected {path}; {len(dues)} open merge requests will be looked at.")


@project.command("rotate")
@click.argument("path")
def project_rotate(path: str) -> None:
    """Give the webhook of the project PATH new secrets; those before count for ten more minutes."""
    parts = opened_parts()
    connected_project(parts, path)
    connect_project(parts, path, checks=(), now=time.time())
    click.echo(f"The webhook of {path} has new secrets.")


@project.command("list")
def project_list() -> None:
    """List the connected projects."""
    with opened_parts().store.read() as tx:
        for connected in tx.projects():
            weight = "" if connected.weight == 1 else f"  weight {connected.weight:g}"
            click.echo(f"{connected.path}  {connected.web_url}{weight}")


@project.command("show")
@click.argument("path")
def project_show(path: str) -> None:
    """Show what is set for the project PATH, and what GitLab does not let us do there."""
    parts = opened_parts()
    connected = connected_project(parts, path)
    click.echo(f"{connected.path}  {connected.web_url}")
    click.echo(f"webhook  {'signed' if connected.signing else 'with a secret token'}")
    click.echo(f"weight  {connected.weight:g}")
    for line in _lines(connected.rules):
        click.echo(line)
    for line in parts.views.untold():
        if line.startswith(f"{connected.path}!"):
            click.echo(f"GitLab refused {plain(line)}")


def _lists(command: Any) -> Any:
    for name, (flag, words) in reversed(_LISTS.items()):
        command = click.option(flag, name, multiple=True, help=f"{words} Replaces those before.")(command)
    return command


@project.command("set")
@click.argument("path")
@click.option("--weight", type=float, help="Its share in the turns; with 2 it gets two for each of others.")
@click.option("--forks", type=click.Choice([*Forks]), help="Whether a fork's commits can be approved.")
@click.option("--drafts", type=click.Choice([*Drafts]), help="Whether drafts are built.")
@click.option(
    "--check-only-bots", type=click.Choice([*_ONLY_CHECKED]), help="Whether bots get a verdict only."
)
@click.option(
    "--refused-versions",
    type=click.Choice([*RefusedVersions]),
    help="Whether a version that the builder refused before is built all the same, or fails at once.",
)
@_lists
@click.option("--clear", type=click.Choice([*_LISTS]), multiple=True, help="Empty a list.")
def project_set(
    path: str, weight: float | None, check_only_bots: str | None, clear: tuple[str, ...], **given: Any
) -> None:
    """Change which merge requests of the project PATH get a preview; what is not given stays."""
    parts = opened_parts()
    connected = connected_project(parts, path)
    changes: dict[str, Any] = {name: value for name, value in given.items() if value}
    changes |= dict.fromkeys(clear, ())
    if check_only_bots is not None:
        changes["check_only_bots"] = _ONLY_CHECKED[check_only_bots]
    if weight is None and not changes:
        raise click.UsageError("Say what to set; `--help` lists it.")
    now = time.time()
    if weight is not None:
        parts.lifecycle.weigh(connected.id, weight, operator(), now)
    if changes:
        parts.lifecycle.set_rules(connected.id, replace(connected.rules, **changes), operator(), now)
    click.echo(f"{path} is set; it counts from the next event of a merge request on.")


def _lines(rules: Rules) -> Iterator[str]:
    yield f"forks  {rules.forks}"
    yield f"drafts  {rules.drafts}"
    yield f"refused-versions  {rules.refused_versions}"
    only = next(word for word, value in _ONLY_CHECKED.items() if value is rules.check_only_bots)
    yield f"check-only-bots  {only}"
    lists: Mapping[str, tuple[str, ...]] = {name: getattr(rules, name) for name in _LISTS}
    for name, (flag, _) in _LISTS.items():
        yield f"{flag.removeprefix('--')}  {plain(', '.join(lists[name])) or '-'}"
