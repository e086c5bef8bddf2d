"""From a log to a cause and a remedy, in a maintainer's words. Pure.

The needles are the exact texts of the buildpacks that Toolforge's builder uses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.markdown import plain
from orchestrator.outcome import Failure

_EXCERPT_LINES = 15
#: ``[step-build] 2026-01-01T00:00:00.000000000Z text``
_PREFIX = re.compile(r"^\[(?P<container>[\w-]{1,64})\] (?:\d{4}-\d\d-\d\dT\S{1,40} )?")
_NOISE = re.compile(r"^\s*(?:[-=*_.\u2500-\u257f]{3,})?\s*$")


#: By SIGKILL or SIGTERM: how Kubernetes ends a container that is out of memory, or whose probe keeps failing.
_ENDED_BY_FORCE = frozenset({137, 143})


@dataclass(frozen=True)
class Rule:
    """A text of the log that gives the cause away."""

    needle: str
    summary: str
    remedy: str


BUILD_RULES = (
    Rule(
        "[Error: The requested Python version isn't available]",
        "Toolforge's builder does not have the Python version that the repository asks for",
        "Set `.python-version` to a version that the builder has; the log names what was asked for.",
    ),
    Rule(
        "[Error: The requested Python version isn't recognised]",
        "Toolforge's builder does not know the Python version that the repository asks for",
        "Set `.python-version` to a version that the builder has; the log names those it knows.",
    ),
    Rule(
        "[Error: The requested Python version has reached end-of-life]",
        "the Python version that the repository asks for is no longer supported",
        "Set `.python-version` to a newer version.",
    ),
    Rule(
        "[Error: The runtime.txt file isn't supported]",
        "the builder does not read `runtime.txt` any more",
        "Delete `runtime.txt` and name the version in `.python-version`.",
    ),
    Rule(
        "[Error: Multiple Python package manager files were found]",
        "the repository has files of more than one Python package manager",
        "Keep exactly one of `requirements.txt`, `poetry.lock` and `uv.lock`.",
    ),
    Rule(
        "[Error: Couldn't find any supported Python package manager files]",
        "the repository looks like Python but names no dependencies",
        "Add a `requirements.txt` (it may be empty), `poetry.lock` or `uv.lock` at its top.",
    ),
    Rule(
        "[Error: Unable to install dependencies using",
        "the dependencies could not be installed",
        "The lines of the package manager below name the package; correct its version or name.",
    ),
    Rule(
        "! Unknown Node.js version",
        "Toolforge's builder does not have the Node.js version that `package.json` asks for",
        "Change `engines.node` in `package.json` to a version that the builder has.",
    ),
    Rule(
        "! Failed to install Node modules",
        "the Node modules could not be installed",
        "Run `npm ci` on the same commit; the lock file has to fit `package.json`.",
    ),
    Rule(
        "No buildpack groups passed detection",
        "the builder recognised no language in the repository",
        "Put the files of one language at the top of the repository: for example `requirements.txt`, "
        "`package.json` or `public/index.html`.",
    ),
    Rule(
        "will exceed the configured upper limit",
        "the image does not fit into the account's image store",
        "Earlier commits of this merge request fill the store, too: `/preview stop`, then `/preview` begins "
        "with an empty one. If it still does not fit: fewer dependencies, no large files in the repository.",
    ),
)


def explain_build(log: str, message: str) -> Failure:
    """Why a build failed, from its log and builds-api's message."""
    text = plain(log)
    rule = next((rule for rule in BUILD_RULES if rule.needle in text), None)
    return Failure(
        stage="build",
        summary=rule.summary if rule else (plain(message).split(". Check the logs")[0] or "the build failed"),
        remedy=rule.remedy if rule else "The last lines of the build log say what went wrong.",
        excerpt=excerpt(text),
    )


def explain_crash(log: str, exit_code: int | None, command: str, *, what: str = "web process") -> Failure:
    """Why a job's process exited, from its log and exit code; `what` it is called for people."""
    if exit_code == 127:
        summary = f"the command '{command}' was not found (exit code 127)"
        remedy = f"Add a line `{command}: ...` to the `Procfile` at the top of the repository."
    elif exit_code in _ENDED_BY_FORCE:
        summary = f"the {what} was ended by force (exit code {exit_code})"
        remedy = (
            "It has to listen on 0.0.0.0, on the port in $PORT, soon after its start, and to make do with "
            "the memory that Toolforge gives it."
        )
    else:
        code = "" if exit_code is None else f" (exit code {exit_code})"
        summary = f"the {what} exited right after its start{code}"
        remedy = "The last lines of its log say why; it has to keep running and to listen on $PORT."
    return Failure(stage="start", summary=summary, remedy=remedy, excerpt=excerpt(plain(log)))


def excerpt(log: str) -> str:
    """The last lines that say something, without the prefixes that Toolforge puts before each line."""
    lines = (_PREFIX.sub("", line).rstrip() for line in log.splitlines())
    meaningful = [line[:400] for line in lines if not _NOISE.match(line)]
    return "\n".join(meaningful[-_EXCERPT_LINES:])
