"""How a job reads in jobs-api: both the old strings and the new status (contract 3.5). Pure."""

from __future__ import annotations

import time
from typing import Any

from deploy.local.toolforge.answers import go_duration, rfc3339
from deploy.local.toolforge.deployments import Deployment
from deploy.local.toolforge.pods import Phase, Pod

DRIFT = (
    "The running version of job '{name}' is different from what was configured, please recreate or redeploy."
)
CRASHING = "Specified command fails to run"
#: With several pods, the first of these that any of them is in speaks for the job.
PRIORITY = [Phase.NO_QUOTA, Phase.SCHEDULING, Phase.INITIALIZING, Phase.RUNNING, Phase.BACKOFF, Phase.DONE]
KUBERNETES_STATE = {
    Phase.NO_QUOTA: ("Pending", "waiting"),
    Phase.SCHEDULING: ("Pending", "waiting"),
    Phase.INITIALIZING: ("Pending", "waiting"),
    Phase.RUNNING: ("Running", "running"),
    Phase.BACKOFF: ("Running", "waiting"),
    Phase.DONE: ("Succeeded", "terminated"),
}


def default_status() -> dict[str, Any]:
    """What POST's own answer says, whatever will happen."""
    return {
        "status_short": "Unknown",
        "status_long": "Unknown",
        "status": {"short": "unknown", "messages": [], "duration": "0s", "up_to_date": True},
    }


def status_of(name: str, deployment: Deployment | None, *, up_to_date: bool) -> dict[str, Any]:
    """The three status fields of a job."""
    pod = _speaker(deployment)
    if deployment is None or pod is None:
        short, messages, old = _without_pods(deployment)
        since = time.time()
    else:
        short, messages = _new(pod, overdue=deployment.overdue and pod.phase is not Phase.DONE)
        old, since = _old(pod, deployment), pod.since
    return {
        "status_short": old,
        "status_long": DRIFT.format(name=name) if not up_to_date else _long(pod),
        "status": {
            "short": short,
            "messages": messages,
            "duration": go_duration(max(0.0, time.time() - since)),
            "up_to_date": up_to_date,
        },
    }


def _without_pods(deployment: Deployment | None) -> tuple[str, list[str], str]:
    if deployment is None:
        return "unknown", [], "Unknown"
    if deployment.spec["job_type"] == "scheduled":
        return "pending", ["scheduling"], "Waiting for scheduled time"
    return "pending", ["scheduling"], "Not running"


def _speaker(deployment: Deployment | None) -> Pod | None:
    if deployment is None or not deployment.pods:
        return None
    return min(deployment.pods, key=lambda pod: PRIORITY.index(pod.phase))


def _new(pod: Pod, *, overdue: bool) -> tuple[str, list[str]]:
    messages = {
        Phase.NO_QUOTA: [pod.message],
        Phase.SCHEDULING: ["scheduling", "waiting for a node"],
        Phase.INITIALIZING: ["initializing", pod.message] if pod.message else ["initializing"],
        Phase.RUNNING: [],
        Phase.BACKOFF: [f"restarted ({pod.restarts})", f"exitcode {pod.exit_code}"],
        Phase.DONE: [] if pod.exit_code == 0 else [f"exitcode {pod.exit_code}"],
    }[pod.phase]
    if pod.phase is Phase.NO_QUOTA or overdue:
        return "failed", messages
    if pod.phase is Phase.DONE:
        return ("succeeded" if pod.exit_code == 0 else "failed"), messages
    return ("running" if pod.phase is Phase.RUNNING else "pending"), messages


def _old(pod: Pod, deployment: Deployment) -> str:
    if pod.phase is Phase.DONE:
        return "Completed" if pod.exit_code == 0 else "Failed"
    if pod.phase is Phase.NO_QUOTA:
        return pod.message
    if deployment.available or (pod.phase is Phase.RUNNING and deployment.spec["job_type"] != "continuous"):
        return "Running"
    return CRASHING if pod.phase is Phase.BACKOFF and not deployment.overdue else "Not running"


def _long(pod: Pod | None) -> str:
    if pod is None:
        return "No pods were created for this job."
    phase, state = KUBERNETES_STATE[pod.phase]
    parts = [f"Last run at {rfc3339(pod.since)}.", f"Pod in '{phase}' phase.", f"State '{state}'."]
    if pod.reason:
        parts.append(f"Reason '{pod.reason}'.")
    if pod.phase is Phase.RUNNING:
        parts.append(f"Started at '{rfc3339(pod.since)}'.")
    if pod.exit_code is not None:
        parts.append(f"Exit code '{pod.exit_code}'.")
    if pod.message:
        parts.append(f"Additional message:'{pod.message}'.")
    return " ".join(parts)
