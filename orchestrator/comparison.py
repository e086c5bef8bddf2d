"""Which merge requests GitLab is asked about, when its list of open ones differs from what we know. Pure.

A list alone decides nothing: it may be cut short, or empty by mistake. Whoever is named here is asked about
singly, and that answer counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Of those with nothing up, so many are asked about in one pass.
_MOST_OTHERS = 100


@dataclass(frozen=True)
class Known:
    """A merge request that is open as far as we know."""

    iid: int
    sha: str
    #: It has a live preview.
    is_up: bool
    #: When GitLab was last asked about it.
    seen_at: float


@dataclass(frozen=True)
class Missed:
    """What one pass asks about."""

    iids: Sequence[int]
    #: Nothing was left for the next pass.
    is_all: bool


def missed(known: Sequence[Known], listed: Mapping[int, str], *, share: float) -> Missed:
    """The merge requests about which `listed` (head commits of the open ones, by number) says other things.

    Of the live previews only a `share` (but one at least) is asked about because it is not on the list: so
    many at most can be taken down at once. Those that were asked about longest ago come first.
    """
    commits = {one.iid: one.sha for one in known}
    news = [iid for iid, sha in sorted(listed.items()) if commits.get(iid) != sha]
    gone = sorted((one for one in known if one.iid not in listed), key=lambda one: (one.seen_at, one.iid))
    up, others = [one.iid for one in gone if one.is_up], [one.iid for one in gone if not one.is_up]
    most = max(int(share * sum(one.is_up for one in known)), 1)
    asked = [*news, *up[:most], *others[:_MOST_OTHERS]]
    return Missed(asked, is_all=len(up) <= most and len(others) <= _MOST_OTHERS)
