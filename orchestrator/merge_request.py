"""What GitLab says of a merge request, and the commands people write under it. Pure."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.records import OPEN_STATES


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
    labels: tuple[str, ...] = ()
    is_draft: bool = False

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
    STOP = "stop"


_COMMAND = re.compile(r"^/preview(?:[ \t]+(?P<verb>[a-z]{1,20}))?[ \t]*$")


def command_in(comment: str) -> Verb | None:
    """The command in a comment, or None.

    Only a comment that is nothing but the command counts: a quotation or a code block that mentions it must
    not set anything off.
    """
    match = _COMMAND.match(comment.strip())
    if match is None:
        return None
    return {None: Verb.PREVIEW, "redeploy": Verb.PREVIEW, "rebuild": Verb.PREVIEW, "stop": Verb.STOP}.get(
        match["verb"]
    )
