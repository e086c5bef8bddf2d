"""Counting calls by endpoint: a path without what is particular in it, and how the call ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.errors import PreviewError

#: Told of each call: its endpoint, and ``ok`` or the name of the error.
OnCall = Callable[[str, str], None]

#: The parts of paths that are no names, numbers or commits.
_WORDS = frozenset(
    {
        *("builds", "cancel", "clean", "envvars", "healthz", "images", "job", "jobs", "latest", "logs"),
        *("quotas", "restart", "tool", "v1"),
        *(
            "all",
            "award_emoji",
            "branches",
            "commits",
            "deployments",
            "diffs",
            "environments",
            "files",
            "groups",
            "hooks",
            "issues",
        ),
        "members",
        *("merge_requests", "notes", "personal_access_tokens", "pipelines", "projects", "raw", "repository"),
        *("self", "statuses", "stop", "tree", "user"),
    }
)
#: No path that we ask for is longer.
_LONGEST = 90


def endpoint(method: str, path: str) -> str:
    """``GET /projects/12/merge_requests/3`` as ``GET /projects/:id/merge_requests/:id``.

    Only words of the APIs are kept, so that there are as many endpoints as the clients have calls.
    """
    parts = path.partition("?")[0].strip("/").split("/")
    named = "/".join(part if part in _WORDS else ":id" for part in parts)
    return f"{method} /{named}"[:_LONGEST]


def nobody(_endpoint: str, _outcome: str) -> None:
    """Counts nothing."""


@contextmanager
def counted(on_call: OnCall, method: str, path: str) -> Iterator[None]:
    """Tell how the call in the block ended."""
    try:
        yield
    except PreviewError as error:
        on_call(endpoint(method, path), type(error).__name__)
        raise
    on_call(endpoint(method, path), "ok")
