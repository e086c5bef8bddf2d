"""``toolforge-preview config``: looks at a repository's own file, before it is pushed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from orchestrator.errors import BadInput
from orchestrator.located import MOST_BYTES
from orchestrator.repoconfig import FILE_NAME
from orchestrator.repofile import Problem, WrongFile, parse
from orchestrator.repovalues import Bounds


@click.group()
def config() -> None:
    """The file by which a repository says how it is previewed."""


@config.command("check")
@click.argument("file", type=click.Path(path_type=Path), default=FILE_NAME)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
def config_check(file: Path, as_json: bool) -> None:
    """Look for mistakes in FILE: exit 0 when there are none, 1 when there are, 2 when it cannot be read.

    Memory, processors and times are held against the usual limits; an instance may have set others.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from None
    problems: tuple[Problem, ...] = ()
    try:
        parse(content, Bounds())
    except WrongFile as error:
        problems = error.problems
    if as_json:
        told = {"file": str(file), "good": not problems, "problems": [asdict(one) for one in problems]}
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo("\n".join(f"{file}, {problem}" for problem in problems) or f"{file} is good.")
    sys.exit(1 if problems else 0)
