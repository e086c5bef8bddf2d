"""What GitLab says of a merge request, and the commands people write under it. Pure."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.durations import is_duration, seconds_of

#: GitLab's words for a merge request that may still be merged; ``locked`` is GitLab in the act of merging.
OPEN_STATES = frozenset({"opened", "locked"})


@dataclass(frozen=True)
class MergeRequest:
    """A merge request as GitLab shows it now; it wins over what any delivery said."""

    iid: int
    #: ``opened``, ``closed``, ``merged`` or ``locked``.
    state: str
    #: The head commit.
    sha: str
    title: str
    author: str
    web_url: str
    source_branch: str
    target_branch: str
    source_project_id: int | None
    target_project_id: int
    is_draft: bool = False
    labels: tuple[str, ...] = ()
    #: The paths that it changes, old and new names; None: not known, or too many.
    paths: tuple[str, ...] | None = None

    @property
    def is_open(self) -> bool:
        """True while it may still be merged."""
        return self.state in OPEN_STATES

    @property
    def is_from_project(self) -> bool:
        """True when the branch lies in the project itself, where only Developers and above can push."""
        return self.source_project_id == self.target_project_id


#: GitLab's names for the users that belong to access tokens of projects and groups (GitLab's documentation,
#: "Bot users for projects").
_TOKEN_USER = re.compile(r"(project|group)_\d+_bot(_\w+)?", re.ASCII)


def is_bot(username: str, named: Container[str] = ()) -> bool:
    """True for GitLab's users of access tokens, and for those that are `named`."""
    return username in named or _TOKEN_USER.fullmatch(username) is not None


class Verb(StrEnum):
    """What a comment can ask for."""

    #: Approve this very commit if it waits for that, else build it again.
    PREVIEW = "preview"
    #: The same by another name.
    REDEPLOY = "redeploy"
    #: Build it again even where its image is still there.
    REBUILD = "rebuild"
    STOP = "stop"
    #: Let it neither expire nor give way for some time.
    KEEP = "keep"
    LOGS = "logs"
    HELP = "help"
    #: It begins like a command, and is none.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Command:
    """A command and what it was given."""

    verb: Verb
    #: For :attr:`Verb.KEEP`.
    seconds: float | None = None


_COMMAND = re.compile(r"/preview(?:[ \t]+(?P<verb>[a-z]{1,20})(?:[ \t]+(?P<argument>[0-9a-z]{1,20}))?)?")
#: Markdown takes a line that is indented so far for code.
_CODE = re.compile(r"\s*^( {4}| {0,3}\t)", re.MULTILINE)


def command_in(comment: str) -> Command | None:
    """The command in a comment, or None.

    Only a comment that is nothing but the command counts: a quotation or a code block that mentions it must
    not set anything off.
    """
    match = _COMMAND.fullmatch(comment.strip())
    if match is None or _CODE.match(comment):
        return None
    words = [word for word in (match["verb"], match["argument"]) if word]
    match words:
        case []:
            return Command(Verb.PREVIEW)
        case [Verb.KEEP, duration] if is_duration(duration):
            return Command(Verb.KEEP, seconds_of(duration))
        case [word] if word in _ALONE:
            return Command(Verb(word))
        case [word, _] if word not in {*_ALONE, Verb.KEEP}:
            return None  # part of a sentence
        case _:
            return Command(Verb.UNKNOWN)


_ALONE = frozenset({Verb.REDEPLOY, Verb.REBUILD, Verb.STOP, Verb.LOGS, Verb.HELP})
