"""Every command in the documents is one that there is: its name, its options, their values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest

from deploy.cli import cli
from orchestrator.merge_request import Verb, command_in
from orchestrator.settings import PREFIX, TOKEN_VARIABLE, Settings
from tests.docs.blocks import INLINE, REPOSITORY, documents, lines_of, parts_of, without_blocks

#: Made from the commands themselves, in the form of a usage.
_GENERATED = "commands.md"
_PROGRAM = re.compile(r"(\S*/)?toolforge-preview")
_MODULE = ("python", "-m", "deploy")
#: What stands for a value in a document.
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_]+")
#: And the variables that may be given to them.
_TARGETS = set(re.findall(r"^([a-z-]+:|[A-Z]+ \?=)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
_TARGETS = {name.rstrip(": ?=") for name in _TARGETS}
_VARIABLES = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {TOKEN_VARIABLE}

PAGES = [path for path in documents() if path.name != _GENERATED]


def named(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def ours(part: Sequence[str]) -> Iterator[list[str]]:
    """The arguments of each call of the program in a simple command, also in a quotation."""
    if part and _PROGRAM.fullmatch(part[0]):
        yield list(part[1:])
    for start in range(len(part)):
        if tuple(part[start : start + 3]) == _MODULE:
            yield list(part[start + 3 :])
    for token in part:
        if " ".join(_MODULE) in token:
            yield from ours(shlex.split(token))


def check(arguments: Sequence[str], *, is_whole: bool) -> None:
    """Raise click's error if there is no such command; one that is not `is_whole` may lack something."""
    command: click.Command = cli
    rest = [re.sub(r"[\[\]]|\.\.\.$", "", word) for word in arguments]
    while isinstance(command, click.Group):
        if not rest or rest[0] in {"--version", "--help"}:
            assert not is_whole or rest, f"{arguments} is only a group"
            return
        found = command.get_command(click.Context(command), rest.pop(0))
        assert found is not None, f"there is no command {' '.join(arguments)}"
        command = found
    try:
        command.make_context(command.name, list(rest))
    except click.exceptions.Exit:
        return  # --help
    except (click.MissingParameter, click.BadOptionUsage):
        if is_whole:
            raise
    except click.BadParameter as error:
        is_file = error.param is not None and isinstance(error.param.type, click.File | click.Path)
        if not is_file and not any(_PLACEHOLDER.search(word) for word in rest):
            raise


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_command_in_a_block_is_one_that_there_is(path: Path) -> None:
    for line in lines_of(path.read_text()):
        for part in parts_of(line):
            for arguments in ours(part):
                check(arguments, is_whole=True)
            if part[:1] == ["make"]:
                assert set(part[1:]) <= _TARGETS, line


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_command_in_a_sentence_is_one_that_there_is(path: Path) -> None:
    for code in INLINE.findall(without_blocks(path.read_text())):
        words = code.split()
        group = cli.commands.get(words[0]) if words else None
        if words[:1] == ["make"]:
            assert {word.partition("=")[0] for word in words[1:]} <= _TARGETS, code
        elif words[:1] == ["/preview"]:
            command = command_in(code)
            assert command is not None, code
            assert command.verb is not Verb.UNKNOWN, code
        elif isinstance(group, click.Group) and len(words) > 1 and re.fullmatch(r"[a-z-]+", words[1]):
            check(shlex.split(code), is_whole=False)
        else:
            for part in parts_of(code):
                for arguments in ours(part):
                    check(arguments, is_whole=False)


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_setting_is_one_that_there_is(path: Path) -> None:
    found = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", path.read_text()))
    assert found - _VARIABLES - {f"{PREFIX}CONFIG"} == set()


def test_commands_are_seen_wherever_they_stand() -> None:
    text = "```\n$ a; .venv/bin/toolforge-preview pool \\\n    list  # all\nshown\n```\n"
    (line,) = lines_of(text)
    assert [list(ours(part)) for part in parts_of(line)] == [[], [["pool", "list"]]]
    job = 'toolforge jobs run x --command "python -m deploy pool add T --env E" --wait'
    assert [list(ours(part)) for part in parts_of(job)] == [[["pool", "add", "T", "--env", "E"]]]


@pytest.mark.parametrize(
    "wrong",
    ["pool lst", "pool list --loud", "pool add", "switch freeze", "project set a/b --drafts maybe", "pool"],
)
def test_a_command_that_there_is_not_is_found_out(wrong: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        check(wrong.split(), is_whole=True)
