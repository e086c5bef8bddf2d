"""Which merge requests of a project get a preview, and what else its maintainers decided. Pure.

Nothing here lets a stranger's commit be built: that needs an approval of that commit, whatever the rules say.
And whoever may ask for a preview by a command gets one, whatever the rules say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from orchestrator.durations import is_duration, seconds_of
from orchestrator.errors import BadInput
from orchestrator.markdown import plain
from orchestrator.merge_request import MergeRequest

#: Of a rule's list, and of an entry of it.
_MOST_ENTRIES, _LONGEST_ENTRY = 50, 255


class Forks(StrEnum):
    """What becomes of a merge request from a fork."""

    #: Each commit waits until a Developer has approved it.
    APPROVAL = "approval"
    NEVER = "never"


class Drafts(StrEnum):
    """What becomes of a draft."""

    BUILD = "build"
    #: Built once it is marked as ready.
    WAIT = "wait"


class RefusedVersions(StrEnum):
    """What becomes of a commit that asks for a version which the builder is known not to have."""

    #: Built all the same, with a warning.
    BUILD = "build"
    #: Failed at once.
    FAIL = "fail"
    #: Not failed at all: it waits, and is built once the builder was seen to have the version.
    WAIT = "wait"


class MainWatch(StrEnum):
    """What a project wants to know of its default branch."""

    NO = "no"
    #: It is built now and then; the page, the API and the metrics say what came of it.
    YES = "yes"
    #: An issue in GitLab says so, too, when it does not deploy any more.
    ISSUE = "issue"


#: The lists of the rules, with what an entry of each is.
LISTS: Mapping[str, str] = {
    "labels": "A label of which it needs one.",
    "no_labels": "A label with which it gets none.",
    "targets": "Pattern of target branches, such as main or release-*.",
    "paths": "Pattern of paths of which one has to be changed, such as src/*.",
    "ignored_paths": "Pattern of paths that do not matter, such as docs/* or *.md.",
    "bots": "User name of a bot.",
}


@dataclass(frozen=True)
class Rules:
    """A project's own; as they are when nobody has decided anything."""

    forks: Forks = Forks.APPROVAL
    drafts: Drafts = Drafts.BUILD
    #: It needs one of these labels, and none of those; empty: no matter.
    labels: tuple[str, ...] = ()
    no_labels: tuple[str, ...] = ()
    #: Patterns of target branches, and of paths of which one has to be changed; empty: any.
    targets: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    #: Patterns of paths that do not matter: when nothing else is changed, nothing is built.
    ignored_paths: tuple[str, ...] = ()
    #: User names of bots, besides those of the installation.
    bots: tuple[str, ...] = ()
    #: Whether bots' merge requests are only checked; None: as the installation says.
    check_only_bots: bool | None = None
    #: Built is what a merge would make of the target branch, where the two can be merged.
    merged_result: bool = False
    refused_versions: RefusedVersions = RefusedVersions.BUILD
    #: Whether its default branch is watched.
    watch_main: MainWatch = MainWatch.NO
    #: How long its previews stay up where the repository's own file does not say; empty: as for everybody.
    life: str = ""

    @property
    def look_at_paths(self) -> bool:
        """True when the changed paths have to be known."""
        return bool(self.paths or self.ignored_paths)


def check(rules: Rules, longest_seconds: float) -> None:
    """Raise :class:`BadInput` for a list that is too long, an entry that is none, or a life that is none."""
    if rules.life:
        if not is_duration(rules.life):
            raise BadInput(f"'{rules.life[:20]}' is no duration such as 90m, 48h or 3d.")
        if not 0 < seconds_of(rules.life) <= longest_seconds:
            raise BadInput(f"Previews stay up for {longest_seconds / 3600:g}h at most here.")
    for name in LISTS:
        entries: Sequence[str] = getattr(rules, name)
        if len(entries) > _MOST_ENTRIES:
            raise BadInput(f"{name}: {len(entries)} entries are too many; {_MOST_ENTRIES} will do.")
        for entry in entries:
            if not 0 < len(entry) <= _LONGEST_ENTRY:
                raise BadInput(f"{name}: an entry has 1 to {_LONGEST_ENTRY} characters, not {len(entry)}.")


def from_json(value: Mapping[str, Any] | None) -> Rules:
    """The rules as they are kept; what an older version does not know is passed over."""
    known = {one.name for one in fields(Rules)}
    given: dict[str, Any] = {name: item for name, item in (value or {}).items() if name in known}
    for name, item in given.items():
        given[name] = tuple(item) if isinstance(item, list) else item
    given["forks"] = Forks(given.get("forks", Forks.APPROVAL))
    given["drafts"] = Drafts(given.get("drafts", Drafts.BUILD))
    given["refused_versions"] = RefusedVersions(given.get("refused_versions", RefusedVersions.BUILD))
    given["watch_main"] = MainWatch(given.get("watch_main", MainWatch.NO))
    return Rules(**given)


def why_not(rules: Rules, seen: MergeRequest) -> str | None:
    """Why a merge request gets no preview, for people; None when it gets one.

    Where its changed paths are not known, they are no reason.
    """
    if not seen.is_from_project and rules.forks is Forks.NEVER:
        return "merge requests from forks get none in this project"
    if seen.is_draft and rules.drafts is Drafts.WAIT:
        return "it is a draft; it gets one once it is marked as ready"
    if rules.targets and not _fits(seen.target_branch, rules.targets):
        return f"it does not go to {_words(rules.targets)}"
    excluded = [label for label in seen.labels if label in rules.no_labels]
    if excluded:
        return f"it has the label {_words(excluded)}"
    if rules.labels and not set(rules.labels) & set(seen.labels):
        return f"it needs the label {_words(rules.labels)}"
    return _paths_say(rules, seen.paths)


def _paths_say(rules: Rules, paths: Sequence[str] | None) -> str | None:
    if not paths:
        return None
    relevant = [path for path in paths if not _fits(path, rules.ignored_paths)]
    if not relevant:
        return f"it changes nothing but {_words(rules.ignored_paths)}"
    if rules.paths and not any(_fits(path, rules.paths) for path in relevant):
        return f"it changes nothing in {_words(rules.paths)}"
    return None


def _fits(text: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def _words(entries: Sequence[str]) -> str:
    return " or ".join(plain(entry)[:60] for entry in entries[:5])
