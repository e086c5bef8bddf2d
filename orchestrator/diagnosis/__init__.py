"""From logs to a cause and a remedy, in a maintainer's words. Pure.

What can be the cause of what stands as data in the modules beside this one; ``engine.py`` finds it. Where
nothing shows, it is said plainly, with the last lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from orchestrator.diagnosis import (
    compiled,
    node,
    php,
    platform,
    procfile,
    python,
    ruby,
    start,
    system,
    traces,
)
from orchestrator.diagnosis.engine import Catalogue, Cause, Confidence, Finding, Line, evidence, read
from orchestrator.markdown import plain
from orchestrator.outcome import Failure, toolforge_failed

_EXCERPT_LINES = 15
_LONGEST_LINE = 400

#: Specific ones before general ones.
BUILD_CAUSES = (
    *platform.GIT,
    *python.VERSION,
    *python.MANAGERS,
    *python.OUTAGES,
    *system.BUILD,
    *python.PACKAGES,
    *python.GENERAL,
    *node.CAUSES,
    *php.CAUSES,
    *ruby.CAUSES,
    *compiled.GO,
    *compiled.JAVA,
    *compiled.DOTNET,
    *platform.BUILDPACK,
    *platform.STORE,
    *platform.TOOLFORGES,
)
START_CAUSES = (*start.COMMAND, *system.START, *start.NEEDS)
CRASHED = Cause(
    "start-crashed",
    "the tool crashed at its start: {error}, in {file} line {line}",
    "Start the same commit on a machine of yours with the command of the `Procfile`; the lines say where it "
    "broke.",
    (),
    "CPython, nodejs/node, Ruby, PHP, Go",
)
ANSWERED_WITH_AN_ERROR = Cause(
    "check-app-error",
    "the tool broke while it answered: {error}, in {file} line {line}",
    "Open the path of the check on a machine of yours with the same commit; the lines say where it broke.",
    (),
    "CPython, nodejs/node, Ruby, PHP, Go",
)
#: All that there are, for the documents and the tests.
CAUSES = (
    *BUILD_CAUSES,
    *START_CAUSES,
    CRASHED,
    *start.EXITS,
    start.HEALTH,
    *start.UNREADY,
    *start.CHECK,
    ANSWERED_WITH_AN_ERROR,
)


@cache
def _catalogue(name: str) -> Catalogue:
    return Catalogue(
        {
            "refusal": platform.REFUSED,
            "build": BUILD_CAUSES,
            "crash": START_CAUSES,
            "exit": start.EXITS,
            "health": (start.HEALTH,),
            "unready": (*START_CAUSES, *start.UNREADY),
            "check": (*start.CHECK, *system.START, *start.NEEDS),
        }[name]
    )


def explain_build(log: str, message: str) -> Failure:
    """Why a build failed, from its log and builds-api's message."""
    lines = read(log, [message])
    finding = _catalogue("build").find(lines)
    if finding is not None:
        return _failure("build", "build", finding, log)
    return Failure(
        stage="build",
        summary=plain(message).split(". Check the logs")[0] or "the build failed",
        remedy="The last lines of the build log say what went wrong.",
        excerpt=excerpt(log),
        log="build",
    )


def explain_refusal(words: str) -> Failure:
    """Why builds-api would not even start a build, from its `words`."""
    finding = _catalogue("refusal").find(read("", [words]))
    return Failure(
        stage="build",
        summary=f"Toolforge would not start the build: {plain(words)}",
        remedy=finding.remedy
        if finding
        else "The words are Toolforge's own; ask the operators of the previews.",
        cause=finding.cause.id if finding else "",
        confidence=finding.cause.confidence if finding else "",
    )


#: Causes of which the commit's Procfile says more.
_NOT_FOUND = frozenset({"start-no-web", "start-not-found"})
#: By it a shell, and the launcher, say that they did not find a command.
NOT_FOUND_CODE = 127


