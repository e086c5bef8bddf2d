"""The command line: ``toolforge-preview``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path

import click
from sqlalchemy.exc import DBAPIError

from deploy.arguments import CHECKS
from deploy.backup import backup, restore
from deploy.config import config
from deploy.doctor import examine
from deploy.incident import incident
from deploy.opened import opened_parts
from deploy.pool import pool
from deploy.preview import preview
from deploy.project import project
from deploy.redis import redis
from deploy.simulate import simulate
from deploy.switch import switch
from deploy.top import top
from orchestrator import __version__
from orchestrator.errors import PreviewError
from orchestrator.settings import PREFIX, Settings

_STATE = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".state"),
    show_default=True,
    help="Folder that keeps everything.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="toolforge-preview")
def cli() -> None:
    """Ephemeral preview deployments for Wikimedia Toolforge tools."""


def main() -> None:
    """Run the command line; what goes wrong is one clear sentence and exit code 2."""
    if isinstance(sys.stdout, TextIOWrapper):
        # What is followed for a long time is to be seen at once, also through a pipe.
        sys.stdout.reconfigure(line_buffering=True)
    try:
        cli()
    except PreviewError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except DBAPIError as error:
        click.echo(f"Error: the database cannot be used: {error.orig}", err=True)
        click.echo("If it is new, or of an older version: toolforge-preview migrate", err=True)
        sys.exit(2)


@cli.command()
def settings() -> None:
    """List every setting with its default and meaning."""
    for name, field in Settings.model_fields.items():
        click.echo(f"{PREFIX}{name.upper()} (default: {field.default})\n    {field.description}")


@cli.command()
def migrate() -> None:
    """Bring the database to the newest form."""
    opened_parts().migrate()
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


cli.add_command(project)
cli.add_command(pool)


cli.add_command(preview)
cli.add_command(backup)
cli.add_command(restore)
cli.add_command(config)
cli.add_command(incident)
cli.add_command(redis)
cli.add_command(simulate)
cli.add_command(switch)
cli.add_command(top)


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
@CHECKS
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
