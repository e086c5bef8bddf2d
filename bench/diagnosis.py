"""How many of the logs in ``tests/orchestrator/logs`` are told with their cause, and what that costs.

Run as ``python -m bench.diagnosis``; exit code 1 when any is told with a wrong one.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.diagnosis import (
    explain_build,
    explain_check,
    explain_crash,
    explain_refusal,
    explain_unready,
)
from orchestrator.outcome import Failure

LOGS = Path(__file__).parent.parent / "tests" / "orchestrator" / "logs"
STAMP = "2026-01-01T00:00:00.123456789Z"
#: Where tools listen in the logs of jobs that get ready, and how long the others were waited for.
PORT, SECONDS = 8000, 300.0
#: What is expected of a log that shows no cause.
NONE = "none"


@dataclass(frozen=True)
class Sample:
    """A log with what has to come of it: `head` has what stands before it in its file."""

    name: str
    head: Mapping[str, str]
    log: str

    @property
    def cause(self) -> str:
        """The cause that it shows; empty: none."""
        return self.head["cause"].replace(NONE, "")

    def explained(self) -> Failure:
        """What is told of it."""
        head, log = self.head, self.log
        match head["of"]:
            case "build":
                return explain_build(as_builds_api_sends_it(log), head.get("message", "Tasks failed"))
            case "refusal":
                return explain_refusal(head["message"])
            case "crash":
                return explain_crash(log, int(head["exit-code"]), "web", head.get("reason", "restarted (1)"))
            case "unready":
                health = head.get("health")
                return explain_unready(log, head["reason"], health=health, port=PORT, seconds=SECONDS)
            case _:
                return explain_check(log, "GET /: 500, not 200")


def as_builds_api_sends_it(log: str) -> str:
    """With the container and the time before each line, and with colours."""
    lines = []
    for line in log.splitlines():
        place = re.match(r"\[(step-[a-z]+)\] ?", line)
        container, text = (place[1], line[place.end() :]) if place else ("step-build", line)
        lines.append(f"[{container}] {STAMP} \x1b[1;31m{text}\x1b[0m")
    return "\n".join(lines)


def samples() -> list[Sample]:
    """All logs by name."""
    return [_sample(path) for path in sorted(LOGS.glob("*.log"))]


def _sample(path: Path) -> Sample:
    head, _, log = path.read_text().partition("\n---\n")
    pairs = (line.split(": ", 1) for line in head.splitlines())
    return Sample(path.stem, dict(pairs), log.removesuffix("\n"))


def main() -> int:
    """Print the figures."""
    wrong, missed, seconds = [], [], []
    there = samples()
    for sample in there:
        started = time.perf_counter()
        told = sample.explained().cause
        seconds.append(time.perf_counter() - started)
        if told and told != sample.cause:
            wrong.append(f"{sample.name}: told as {told}, it is {sample.cause or NONE}")
        elif told != sample.cause:
            missed.append(f"{sample.name}: not known, it is {sample.cause}")
    causes, longest = sum(bool(sample.cause) for sample in there), max(seconds) * 1000
    print(f"{len(there)} logs: {causes} with a cause, {len(there) - causes} that show none")
    print(f"told with a wrong cause: {len(wrong)}; without the one that they have: {len(missed)}")
    print(f"an explanation took {statistics.median(seconds) * 1000:.1f} ms, at most {longest:.0f} ms")
    print("\n".join(wrong + missed))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
