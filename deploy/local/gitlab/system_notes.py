"""The words in which GitLab notes down what was done to a merge request. Pure.

From GitLab's source: `SystemNotes::{CommitService,IssuablesService,MergeRequestsService}`, and `LabelNote`
for labels. Changes of labels and of the state are events: they are shown among the notes, but the notes of
the API have them not (`ResourceEvents::*SyntheticNotesBuilderService`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from deploy.local.gitlab.model import DRAFT_PREFIXES, is_draft

#: Changes that are events, besides those of the state.
EVENTS = frozenset({"labels"})


def added_commits(commits: Sequence[tuple[str, str]], compare_path: str) -> str:
    """What a push brought: (id, title) of each commit, oldest first, and where to see the difference."""
    listed = "".join(f"<li>{sha[:8]} - {escape(title)}</li>" for sha, title in commits)
    count = f"{len(commits)} commit{'' if len(commits) == 1 else 's'}"
    return f"added {count}\n\n<ul>{listed}</ul>\n\n[Compare with previous version]({compare_path})"


def changed(name: str, previous: Any, current: Any) -> list[str]:
    """The notes that one changed field leaves; none for a field of which GitLab says nothing."""
    if name == "title":
        return _title(previous, current)
    if name == "description":
        return ["changed the description"]
    if name == "target_branch":
        return [f"changed target branch from `{previous}` to `{current}`"]
    if name == "labels":
        return [text for text in [_labels(previous, current)] if text]
    return []


def _title(previous: str, current: str) -> list[str]:
    notes = []
    if is_draft(previous) != is_draft(current):
        notes.append(f"marked this merge request as **{'draft' if is_draft(current) else 'ready'}**")
    if without_draft(previous) != without_draft(current):
        old, new = _marked(previous, current)
        notes.append(f"changed title from **{old}** to **{new}**")
    return notes


def without_draft(title: str) -> str:
    """A title without the words that make it a draft."""
    for prefix in DRAFT_PREFIXES:
        if title.lower().startswith(prefix):
            return title[len(prefix) :].strip()
    return title


def _marked(old: str, new: str) -> tuple[str, str]:
    """Both texts with what differs between their common ends marked, as `{-old-}` and `{+new+}`."""
    start = _common_start(old, new)
    end = _common_start(old[start:][::-1], new[start:][::-1])

    def mark(text: str, opening: str, closing: str) -> str:
        middle, rest = text[start : len(text) - end], text[len(text) - end :]
        return text[:start] + (f"{opening}{middle}{closing}" if middle else "") + rest

    return mark(old, "{-", "-}"), mark(new, "{+", "+}")


def _common_start(one: str, other: str) -> int:
    """How many characters both begin with."""
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return at
    return min(len(one), len(other))


def _labels(previous: Iterable[str], current: Iterable[str]) -> str:
    parts = []
    for verb, titles in (("added", set(current) - set(previous)), ("removed", set(previous) - set(current))):
        if titles:
            references = " ".join(f'~"{title}"' for title in sorted(titles))
            parts.append(f"{verb} {references} label{'' if len(titles) == 1 else 's'}")
    return " and ".join(parts)
