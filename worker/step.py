"""What every step is given: the rows it is about, the ways out, and a guard to ask before each effect."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orchestrator.components import Source
from orchestrator.errors import PreviewError
from orchestrator.outcome import KeptLog, Pin
from orchestrator.pool import Account
from orchestrator.preview import Deployment
from orchestrator.records import Preview, Project
from orchestrator.repoconfig import RepoConfig, restored
from orchestrator.secret_rules import Opened
from orchestrator.settings import Settings
from orchestrator.toolforge import AccountClient


class Overtaken(PreviewError):
    """The claim or the lease is somebody else's by now: stop without another effect."""


@dataclass(frozen=True)
class Site:
    """One deployment and where it is worked on."""

    deployment: Deployment
    preview: Preview
    project: Project
    account: AccountClient
    #: The account's row, as it was when the step began.
    place: Account
    #: Where the account's published job is reached.
    address: str
    #: The secret envvars that the preview's deployments get.
    secrets: Opened
    settings: Settings
    #: The good deployment of the same preview behind the address, if there is one.
    serving: Deployment | None
    #: Another deployment of the same preview is being tried at the address.
    address_busy: bool
    #: The jobs of components that other deployments of the same preview need, running or about to.
    needed_beside: frozenset[str]
    #: Raises :class:`Overtaken` when the claim or the lease is lost; to be asked before each effect.
    guard: Callable[[], None]
    #: The head commit of the merge request, as GitLab says now.
    head_now: Callable[[], str]
    #: The commit that merging it now would make; None when it cannot be merged.
    merged_now: Callable[[], str | None]
    #: Whether a commit is a merge of the deployment's.
    is_merge: Callable[[str], bool]
    #: Names the files of a commit, whatever its history; empty when GitLab cannot tell.
    tree: Callable[[str], str]
    #: The version of a language that the commit asks for; empty when it names none or GitLab cannot tell.
    pins: Callable[[str], tuple[Pin, ...]]
    #: The commit's Procfile, empty where it has none; None when GitLab cannot tell.
    procfile: Callable[[], str | None]
    #: The image of a commit, or of a tree, that the account should still have.
    reusable: Callable[[str, str], str | None]
    #: The image of a component, from the same source, that the account should still have.
    reusable_component: Callable[[str, Source], str | None]
    now: float
    #: An earlier worker was cut off in the middle of this step.
    is_takeover: bool = False

    @property
    def config(self) -> RepoConfig:
        """What the repository asks for at the deployment's commit."""
        return restored(self.deployment.config)


def kept(lines: Iterable[str], limit_bytes: int) -> KeptLog:
    """The end of a log, at most `limit_bytes` long; of the lines before it nothing is kept in memory."""
    end: deque[bytes] = deque()
    size = 0
    is_truncated = False
    for line in lines:
        end.append(line.encode("utf-8", "replace")[-limit_bytes:])
        size += len(end[-1]) + 1
        while size > limit_bytes + 1 and len(end) > 1:
            size -= len(end.popleft()) + 1
            is_truncated = True
    return KeptLog(b"\n".join(end).decode("utf-8", "ignore"), is_truncated)
