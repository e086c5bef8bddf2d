"""Filters say which merge requests get a preview, and why others do not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchestrator.filters import facts, why_not
from orchestrator.merge_request import MergeRequest
from orchestrator.repoconfig import Filters
from orchestrator.repofile import parse
from orchestrator.repovalues import Bounds

SEEN = MergeRequest(1, "opened", "a" * 40, "A change", "bob", "", "change", "main", 77, 77)


def filters(**asked: object) -> Filters:
    return parse(json.dumps({"filters": asked}).encode(), Bounds()).filters


@pytest.mark.parametrize(
    ("asked", "seen", "paths", "why"),
    [
        ({}, replace(SEEN, is_draft=True), None, ""),
        ({"drafts": False}, SEEN, None, ""),
        ({"drafts": False}, replace(SEEN, is_draft=True), None, "it is a draft"),
        ({"target_branches": ["main", "release/*"]}, replace(SEEN, target_branch="release/2"), None, ""),
        (
            {"target_branches": ["main", "release/*"]},
            replace(SEEN, target_branch="topic"),
            None,
            "its target branch topic is none of main, release/*",
        ),
        ({"labels": "preview"}, replace(SEEN, labels=("other", "preview")), None, ""),
        ({"labels": "preview"}, replace(SEEN, labels=("other",)), None, "it has none of the labels preview"),
        ({"ignore_labels": "wip"}, replace(SEEN, labels=("other",)), None, ""),
        ({"ignore_labels": "wip"}, replace(SEEN, labels=("wip",)), None, "it has the label wip"),
        (
            {"ignore_paths": ["docs/**", "*.md"]},
            SEEN,
            ["docs/a/b", "README.md"],
            "only docs/**, *.md are changed",
        ),
        ({"ignore_paths": ["docs/**", "*.md"]}, SEEN, ["docs/a/b", "app.py"], ""),
        ({"paths": ["src/**"]}, SEEN, ["docs/a", "app.py"], "none of src/** is changed"),
        ({"paths": ["src/**"]}, SEEN, ["docs/a", "src/app.py"], ""),
        ({"paths": ["src/**"]}, SEEN, None, ""),
        ({"paths": ["src/**"]}, SEEN, [], ""),
        ({"paths": list("abcde")}, SEEN, ["z"], "none of a, b, c and 2 more is changed"),
    ],
)
def test_why_a_merge_request_gets_none(
    asked: dict[str, object], seen: MergeRequest, paths: list[str] | None, why: str
) -> None:
    assert why_not(filters(**asked), seen, paths) == why


def test_the_reason_fits_into_a_status_however_long_the_names_are() -> None:
    long = [f"{'x' * 190}{number}" for number in range(20)]
    words = why_not(filters(target_branches=long), replace(SEEN, target_branch="y" * 255), None)
    assert len(words) < 230


@pytest.mark.parametrize("other", [{"labels": ("a",)}, {"is_draft": True}, {"target_branch": "b"}])
def test_the_facts_change_with_what_filters_look_at(other: dict[str, object]) -> None:
    assert facts(replace(SEEN, **other)) != facts(SEEN)  # type: ignore[arg-type]
    assert facts(replace(SEEN, title="Another")) == facts(SEEN)
