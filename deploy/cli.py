"""The command line: ``toolforge-preview``."""

from __future__ import annotations

import getpass
import json
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from sqlalchemy.exc import DBAPIError

from deploy.doctor import examine
from deploy.screen import overview_table
from orchestrator.bootstrap import Parts
from orchestrator.connect import add_account, connect_project
from orchestrator.errors import BadInput, PreviewError
from orchestrator.records import Project
from orchestrator.report import instant
from orchestrator.settings import PREFIX, Settings, load_settings

_STATE = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".state"),
    show_default=True,
    help="Folder that keeps everything.",
)


class _Check(click.ParamType[tuple[str, int | None]]):
    """PATH=STATUS, or PATH alone for "anything below 500"."""

    name = "PATH=STATUS"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | None]:
        path, _, status = value.rpartition("=") if "=" in value else (value, "", "")
        if not re.fullmatch(r"/[^\s#]*", path) or path.startswith("//"):
            self.fail(f"'{path}' is no path such as /healthz", param, ctx)
        if status and not re.fullmatch(r"[1-5]\d\d", status):
            self.fail(f"'{status}' is no HTTP status such as 200", param, ctx)
        return path, int(status) if status else None


class _Duration(click.ParamType[float]):
    """A number with m, h or d: minutes, hours, days."""

    name = "DURATION"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"([0-9]{1,6})([mhd])", value)
        if match is None:
            self.fail(f"'{value}' is no duration such as 90m, 48h or 3d", param, ctx)
        return float(match[1]) * {"m": 60.0, "h": 3600.0, "d": 86400.0}[match[2]]


_CHECKS = click.option(
    "--check", "checks", type=_Check(), multiple=True, help="A smoke check; may be given several times."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="toolforge-preview")
def cli() -> None:
    """Ephemeral preview deployments for Wikimedia Toolforge tools."""


def main() -> None:
    """Run the command line; what goes wrong is one clear sentence and exit code 2."""
    try:
        cli()
    except PreviewError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except DBAPIError as error:
        click.echo(f"Error: the database cannot be used: {error.orig}", err=True)
        click.echo("If it is new, or of an older version: toolforge-preview migrate", err=True)
        sys.exit(2)


def _parts() -> Parts:
    """The product's parts, closed when the command ends."""
    parts = Parts(load_settings())
    click.get_current_context().call_on_close(parts.close)
    return parts


@cli.command()
def settings() -> None:
    """List every setting with its default and meaning."""
    for name, field in Settings.model_fields.items():
        click.echo(f"{PREFIX}{name.upper()} (default: {field.default})\n    {field.description}")


@cli.command()
def migrate() -> None:
    """Bring the database to the newest form."""
    _parts().migrate()
    click.echo("The database is up to date.")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON list, for machines.")
