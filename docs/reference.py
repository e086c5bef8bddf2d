"""The reference of the command line, of the comments and of the HTTP API, made from the code."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from deploy.cli import cli
from orchestrator.report import COMMANDS
from web.api import OPERATIONS
from web.openapi import describe

_PROGRAM = "toolforge-preview"
#: The parts of the pages of what is the same everywhere.
_USUAL = ("400", "401", "503")


def commands() -> str:
    """Every command with its arguments and options."""
    return (
        "# Commands\n\n"
        "Made from the code: what each command says of itself with `--help`.\n\n"
        "## In comments\n\n"
        "By somebody with the Developer role, in a comment that holds nothing else "
        "([more](maintainers.md#commands)).\n\n"
        f"{COMMANDS}\n\n"
        "## In a terminal\n\n"
        f"The program is `{_PROGRAM}`, in a checkout `.venv/bin/{_PROGRAM}`, and in an image "
        "`python -m deploy`. Operators' commands find the database by the [settings](settings.md). With "
        "`--server` commands ask a server, with a token ([how](maintainers.md#from-a-terminal)). The exit "
        "code is 0 when all went well, 1 when what was looked at is not well, 2 when the command could not "
        "be carried out.\n\n" + "\n\n".join(_told(cli, _PROGRAM)) + "\n"
    )


def _told(command: click.Command, name: str) -> Iterator[str]:
    """A command and those below it."""
    context = click.Context(command, info_name=name)
    if isinstance(command, click.Group):
        if command is not cli:
            yield f"### {name}"
            yield _help(command)
        for word in command.list_commands(context):
            found = command.get_command(context, word)
            if found is not None and not found.hidden:
                yield from _told(found, f"{name} {word}")
        return
    yield f"{'####' if name.count(' ') > 1 else '###'} {name}"
    usage = " ".join(command.collect_usage_pieces(context)).removeprefix("[OPTIONS]").strip()
    yield f"```\n{name} {usage}".rstrip() + "\n```"
    yield _help(command)
    options = [_option(one, context) for one in command.get_params(context)]
    if any(options):
        yield _table(("option", "meaning"), [one for one in options if one])


def _help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def _option(parameter: click.Parameter, context: click.Context) -> tuple[str, str] | None:
    """Its names with what they take, and its meaning; None for arguments, and for `--help`."""
    told = parameter.get_help_record(context)
    if not isinstance(parameter, click.Option) or told is None or "--help" in parameter.opts:
        return None
    names, meaning = told
    return f"`{names}`", meaning


def api() -> str:
    """What can be asked over HTTP, and the form of the answers."""
    described = describe(OPERATIONS, server="", version="")
    schemas = described["components"]["schemas"]
    asked = [
        (method.upper(), path, one)
        for path, methods in described["paths"].items()
        for method, one in methods.items()
    ]
    operations = "\n\n".join(_operation(*one) for one in asked)
    models = "\n\n".join(
        _model(name, schema) for name, schema in sorted(schemas.items()) if not name.startswith("Listed_")
    )
    return (
        "# HTTP API\n\n"
        "Made from the code; a running server has the same at `/api/v1/`, and as OpenAPI at "
        "`/api/v1/openapi.json`.\n\n"
        f"{described['info']['description']}\n\n"
        "Paths begin with `/api/v1`. A token goes into the header `Authorization: Bearer tfp_...` "
        "([tokens](sign-in.md#tokens)). What goes wrong is told as [ProblemOut](#problemout): 400 for a "
        "wrong parameter or body, 401 for a token that does not count, 403 for what is not allowed, 503 when "
        "a part does not answer; other codes are named below.\n\n"
        f"## What can be asked\n\n{operations}\n\n"
        "## What is given and taken\n\n"
        f"Times are ISO 8601 in UTC. A question mark stands behind what may be null.\n\n{models}\n"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    responses = operation["responses"]
    (given,) = responses["200"]["content"].values()
    parts = [f"### {method} `{path}`", operation["summary"], f"Answers with {_kind(given['schema'])}."]
    if "requestBody" in operation:
        (taken,) = operation["requestBody"]["content"].values()
        parts[-1] = f"Takes {_kind(taken['schema'])}, answers with {_kind(given['schema'])}."
    errors = [f"{code}: {one['description']}" for code, one in responses.items() if _is_special(code, method)]
    if errors:
        parts[-1] += f" {' '.join(errors)}"
    rows = [
        (f"`{one['name']}`", _kind(one["schema"]), one.get("description", ""))
        for one in operation["parameters"]
        if one["in"] == "query"
    ]
    if rows:
        parts.append(_table(("parameter", "type", "meaning"), rows))
    return "\n\n".join(parts)


def _is_special(code: str, method: str) -> bool:
    """Whether an error is no usual one of every operation."""
    return code not in {"200", "403", *_USUAL} or (method == "POST" and code == "400")


def _model(name: str, schema: Mapping[str, Any]) -> str:
    parts = [f"### {name}"]
    if "description" in schema:
        parts.append(schema["description"].partition("\n\n")[0])
    if "enum" in schema:
        parts.append(f"One of {', '.join(f'`{value}`' for value in schema['enum'])}.")
    rows = [
        (f"`{field}`", _kind(one), one.get("description", ""))
        for field, one in schema.get("properties", {}).items()
    ]
    if rows:
        parts.append(_table(("field", "type", "meaning"), rows))
    return "\n\n".join(parts)


def _kind(schema: Mapping[str, Any]) -> str:
    """A type in words; models are links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name.startswith("Listed_"):
            listed = name.removeprefix("Listed_").removesuffix("_")
            return f"a list (`items`, `next`) of [{listed}](#{listed.lower()})"
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        kinds = [_kind(one) for one in schema["anyOf"] if one != {"type": "null"}]
        return f"{' or '.join(kinds)}{'?' * (len(kinds) < len(schema['anyOf']))}"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return "time" if schema.get("format") == "date-time" else str(schema.get("type", "any"))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
