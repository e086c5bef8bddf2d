"""Metrics for Prometheus at ``/metrics``: made from the database at each scrape.

So every web process gives the same answer, and it covers all workers, wherever they run. Metrics of a single
process (its memory, its garbage) are left out: a scrape reaches one of several by chance.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import product
from typing import TypeVar

from flask import Blueprint, Response, current_app, request
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from redis.exceptions import RedisError

from orchestrator import __version__
from orchestrator.bootstrap import Parts
from orchestrator.figures import Figures, figures
from orchestrator.outcome import STAGES
from orchestrator.pool import AccountState
from orchestrator.preview import PENDING, STEPS, State
from orchestrator.records import Kind
from orchestrator.switches import Stop
from orchestrator.tally import Count, Counts, histogram, labelled
from web.parts import parts_of

blueprint = Blueprint("metrics", __name__)
_Labels = TypeVar("_Labels", bound=tuple[str, ...])

_PREFIX = "toolforge_preview_"
_WHOM = ("person", "bot")
#: States that a deployment is in for a while; the others are over at once.
_LASTING = (State.QUEUED, State.BUILDING, State.STARTING, State.CHECKING, State.LIVE)
#: Answers to deliveries that alerts ask for.
_STATUSES = ("202", "401", "500", "503")
#: A proxy on this machine has put them there for somebody who is elsewhere.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


@blueprint.get("/metrics")
def metrics() -> Response:
    """All of them, in the form that the caller asks for."""
    parts = parts_of(current_app)
    refusal = _refusal(parts)
    if refusal is not None:
        return refusal
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(parts))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)


def _refusal(parts: Parts) -> Response | None:
    token = parts.settings.metrics_token
    if token is None:
        words = "Metrics are for callers on this machine, or need the setting metrics_token.\n"
        return None if _is_from_here() else Response(words, status=403, mimetype="text/plain")
    given = request.headers.get("Authorization", "").encode()
    if hmac.compare_digest(given, f"Bearer {token.get_secret_value()}".encode()):
        return None
    challenge = {"WWW-Authenticate": 'Bearer realm="metrics"'}
    return Response("A bearer token is needed.\n", status=401, mimetype="text/plain", headers=challenge)


def _is_from_here() -> bool:
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


class _Metrics(Collector):
    """Reads once, and tells."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Every family of metrics."""
        now = time.time()
        limits = self._parts.settings.policy().limits
        with self._parts.store.read() as tx:
            found = figures(tx, limits, now)
        yield _gauge("info", "The version that runs.", {(__version__,): 1}, "version")
        yield _gauge("redis_up", "Whether Redis answers the web process.", {(): int(self._redis_answers())})
        yield from _queue(found)
        yield from _pool(found)
        yield from _work(found)
        yield from _counters(found.counts)

    def _redis_answers(self) -> bool:
        try:
            return bool(self._parts.redis.ping())
        except RedisError:
            return False


def _queue(found: Figures) -> Iterator[Metric]:
    steps = {(state, step): 0 for state in _LASTING for step in STEPS[state]}
    yield _gauge(
        "deployments",
        "Deployments on their way or live.",
        {(state, step): number for (state, step), number in (steps | dict(found.deployments)).items()},
        *("state", "step"),
    )
    yield _gauge(
        "oldest_waiting_seconds",
        "How long the first deployment has waited for an account and a build slot.",
        {(): found.oldest_waiting_seconds},
    )
    yield _gauge("build_slots_used", "Builds that Toolforge runs for us.", {(): found.builds})
    yield _gauge("build_slots", "Builds that Toolforge bears at once just now.", {(): found.ceiling})
    yield _gauge("build_slots_limit", "Builds at once that the setting allows.", {(): found.max_builds})


def _pool(found: Figures) -> Iterator[Metric]:
    states = {(state,): found.accounts[state] for state in AccountState if state in found.accounts}
    yield _gauge("accounts", "Dev tool accounts of the pool.", states, "state")
    yield _gauge("accounts_draining", "Accounts that are to leave the pool.", {(): found.draining})
    yield _gauge("projects", "Connected projects.", {(): found.projects})
    branches = {("yes" if deploys else "no",): number for deploys, number in found.branches.items()}
    yield _gauge("default_branches", "Default branches that are watched.", branches, "deploys")
    yield _gauge(
        "switches",
        "What operators have stopped: everything or single projects.",
        {(stop,): found.switches[stop] for stop in Stop},
        "stop",
    )


def _work(found: Figures) -> Iterator[Metric]:
    yield _gauge(
        "due_rows",
        "Rows of the database that are due and that no worker looks at.",
        {(kind,): found.due[kind] for kind in Kind},
        "kind",
    )
    yield _gauge(
        "oldest_due_seconds",
        "For how long the first of these rows has been due.",
        {(kind,): found.oldest_due_seconds[kind] for kind in Kind},
        "kind",
    )
    yield _gauge("reports_pending", "Reports that GitLab is still to be told.", {(): found.reports_pending})
    yield _gauge(
        "reports_refused", "Reports of which GitLab did not take something.", {(): found.reports_refused}
    )


def _counters(counts: Counts) -> Iterator[Metric]:
    yield _counter(
        "api_calls",
        "Requests to the two APIs.",
        labelled(counts, Count.API_CALLS),
        *("api", "endpoint", "outcome"),
    )
    yield _counter(
        "webhooks",
        "Answers to GitLab's deliveries.",
        _from_zero(labelled(counts, Count.WEBHOOKS), _STATUSES),
        "status",
    )
    yield _counter(
        "deployments_entered",
        "Deployments that entered a state.",
        _from_zero(labelled(counts, Count.ENTERED), tuple(State), _WHOM),
        *("state", "by"),
    )
    yield _counter(
        "failures",
        "Deployments that failed.",
        _from_zero(labelled(counts, Count.FAILED), STAGES, _WHOM),
        *("stage", "by"),
    )
    stages = HistogramMetricFamily(
        f"{_PREFIX}stage_seconds",
        "How long deployments were in a state; queued: waited for an account and a build slot.",
        labels=("stage", "by"),
    )
    for state in _LASTING:
        for by in _WHOM if state in PENDING else ():
            buckets, total = histogram(counts, Count.STAGE_SECONDS, state, by)
            stages.add_metric((state, by), buckets, total)
    yield stages


def _gauge(name: str, description: str, values: Mapping[_Labels, float], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(_PREFIX + name, description, labels=labels)
    for words, value in values.items():
        family.add_metric(words, value)
    return family


def _from_zero(
    found: Mapping[tuple[str, ...], float], *labels: Sequence[str]
) -> Mapping[tuple[str, ...], float]:
    """With those that have not happened yet: Prometheus sees no increase in a counter that begins at one."""
    return dict.fromkeys(product(*labels), 0.0) | dict(found)


def _counter(
    name: str, description: str, values: Mapping[tuple[str, ...], float], *labels: str
) -> CounterMetricFamily:
    family = CounterMetricFamily(_PREFIX + name, description, labels=labels)
    for words, value in sorted(values.items()):
        family.add_metric(words, value)
    return family
