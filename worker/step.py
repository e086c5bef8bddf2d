"""What every step is given: the rows it is about, the ways out, and a guard to ask before each effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.errors import PreviewError
from orchestrator.outcome import KeptLog
from orchestrator.preview import Deployment
from orchestrator.records import Preview, Project
from orchestrator.settings import Settings
from orchestrator.toolforge import AccountClient

#: The one published job of an account: its name stays, so that an update swaps the image in place.
PUBLISHED_JOB = "preview"


class Overtaken(PreviewError):
    """The claim or the lease is somebody else's by now: stop without another effect."""


@dataclass(frozen=True)
class Site:
    """One deployment and where it is worked on."""

    deployment: Deployment
    preview: Preview
    project: Project
    account: AccountClient
    #: Where the account's published job is reached.
    address: str
    settings: Settings
    #: The good deployment of the same preview behind the address, if there is one.
    serving: Deployment | None
    #: Another deployment of the same preview is being tried at the address.
    address_busy: bool
    #: Raises :class:`Overtaken` when the claim or the lease is lost; to be asked before each effect.
    guard: Callable[[], None]
    now: float


def kept(lines: list[str], limit_bytes: int) -> KeptLog:
    """The end of a log, at most `limit_bytes` long."""
    text = "\n".join(lines)
    data = text.encode("utf-8", "replace")
    if len(data) <= limit_bytes:
        return KeptLog(text)
    return KeptLog(data[-limit_bytes:].decode("utf-8", "ignore"), is_truncated=True)
