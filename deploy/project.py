"""``toolforge-preview project``: connected projects, and which of their merge requests get a preview."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, TextIO

import click

from deploy.arguments import CHECKS
from deploy.opened import connected_project, opened_parts, operator
from deploy.secret import secret
from orchestrator.bootstrap import Parts
from orchestrator.connect import connect_project, disconnect_project, path_in
from orchestrator.errors import BadInput
from orchestrator.gitlab import GitLabError, Missing
from orchestrator.markdown import plain
from orchestrator.records import Project
from orchestrator.report import instant
from orchestrator.rules import LISTS, Drafts, Forks, MainWatch, RefusedVersions, Rules

_FLAGS = {
    "labels": "--label",
    "no_labels": "--no-label",
    "targets": "--target",
    "paths": "--path",
    "ignored_paths": "--ignore-path",
    "bots": "--bot",
}
_RESULTS = {"head": False, "merged-result": True}
_ONLY_CHECKED = {"yes": True, "no": False, "default": None}
#: Of click.Choice the members of an enumeration would be chosen by their Python names.
_CHOICES: Mapping[str, type[StrEnum]] = {
    "forks": Forks,
    "drafts": Drafts,
    "refused_versions": RefusedVersions,
    "watch_main": MainWatch,
}


def _words(choices: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([one.value for one in choices])


@click.group()
def project() -> None:
    """Connected GitLab projects."""


project.add_command(secret)


@project.command("add")
@click.argument("addresses", metavar="[PROJECT]...", nargs=-1)
@click.option("--group", "groups", multiple=True, help="All projects of a GitLab group; also several times.")
@click.option("--file", "listed", type=click.File(), help="A file with one PROJECT a line, or - for input.")
@CHECKS
def project_add(
    addresses: tuple[str, ...],
    groups: tuple[str, ...],
    listed: TextIO | None,
    checks: tuple[tuple[str, int | None], ...],
) -> None:
    """Connect each GitLab PROJECT (group/name, or its address): webhook, and the open merge requests.

    One that is connected already gets a new secret. One that cannot be connected does not keep the others
    back; the exit code is 1 then.
    """
    parts = opened_parts()
    wanted = [*addresses, *(_lines_of(listed) if listed else ())]
    paths = [path_in(parts, address) for address in wanted]
    paths += [path for group in groups for path in _projects_of(parts, group)]
    if not paths:
        raise click.UsageError("Say which: a PROJECT, --group or --file.")
    only, *others = dict.fromkeys(paths)
    if not others:
        _connect(parts, only, checks)
        return
    sys.exit(0 if _connect_each(parts, [only, *others], checks) else 1)


def _lines_of(listed: TextIO) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in listed)
    return [line for line in lines if line]


def _projects_of(parts: Parts, group: str) -> list[str]:
    try:
        return parts.gitlab.projects_of(group)
    except Missing:
        raise BadInput(f"GitLab knows no group '{group}', or the token cannot see it.") from None


def _connect_each(parts: Parts, paths: Sequence[str], checks: Sequence[tuple[str, int | None]]) -> bool:
    """Connect all that can be; True when that is all."""
    are_good = True
    for path in paths:
        try:
            _connect(parts, path, checks)
        except (BadInput, GitLabError) as error:
            click.echo(f"{path} is not connected: {error}", err=True)
            are_good = False
    return are_good


def _connect(parts: Parts, path: str, checks: Sequence[tuple[str, int | None]]) -> None:
    dues = connect_project(parts, path, checks=checks, now=time.time())
    click.echo(f"Connected {path}; {len(dues)} open merge requests will be looked at.")


@project.command("remove")
@click.argument("path")
def project_remove(path: str) -> None:
    """Disconnect the project PATH: take down all that it has, and delete its webhook."""
    parts = opened_parts()
    connected = connected_project(parts, path)
    _, problem = disconnect_project(parts, connected, operator(), time.time())
    click.echo(f"{path} is disconnected; what it has is being taken down.")
    if problem:
        click.echo(f"Delete its webhook in GitLab by hand: {plain(problem)}", err=True)


@project.command("rotate-secret")
@click.argument("path")
def project_rotate_secret(path: str) -> None:
    """Give the webhook of the project PATH new secrets; those before count for ten more minutes."""
    parts = opened_parts()
    connected, now = connected_project(parts, path), time.time()
    connect_project(parts, path, checks=(), now=now)
    parts.lifecycle.note_new_secrets(connected.id, operator(), now)
    click.echo(f"The webhook of {path} has new secrets.")


@project.command("list")
def project_list() -> None:
    """List the connected projects."""
    with opened_parts().store.read() as tx:
        for connected in tx.projects():
            if connected.removed_at is not None or connected.is_ours:
                continue
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
    for line in _branch_lines(parts, connected):
        click.echo(line)
    for line in parts.views.untold():
        if line.startswith(f"{connected.path}!"):
            click.echo(f"GitLab refused {plain(line)}")


def _branch_lines(parts: Parts, connected: Project) -> Iterator[str]:
    """What is known of the default branch, where it is watched."""
    known = parts.pages.branches().get(connected.id)
    if known is None:
        return
    verdict = known.verdict
    if verdict.failure is not None:
        since = instant(verdict.broken_at or 0.0)
        yield f"default branch  does not deploy since {since}: {plain(verdict.failure.summary)}"
    else:
        yield f"default branch  {'deploys' if verdict.good_at else 'has not been tried yet'}"
    if verdict.good_at is not None:
        yield f"last seen to deploy  {instant(verdict.good_at)}"


def _lists(command: Any) -> Any:
    for name, flag in reversed(_FLAGS.items()):
        words = f"{LISTS[name]} Replaces those before."
        command = click.option(flag, name, multiple=True, help=words)(command)
    return command


@project.command("set")
@click.argument("path")
@click.option("--weight", type=float, help="Its share in the turns; with 2 it gets two for each of others.")
@click.option("--forks", type=_words(Forks), help="Whether a fork's commits can be approved.")
@click.option(
    "--build",
    "result",
    type=click.Choice([*_RESULTS]),
    help="Whether its head is built, or what merging it would make.",
)
@click.option("--drafts", type=_words(Drafts), help="Whether drafts are built.")
@click.option(
    "--check-only-bots", type=click.Choice([*_ONLY_CHECKED]), help="Whether bots get a verdict only."
)
@click.option(
    "--refused-versions",
    type=_words(RefusedVersions),
    help="Whether a version that the builder lacks is built all the same, fails at once, or is waited for.",
)
@click.option(
    "--watch-main",
    type=_words(MainWatch),
    help="Whether its default branch is built now and then to see whether it deploys, and an issue says "
    "when it does not.",
)
@click.option(
    "--life",
    help="How long its previews stay up, such as 48h or 3d, where its repository's file does not say; "
    "`default`: as the installation says.",
)
@_lists
@click.option("--clear", type=click.Choice([*LISTS]), multiple=True, help="Empty a list.")
def project_set(
    path: str,
    weight: float | None,
    check_only_bots: str | None,
    result: str | None,
    clear: tuple[str, ...],
    **given: Any,
) -> None:
    """Change which merge requests of the project PATH get a preview, and more; what is not given stays."""
    parts = opened_parts()
    connected = connected_project(parts, path)
    changes: dict[str, Any] = {name: value for name, value in given.items() if value}
    changes |= {name: _CHOICES[name](value) for name, value in changes.items() if name in _CHOICES}
    changes |= dict.fromkeys(clear, ())
    if changes.get("life") == "default":
        changes["life"] = ""
    if check_only_bots is not None:
        changes["check_only_bots"] = _ONLY_CHECKED[check_only_bots]
    if result is not None:
        changes["merged_result"] = _RESULTS[result]
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
    yield f"build  {next(word for word, value in _RESULTS.items() if value is rules.merged_result)}"
    yield f"refused-versions  {rules.refused_versions}"
    yield f"watch-main  {rules.watch_main}"
    yield f"life  {rules.life or 'default'}"
    only = next(word for word, value in _ONLY_CHECKED.items() if value is rules.check_only_bots)
    yield f"check-only-bots  {only}"
    lists: Mapping[str, tuple[str, ...]] = {name: getattr(rules, name) for name in LISTS}
    for name, flag in _FLAGS.items():
        yield f"{flag.removeprefix('--')}  {plain(', '.join(lists[name])) or '-'}"