def doctor(as_json: bool) -> None:
    """Look at the set-up from outside to inside; exit 1 when anything is wrong."""
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            click.echo(f"{'ok   ' if finding.is_well else 'WRONG'} {finding.subject}: {finding.message}")
            if finding.remedy:
                click.echo(f"      {finding.remedy}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    sys.exit(0 if all(finding.is_well for finding in findings) else 1)


# --- projects, pool, previews -------------------------------------------------------------------------


@cli.group()
def project() -> None:
    """Connected GitLab projects."""


@project.command("add")
@click.argument("path")
@_CHECKS
def project_add(path: str, checks: tuple[tuple[str, int | None], ...]) -> None:
    """Connect the GitLab project PATH (group/name): make its webhook, look at open merge requests."""
    dues = connect_project(_parts(), path, checks=checks, now=time.time())
    click.echo(f"Connected {path}; {len(dues)} open merge requests will be looked at.")


@project.command("list")
def project_list() -> None:
    """List the connected projects."""
    with _parts().store.read() as tx:
        for connected in tx.projects():
            weight = "" if connected.weight == 1 else f"  weight {connected.weight:g}"
            click.echo(f"{connected.path}  {connected.web_url}{weight}")


@project.command("set")
@click.argument("path")
@click.option("--weight", type=float, required=True, help="Its share in the turns; the usual one is 1.")
def project_set(path: str, weight: float) -> None:
    """Give the project PATH another share: with weight 2 it gets two turns for each of others."""
    parts = _parts()
    parts.lifecycle.weigh(_project(parts, path).id, weight, _operator(), time.time())
    click.echo(f"{path} has weight {weight:g}.")


@cli.group()
def pool() -> None:
    """The dev tool accounts."""


@pool.command("add")
@click.argument("tool")
@click.option("--kubeconfig", help="Path of the tool's kubeconfig.")
@click.option("--cert", help="Path of the tool's client.crt.")
@click.option("--key", help="Path of the tool's client.key.")
@click.option("--env", help="Prefix of two environment variables, PREFIX_CRT and PREFIX_KEY, with PEM texts.")
def pool_add(tool: str, kubeconfig: str | None, cert: str | None, key: str | None, env: str | None) -> None:
    """Add the dev account of TOOL. Everything in it will be deleted."""
    given = {"kubeconfig": kubeconfig, "cert": cert, "key": key, "env": env}
    credentials = {name: value for name, value in given.items() if value}
    if set(credentials) not in ({"kubeconfig"}, {"cert", "key"}, {"env"}):
        raise click.UsageError("Give --kubeconfig, or --cert and --key, or --env.")
    add_account(_parts(), tool, credentials, time.time())
    click.echo(f"Added {tool}; it is free as soon as it has been cleaned.")


@pool.command("list")
def pool_list() -> None:
    """List the accounts and what they do."""
    with _parts().store.read() as tx:
        for account in tx.accounts():
            remark = f"  {account.reason}" if account.reason else ""
            click.echo(f"{account.name}  {account.state}{' (to be drained)' * account.drain}{remark}")


@pool.command("drain")
@click.argument("tool")
def pool_drain(tool: str) -> None:
    """Take TOOL out of use as soon as it is free."""
    _parts().lifecycle.drain(tool, "operator", time.time())
    click.echo(f"{tool} is taken out of use.")


@pool.command("undrain")
@click.argument("tool")
def pool_undrain(tool: str) -> None:
    """Put TOOL back into use, by way of a cleaning."""
    _parts().lifecycle.drain(tool, "operator", time.time(), undo=True)
    click.echo(f"{tool} is put back into use.")


@cli.group()
def preview() -> None:
    """Previews of merge requests, named GROUP/PROJECT!IID."""


@preview.command("list")
def preview_list() -> None:
    """List the newest previews, the queue and the pool."""
    Console().print(overview_table(_parts().views.overview(time.time())))


@preview.command("stop")
@click.argument("name", metavar="GROUP/PROJECT!IID")
def preview_stop(name: str) -> None:
    """Take a preview down and give its account back."""
    parts = _parts()
    parts.lifecycle.stop(_preview_id(parts, name), "operator", "stopped by an operator", time.time())
    click.echo(f"{name} is being taken down.")


@preview.command("keep")
@click.argument("name", metavar="GROUP/PROJECT!IID")
@click.argument("seconds", metavar="DURATION", type=_Duration())
def preview_keep(name: str, seconds: float) -> None:
    """Let a live preview neither expire nor give way to others for DURATION, such as 48h or 3d."""
    parts = _parts()
    parts.lifecycle.keep(_preview_id(parts, name), seconds, _operator(), time.time())
    click.echo(f"{name} is kept until {instant(time.time() + seconds)}.")


@preview.command("release")
@click.argument("name", metavar="GROUP/PROJECT!IID")
def preview_release(name: str) -> None:
    """Let a preview that is kept give way again."""
    parts = _parts()
    parts.lifecycle.release(_preview_id(parts, name), _operator(), time.time())
    click.echo(f"{name} is not kept any more.")


@preview.command("redeploy")
@click.argument("name", metavar="GROUP/PROJECT!IID")
def preview_redeploy(name: str) -> None:
    """Build the head commit again, or approve it if it waits for that."""
    parts = _parts()
    parts.lifecycle.approve_or_redeploy(_preview_id(parts, name), "operator", time.time())
    click.echo(f"{name} is queued.")


def _preview_id(parts: Parts, name: str) -> int:
    path, _, iid = name.rpartition("!")
    is_number = re.fullmatch(r"[0-9]{1,9}", iid)
    view = parts.views.preview(path, int(iid)) if path and is_number else None
    if view is None:
        raise BadInput(f"There is no preview '{name}'; `toolforge-preview preview list` shows the newest.")
    return view.preview.id


@cli.group()
def switch() -> None:
    """What is stopped on purpose."""


_WHY = click.option("--why", required=True, help="Why, for everybody who waits; say until when if known.")
_PROJECT = click.option("--project", "path", metavar="GROUP/PROJECT", help="Only this project.")


@switch.command("list")
@click.option("--history", is_flag=True, help="Also what was stopped and resumed before.")
def switch_list(history: bool) -> None:
    """List what is stopped, since when, by whom and why."""
    parts = _parts()
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
    parts = _parts()
    project_id = None if path is None else _project(parts, path).id
    parts.lifecycle.pause(_operator(), _sentence(why), time.time(), project_id=project_id)
    click.echo(f"{path or 'Everything'} is paused.")


@switch.command("freeze")
@_WHY
def switch_freeze(why: str) -> None:
    """Build nothing new; what runs goes on, and previews that are up are left alone."""
    _parts().lifecycle.freeze(_operator(), _sentence(why), time.time())
    click.echo("Builds are frozen.")


@switch.command("resume")
@_PROJECT
def switch_resume(path: str | None) -> None:
    """Go on with a project. Without --project end the emergency stop, and the freeze of the builds."""
    parts = _parts()
    project_id = None if path is None else _project(parts, path).id
    parts.lifecycle.resume(_operator(), time.time(), project_id=project_id)
    click.echo(f"{path or 'Everything'} goes on.")


def _operator() -> str:
    """Who types, as far as this machine knows."""
    try:
        return f"operator {getpass.getuser()}"
    except (KeyError, OSError):  # a container may have no such user
        return "operator"


def _sentence(why: str) -> str:
    if not why.strip():
        raise BadInput("Say why: those who wait are told.")
    return " ".join(why.split())[:200]


def _project(parts: Parts, path: str) -> Project:
    with parts.store.read() as tx:
        found = next((project for project in tx.projects() if project.path == path), None)
    if found is None:
        raise BadInput(f"'{path}' is not connected; `toolforge-preview project list` shows those that are.")
    return found


# --- on this machine ----------------------------------------------------------------------------------


@cli.command()
@_STATE
@click.option(
    "--once", is_flag=True, help="Take the samples through their whole way, then exit: 0 if all went well."
)
@click.option("--clean", is_flag=True, help="Forget everything that the demo has kept, and exit.")
def demo(state: Path, once: bool, clean: bool) -> None:
    """Show the product at work, with a local Toolforge and a local GitLab."""
    from deploy import demo as show

    if clean:
        show.forget(state)
    elif once:
        sys.exit(show.once())
    else:
        show.run(state)


@cli.command("try")
@click.argument("repository", metavar="PATH_OR_URL")
@click.option("--ref", default="HEAD", show_default=True, help="Branch, tag or commit to try.")
@_CHECKS
@click.option("--once", is_flag=True, help="Tear down after the verdict: exit 0 on success, 1 on failure.")
def try_(repository: str, ref: str, checks: tuple[tuple[str, int | None], ...], once: bool) -> None:
    """Try any git repository: open a merge request for it on a local GitLab and follow it to the verdict."""
    from deploy import trial

    sys.exit(trial.run(repository, ref=ref, checks=checks, once=once))


_PASS_ON = {"ignore_unknown_options": True, "help_option_names": []}


@cli.command("local-toolforge", context_settings=_PASS_ON)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def local_toolforge(options: tuple[str, ...]) -> None:
    """Serve a local Toolforge: `--help` shows its options."""
    _become("deploy.local.toolforge", options)


@cli.command("local-gitlab", context_settings=_PASS_ON)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def local_gitlab(options: tuple[str, ...]) -> None:
    """Serve a local GitLab: `--help` shows its options."""
    _become("deploy.local.gitlab", options)


def _become(module: str, options: tuple[str, ...]) -> None:
    import os

    os.execv(sys.executable, [sys.executable, "-m", module, *options])  # noqa: S606 - our own interpreter