def explain_crash(
    log: str, exit_code: int | None, command: str, reason: str = "", *, commits_procfile: str | None = None
) -> Failure:
    """Why a job's process exited, from its log, its exit code, and jobs-api's `reason`.

    `commits_procfile` is the commit's own, empty where it has none; None: it is not known.
    """
    own_words = [reason] if exit_code is None else [reason, f"exit code {exit_code}"]
    lines = read(log, own_words)
    finding = (
        _with_its_place(_catalogue("crash").find(lines, {"command": command}), lines)
        or _traced(CRASHED, lines)
        or _catalogue("exit").find(lines, {"command": command})
    )
    code = "" if exit_code is None else f" (exit code {exit_code})"
    if finding is not None:
        failure = _failure("start", "job", finding, log)
        why = ""
        if commits_procfile is not None and failure.cause in _NOT_FOUND:
            why = procfile.without(finding.values.get("command", command), commits_procfile)
        return replace(failure, summary=f"{failure.summary}{code}{f': {why}' if why else ''}")
    return Failure(
        stage="start",
        summary=f"the web process exited right after its start{code}",
        remedy="The last lines of its log say why; it has to keep running and to listen on `$PORT`.",
        excerpt=excerpt(log),
        log="job",
    )


def explain_unready(
    log: str, reason: str, *, seconds: float, health: str | None = None, port: int | None = None
) -> Failure:
    """Why a job whose process runs is not ready, `seconds` after its start.

    `health` is the path that Toolforge asks, None where it only connects to `port`.
    """
    lines = read(log, [reason])

    def is_possible(finding: Finding) -> bool:
        return finding.cause.id != "listens-on-wrong-port" or finding.values.get("port") != str(port)

    def is_asked_for(finding: Finding) -> bool:
        return finding.values["path"].split("?")[0] == (health or "").split("?")[0]

    late = f"the job was not ready within {round(seconds)} seconds"
    finding = _catalogue("health").find(lines, accepts=is_asked_for) if health else None
    finding = finding or _catalogue("unready").find(lines, accepts=is_possible) or _traced(CRASHED, lines)
    if finding is not None:
        failure = _failure("start", "job", finding, log)
        return replace(failure, summary=f"{late}: {failure.summary}")
    return Failure(
        stage="start",
        summary=f"{late}: {plain(reason)}",
        remedy="The web process has to listen on 0.0.0.0, on the port in `$PORT`, soon after its start.",
        excerpt=excerpt(log),
        log="job",
    )


def explain_check(log: str, answers: str) -> Failure:
    """Why the smoke checks failed, from their `answers` and the job's log."""
    lines = read(log)
    finding = _catalogue("check").find(lines) or _traced(ANSWERED_WITH_AN_ERROR, lines)
    if finding is not None:
        failure = _failure("check", "job", finding, log)
        # The log may speak of another request than that of the check.
        return replace(failure, summary=f"{answers}; {failure.summary}", confidence=Confidence.LIKELY)
    return Failure(
        stage="check",
        summary=answers,
        remedy="Run the same commit on a machine of yours and open the path of the check; the log says more.",
        excerpt=excerpt(log),
        log="job",
    )


def _traced(cause: Cause, lines: Sequence[Line]) -> Finding | None:
    trace = traces.last(lines)
    return Finding(cause, trace.values, evidence(trace.lines)) if trace else None


def _with_its_place(finding: Finding | None, lines: Sequence[Line]) -> Finding | None:
    """The finding with the line of the tool's own code, where a trace leads from there to what was found."""
    trace = traces.last(lines) if finding else None
    if finding is None or trace is None:
        return finding
    found = {line.line for line in finding.evidence}
    numbers = {line.number for line in trace.lines}
    if not found & numbers:
        return finding
    shown = [line for line in lines if line.number in found | numbers and (line.number or line.place)]
    return replace(finding, evidence=evidence(shown))


def _failure(stage: str, log_kind: str, finding: Finding, log: str) -> Failure:
    acquitted = toolforge_failed(finding.summary, finding.remedy) if finding.cause.is_elsewhere else None
    return Failure(
        stage=acquitted.stage if acquitted else stage,
        summary=finding.summary,
        remedy=acquitted.remedy if acquitted else finding.remedy,
        excerpt=excerpt(log),
        cause=finding.cause.id,
        confidence=finding.cause.confidence,
        evidence=finding.evidence,
        log=log_kind,
        facts=dict(finding.values),
    )


def excerpt(log: str) -> str:
    """The last lines that say something, without the prefixes that Toolforge puts before each line."""
    return "\n".join(line.text[:_LONGEST_LINE] for line in read(log)[-_EXCERPT_LINES:])
