"""Which merge requests get a preview, by the filters of the repository's own file. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.merge_request import MergeRequest
from orchestrator.repoconfig import Filters
from orchestrator.repovalues import matches

_NAMED = 3


def facts(seen: MergeRequest) -> dict[str, Any]:
    """What filters look at, but for the files: when it changes, they may find otherwise."""
    return {"labels": list(seen.labels), "draft": seen.is_draft, "target_branch": seen.target_branch}


def asks_for_paths(filters: Filters) -> bool:
    """True when the changed files have to be known."""
    return bool(filters.paths or filters.ignore_paths)


def why_not(filters: Filters, seen: MergeRequest, paths: Sequence[str] | None) -> str:
    """Why a merge request that changes `paths` (None: too many to tell) gets none; empty: it gets one."""
    labels = set(seen.labels)
    unwanted = sorted(labels & set(filters.ignore_labels))
    if seen.is_draft and not filters.drafts:
        return "it is a draft"
    if filters.target_branches and not matches(filters.target_branches, seen.target_branch):
        return f"its target branch {_cut(seen.target_branch)} is none of {_some(filters.target_branches)}"
    if unwanted:
        return f"it has the label {_some(unwanted)}"
    if filters.labels and not labels & set(filters.labels):
        return f"it has none of the labels {_some(filters.labels)}"
    return _why_not_paths(filters, paths) if paths else ""


def _why_not_paths(filters: Filters, paths: Sequence[str]) -> str:
    if filters.ignore_paths and all(matches(filters.ignore_paths, path) for path in paths):
        return f"only {_some(filters.ignore_paths)} are changed"
    if filters.paths and not any(matches(filters.paths, path) for path in paths):
        return f"none of {_some(filters.paths)} is changed"
    return ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(_cut(name) for name in names[:_NAMED]) + more


def _cut(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:40]}\u2026"
