"""Faults on demand: rules saying what goes wrong, for whom, when, and how often.

A rule matches a tool, an operation (`builds.start`, `jobs.delete`, `*`, glob patterns) and a name (an image
name, a job's name, an artifact's digest or repository). The first `after` matches pass untouched, the next
`count` are hit (None = until the rule is taken away). Seconds are Toolforge's, so `time_scale` applies.

At the gateway, by operation:
  `slow` (seconds), `status` (status, retry_after, body: JSON when it begins with a brace), `cut_before`
  (closed without an answer), `cut_middle` (half of the answer), `lost` (the effect happens, the answer does
  not; `seconds` first), `certificate_expired`.
In the services, by tool and name:
  `build_pending` (stuck), `build_never_ends`, `build_vanishes` (`seconds` after it started), `build_fails`,
  `registry_away` (the build's log says so),
  `log_broken` (an error line under 200, after `seconds`), `log_cut`, `log_never_ends`, `limit_race` (seconds
  between the check and the creation), `ls_remote_slow`, `harbor_down`, `quota_full` (in the middle of a
  build), `clean_fails`, `job_crash`, `job_late` (seconds), `job_not_ready`, `image_pull_error`,
  `publish_taken` (as by a running `toolforge webservice`), `runtime_fails` (jobs-api's 500 after the
  definition was stored).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

HTTP_KINDS = frozenset({"slow", "status", "cut_before", "cut_middle", "lost", "certificate_expired"})
SERVICE_KINDS = frozenset(
    {
        "build_pending",
        "build_never_ends",
        "build_vanishes",
        "build_fails",
        "registry_away",
        "log_broken",
        "log_cut",
        "log_never_ends",
        "limit_race",
        "ls_remote_slow",
        "harbor_down",
        "quota_full",
        "clean_fails",
        "job_crash",
        "job_late",
        "job_not_ready",
        "image_pull_error",
        "publish_taken",
        "runtime_fails",
    }
)


@dataclass
class Fault:
    """One rule; `hits` counts what it did so far."""

    kind: str
    tool: str = "*"
    operation: str = "*"
    name: str = "*"
    count: int | None = 1
    after: int = 0
    seconds: float = 0.0
    status: int = 500
    retry_after: int | None = None
    body: str | None = None
    id: int = 0
    hits: int = 0
    passed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON values."""
        return asdict(self)

    def matches(self, tool: str, operation: str, name: str) -> bool:
        """Whether the rule is about this; it may still let it pass."""
        return (
            fnmatchcase(tool, self.tool)
            and fnmatchcase(operation, self.operation)
            and fnmatchcase(name, self.name)
        )

    def strikes(self) -> bool:
        """Count one match and say whether it is hit."""
        if self.passed < self.after:
            self.passed += 1
            return False
        if self.count is not None and self.hits >= self.count:
            return False
        self.hits += 1
        return True


class Faults:
    """The rules of one local Toolforge.

    Safe to change from another thread: every change is one assignment.
    """

    def __init__(self) -> None:
        self._rules: list[Fault] = []
        self._ids = itertools.count(1)

    def add(self, kind: str, **settings: Any) -> Fault:
        """Add a rule. Raises ValueError on an unknown kind or setting."""
        if kind not in HTTP_KINDS | SERVICE_KINDS:
            raise ValueError(
                f"unknown fault {kind!r}, known: {', '.join(sorted(HTTP_KINDS | SERVICE_KINDS))}"
            )
        unknown = settings.keys() - {field.name for field in fields(Fault)} | settings.keys() & {"id", "hits"}
        if unknown:
            raise ValueError(f"unknown fault setting: {', '.join(sorted(unknown))}")
        rule = Fault(kind, **settings)
        rule.id = next(self._ids)
        self._rules = [*self._rules, rule]
        return rule

    def remove(self, fault: Fault | int) -> bool:
        """Take a rule away; False when it was not there."""
        number = fault if isinstance(fault, int) else fault.id
        before = len(self._rules)
        self._rules = [rule for rule in self._rules if rule.id != number]
        return len(self._rules) < before

    def clear(self) -> None:
        """Take all rules away."""
        self._rules = []

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._rules)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def take(self, *kinds: str, tool: str = "", operation: str = "", name: str = "") -> Fault | None:
        """The first rule of these kinds that strikes now, or None."""
        for rule in self._rules:
            if rule.kind in kinds and rule.matches(tool, operation, name) and rule.strikes():
                return rule
        return None
