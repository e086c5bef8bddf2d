"""Scenarios of the synthetic engine: what builds and jobs do, without doing it.

A scenario is JSON or YAML:

    seed: 1                    # of every random choice
    instant: false             # true: no build and no job takes any time unless an entry says so
    time_scale: 1.0            # seconds of this machine for one of Toolforge's (overrides the command line)
    latency: {build_pending: 8, image_pull: 20}      # any field of settings.Latency
    resolve: auto              # git: always ls-remote; scenario: never; auto: ls-remote, and when that fails
                               # the entry's `resolved_ref`, else a sha made from address and ref
    builds:                    # the first entry that matches counts; none matching: the defaults below
      - match: {tool: "*", source_url: "*broken*", ref: "*", image_name: "*"}    # glob patterns
        duration: 40           # seconds, or {distribution: lognormal, median: 40, sigma: 0.5, max: 600}
                               # (also uniform: low, high; normal: mean, sigma; exponential: mean; `min`,
                               # `max`)
        outcome: success       # success, failure, timeout, never
        size: 120Mi            # bytes, a quantity, or a distribution; default 50Mi
        shared: {base: 180Mi}  # layers with names, counted once per account
        log: ["line", ...]     # or one text; written evenly over the duration
        resolved_ref: null     # a fixed sha
        ref_error: null        # the tail of builds-api's 400, such as "exit status 128"
        processes: {web: run}
    jobs:
      - match: {tool: "*", name: "*", image: "*"}
        start_delay: 0         # seconds until the port answers
        health: ready          # ready, never_ready, crash
        crash_after: 0         # seconds until a crashing process ends
        exit_code: 1
        http: {status: 200, body: "hello", headers: {}}
        log: ["line", ...]
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from deploy.local.toolforge.engine import HttpAnswer
from deploy.local.toolforge.job_schema import quantity

TOP_KEYS = frozenset({"seed", "instant", "time_scale", "latency", "resolve", "builds", "jobs"})
BUILD_KEYS = frozenset(
    {
        "match",
        "duration",
        "outcome",
        "size",
        "shared",
        "log",
        "resolved_ref",
        "ref_error",
        "processes",
    }
)
JOB_KEYS = frozenset({"match", "start_delay", "health", "crash_after", "exit_code", "http", "log"})
OUTCOMES = ("success", "failure", "timeout", "never")
HEALTHS = ("ready", "never_ready", "crash")


class BadScenario(ValueError):
    """The scenario says something that is not in its language."""


@dataclass(frozen=True)
class BuildPlan:
    """What one build will do."""

    seconds: float
    outcome: str
    layers: dict[str, int]
    log: list[str]
    processes: dict[str, str]


@dataclass(frozen=True)
class JobPlan:
    """What the containers of one job do."""

    start_delay: float = 0.0
    health: str = "ready"
    crash_after: float = 0.0
    exit_code: int = 1
    answer: HttpAnswer = field(default_factory=HttpAnswer)
    log: list[str] = field(default_factory=list)


def load(path: Path) -> dict[str, Any]:
    """A scenario from a file. Raises `BadScenario`."""
    text = path.read_text(encoding="utf-8")
    data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    check(data or {})
    return data or {}


def check(data: Mapping[str, Any]) -> None:
    """Raise `BadScenario` for an unknown key or word."""
    _known("scenario", data, TOP_KEYS)
    for entry in data.get("builds", []):
        _known("build", entry, BUILD_KEYS)
        if entry.get("outcome", "success") not in OUTCOMES:
            raise BadScenario(f"unknown outcome {entry['outcome']!r}, known: {', '.join(OUTCOMES)}")
    for entry in data.get("jobs", []):
        _known("job", entry, JOB_KEYS)
        if entry.get("health", "ready") not in HEALTHS:
            raise BadScenario(f"unknown health {entry['health']!r}, known: {', '.join(HEALTHS)}")


class Scenario:
    """Answers what will happen. The same questions in the same order give the same answers."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        check(data)
        self._data = data
        self._random = random.Random(data.get("seed", 1))
        self.instant = bool(data.get("instant", False))
        self.resolve = data.get("resolve", "auto")

    def build_entry(self, **facts: str) -> Mapping[str, Any]:
        """The entry that speaks for a build, by tool, source_url, ref and image_name."""
        return _first(self._data.get("builds", []), facts)

    def build(self, entry: Mapping[str, Any], *, identity: str) -> BuildPlan:
        """What a build will do; `identity` (its commit and image) makes the digest of its own layer."""
        seconds = self._number(entry.get("duration", 0 if self.instant else 30))
        own = hashlib.sha256(identity.encode()).hexdigest()
        layers = {f"sha256:{own}": int(self._number(entry.get("size", "50Mi")))}
        for name, size in (entry.get("shared") or {}).items():
            layers[f"shared:{name}"] = int(self._number(size))
        log = entry.get("log", ["building", "built"])
        return BuildPlan(
            seconds=seconds,
            outcome=entry.get("outcome", "success"),
            layers=layers,
            log=log.splitlines() if isinstance(log, str) else [str(line) for line in log],
            processes=dict(entry.get("processes", {"web": "run"})),
        )

    def job(self, **facts: str) -> JobPlan:
        """What a job does, by tool, name and image."""
        entry = _first(self._data.get("jobs", []), facts)
        http = entry.get("http", {})
        log = entry.get("log", ["started"])
        return JobPlan(
            start_delay=float(entry.get("start_delay", 0)),
            health=entry.get("health", "ready"),
            crash_after=float(entry.get("crash_after", 0)),
            exit_code=int(entry.get("exit_code", 1)),
            answer=HttpAnswer(
                int(http.get("status", 200)), str(http.get("body", "ok")), http.get("headers", {})
            ),
            log=log.splitlines() if isinstance(log, str) else list(log),
        )

    def _number(self, value: Any) -> float:
        if isinstance(value, str):
            return quantity(value)
        if isinstance(value, Mapping):
            return self._drawn(value)
        return float(value)

    def _drawn(self, spec: Mapping[str, Any]) -> float:
        kind = spec.get("distribution")
        if kind == "uniform":
            drawn = self._random.uniform(self._number(spec["low"]), self._number(spec["high"]))
        elif kind == "normal":
            drawn = self._random.gauss(self._number(spec["mean"]), self._number(spec["sigma"]))
        elif kind == "exponential":
            drawn = self._random.expovariate(1 / self._number(spec["mean"]))
        elif kind == "lognormal":
            drawn = self._number(spec["median"]) * self._random.lognormvariate(
                0, float(spec.get("sigma", 0.5))
            )
        else:
            raise BadScenario(f"unknown distribution {kind!r}")
        low, high = self._number(spec.get("min", 0)), self._number(spec.get("max", 10**12))
        return min(max(drawn, low), high)


def made_up_sha(url: str, ref: str) -> str:
    """A commit for an address that is no repository: always the same for the same ref."""
    return hashlib.sha1(f"{url} {ref}".encode(), usedforsecurity=False).hexdigest()


def _first(entries: list[Mapping[str, Any]], facts: Mapping[str, str]) -> Mapping[str, Any]:
    for entry in entries:
        wanted = entry.get("match", {})
        if all(fnmatchcase(facts.get(key, ""), str(pattern)) for key, pattern in wanted.items()):
            return entry
    return {}


def _known(what: str, entry: Mapping[str, Any], keys: frozenset[str]) -> None:
    if unknown := set(entry) - keys:
        raise BadScenario(
            f"unknown key in {what}: {', '.join(sorted(unknown))}; known: {', '.join(sorted(keys))}"
        )
