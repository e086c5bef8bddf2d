"""A bot bumps the same pin in eleven repositories: eleven merge requests at once, three accounts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

import pytest

from deploy.follow import pool_is_clean, wait_for
from deploy.local.seed import MergeRequest
from orchestrator.preview import Deployment, State
from tests.whole.conftest import Stacks
from tests.whole.scene import Scene

_AUTHOR = "dana"
#: Of eleven projects in a row, the number of one or two ends with a 4: theirs fail.
_SCENARIO = {
    "builds": [
        {"match": {"source_url": "*4.git"}, "duration": 60, "outcome": "failure"},
        {"duration": {"distribution": "uniform", "low": 60, "high": 120}, "size": "60Mi"},
    ],
    "jobs": [{"start_delay": 5}],
}


@pytest.fixture(scope="module")
def scene(stacks: Stacks) -> Iterator[Scene]:
    """Builds of one to three seconds on three accounts, for one who counts as a bot."""
    settings = {"bots": _AUTHOR, "max_concurrent_builds": 6, "check_seconds": 2.0, "stable_seconds": 0.1}
    with stacks("dev-1", "dev-2", "dev-3", scenario=_SCENARIO, time_scale=0.025, **settings) as stack:
        yield Scene(stack)


def _built_at_once(deployments: list[Deployment]) -> Counter[int | None]:
    """How many pairs of builds ran beside each other, by the account that they shared."""
    spans = [(d.account_id, (d.entered or {})["building"], _built_at(d)) for d in deployments]
    return Counter(
        one[0]
        for one, other in combinations(spans, 2)
        if one[0] == other[0] and one[1] < other[2] and other[1] < one[2]
    )


def _built_at(deployment: Deployment) -> float:
    entered = deployment.entered or {}
    return min(at for state, at in entered.items() if state not in {"queued", "building"})


def test_eleven_check_only_merge_requests_need_not_wait_for_one_anothers_builds(scene: Scene) -> None:
    merge_requests: list[MergeRequest] = [scene.opens() for _ in range(11)]
    deployments = [scene.verdict(merge_request) for merge_request in merge_requests]
    for merge_request, deployment in zip(merge_requests, deployments, strict=True):
        fails = merge_request.project.path.endswith("4")
        assert deployment.state is (State.FAILED if fails else State.STOPPED)
        assert scene.status(merge_request)["status"] == ("failed" if fails else "success")
    assert all(deployment.check_only for deployment in deployments)
    leases = {(deployment.account_id, deployment.fence) for deployment in deployments}
    assert len(leases) < len(deployments), "they shared leases"
    assert _built_at_once(deployments), "and built beside one another in them"
    wait_for("every account to be free and empty", lambda: pool_is_clean(scene.stack), seconds=60.0)
    for merge_request in merge_requests:
        wait_for("the receipt", lambda m=merge_request: "given back clean" in scene.note(m), seconds=30.0)
