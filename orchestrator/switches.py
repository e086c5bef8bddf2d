"""What operators have stopped on purpose, by whom, since when and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.errors import BadInput

_LONGEST_REASON = 200


class Stop(StrEnum):
    """How much is stopped."""

    #: The emergency stop: nothing is done to any account. For one project: its deployments are not planned.
    PAUSE = "pause"
    #: Nothing new is built; what runs goes on, and what is up stays up.
    FREEZE = "freeze"


@dataclass(frozen=True)
class Switch:
    """One thing that is stopped."""

    stop: Stop
    #: None: all of them.
    project_id: int | None
    who: str
    why: str
    #: Since when.
    at: float

    @property
    def name(self) -> str:
        """What it is kept under; the same for the same thing."""
        return str(self.stop) if self.project_id is None else f"{self.stop}-{self.project_id}"


@dataclass(frozen=True)
class Switches:
    """All that is stopped just now."""

    on: Sequence[Switch] = ()

    @property
    def paused(self) -> Switch | None:
        """The emergency stop, where it was pulled."""
        return next((s for s in self.on if s.stop is Stop.PAUSE and s.project_id is None), None)

    @property
    def frozen(self) -> Switch | None:
        """The freeze of the builds, where there is one."""
        return next((s for s in self.on if s.stop is Stop.FREEZE), None)

    @property
    def is_frozen(self) -> bool:
        """True while nothing new is built, nothing expires and nothing gives way."""
        return any(s.project_id is None for s in self.on)

    @property
    def paused_projects(self) -> frozenset[int]:
        """Our ids of the projects whose deployments are not planned."""
        return frozenset(s.project_id for s in self.on if s.project_id is not None)

    def of(self, project_id: int | None) -> list[Switch]:
        """What stops this project alone; with None, what stops all."""
        return [switch for switch in self.on if switch.project_id == project_id]

    def holding(self, project_id: int, *, is_waiting: bool) -> str:
        """Why a deployment of the project does not go on, for people; empty when nothing holds it.

        `is_waiting` says that it is still to be planned; later only the emergency stop holds it.
        """
        if self.paused is not None:
            return f"all previews are paused ({self.paused.why})"
        if not is_waiting:
            return ""
        if self.frozen is not None:
            return f"builds are frozen ({self.frozen.why})"
        return next((f"its project is paused ({s.why})" for s in self.of(project_id)), "")


def reason(why: str) -> str:
    """Why something is stopped, as one line; raises :class:`BadInput` when nothing is said."""
    if not why.strip():
        raise BadInput("Say why: those who wait are told.")
    return " ".join(why.split())[:_LONGEST_REASON]
