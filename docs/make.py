"""Writes the parts of the documents that are made from the code: ``python docs/make.py``.

With ``--check`` nothing is written; the exit code is 1 when a document is not what the code says.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import reference
import reliability

from orchestrator import diagnosis, pool, preview
from orchestrator.diagnosis.engine import Cause, Confidence
from orchestrator.outcome import Says
from orchestrator.repoconfig import FILE_NAME, RepoConfig
from orchestrator.settings import PREFIX, Settings

DOCS = Path(__file__).parent


def settings() -> str:
    """The table of all settings."""
    lines = [
        "# Settings",
        "",
        "Each is an environment variable, or a line of the TOML file that `TOOLFORGE_PREVIEW_CONFIG` names",
        "(there in lower case, without the prefix). The environment wins. A wrong or unknown setting is",
        "refused at the start, with its name and what was expected.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def states() -> str:
    """The states of deployments and accounts, drawn and explained."""
    return (
        "# States\n\n"
        "Drawn from the transition tables in `orchestrator/preview.py` and `orchestrator/pool.py`;\n"
        "what is not drawn here is refused.\n\n"
        f"## A deployment\n\n{_diagram(preview.TRANSITIONS)}\n"
        f"## An account\n\n{_diagram(pool.TRANSITIONS)}"
    )


def causes() -> str:
    """The causes of failures that are known, with what to do about each."""
    lines = [
        "# What a failure is told as",
        "",
        "Made from the catalogue in `orchestrator/diagnosis/`, where each cause has the signs by which it is",
        "known and an example of each. *Likely* is said where a log says something from which it follows in",
        "most cases; *elsewhere*, where it is no fault of the commit: it is built once more by itself. Words",
        "in italics stand for what the log names. `tests/orchestrator/logs/` has a log for most of them.",
        "",
        "## A second opinion",
        "",
        "Where a build surely failed since the current builder does not have a version, the same commit is",
        "built once more with the latest builder (`use_latest_versions`), if a build slot is free and",
        "nobody waits. The note, the page and the API (`opinion`) then say what came of it:",
        "",
        "| `says` | what it means |",
        "|---|---|",
        *(f"| `{says}` | {_SAYS[says]} |" for says in Says),
        "",
        "It is no deployment and changes no verdict; a push, a close, a command or somebody who waits ends",
        "it. Its log is kept as the *second build*. There is none beside a commit that is up: see ADR 15.",
    ]
    for title, family in (("The build", diagnosis.BUILD_CAUSES), ("The start and the checks", _START)):
        lines += ["", f"## {title}", "", "| cause | what happened | what to do |", "|---|---|---|"]
        lines += [_cause(cause) for cause in family]
    return "\n".join(lines) + "\n"


#: What may come of a second opinion.
_SAYS: Mapping[Says, str] = {
    Says.BUILDS: "it builds there; the words say how to choose that builder on Toolforge",
    Says.LACKS: "it is not available on Toolforge yet; the newest version that is known is named",
    Says.FAILS: "it fails there, too, for another reason, which is named",
}
_START = diagnosis.CAUSES[len(diagnosis.BUILD_CAUSES) :]


def _cause(cause: Cause) -> str:
    summary, remedy = (re.sub(r"\{(\w+)\}", r"*\1*", text) for text in (cause.summary, cause.remedy))
    likely = " (likely)" if cause.confidence is Confidence.LIKELY else ""
    elsewhere = " (elsewhere)" if cause.is_elsewhere else ""
    return f"| `{cause.id}` | {summary}{likely}{elsewhere} | {remedy} |"


def schema() -> str:
    """The JSON Schema of a repository's own file, for editors."""
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | RepoConfig.model_json_schema()
    return json.dumps(described | {"title": FILE_NAME}, indent=2, ensure_ascii=False) + "\n"


def _diagram(transitions: Mapping[tuple[str, str], str]) -> str:
    drawn = [f"    {before} --> {after}" for before, after in transitions]
    told = [f"| {before} | {after} | {why} |" for (before, after), why in transitions.items()]
    table = ["| from | to | because |", "|---|---|---|", *told]
    return "\n".join(["```mermaid", "stateDiagram-v2", *drawn, "```", "", *table, ""])


def main() -> int:
    """Write, or with ``--check`` compare; 1 when something differs."""
    wrong = []
    made = {
        "settings.md": settings(),
        "states.md": states(),
        "diagnosis.md": causes(),
        "commands.md": reference.commands(),
        "api.md": reference.api(),
        "toolforge-preview.schema.json": schema(),
        "reliability.md": reliability.document(),
    }
    for name, text in made.items():
        path = DOCS / name
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            wrong.append(name)
    if wrong:
        print(f"{', '.join(wrong)} differ from the code; run `make docs`", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
