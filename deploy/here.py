"""What the commands for maintainers read in the database of this installation, as by a server's API."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.bootstrap import Parts
from orchestrator.errors import NotFound
from orchestrator.livelog import BEGIN
from orchestrator.watchedlog import can_be_followed
from web.parts import hints_of, watch
from web.shapes import DeploymentOut, LineOut, PreviewOut


class Here:
    """The database of `parts`, and for what runs its Redis.

    Reads as :class:`deploy.remote.Remote` does, control characters taken out of foreign text; every method
    raises :class:`NotFound` where that would be told so.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def preview(self, path: str, iid: int) -> PreviewOut:
        """One preview."""
        found = self._parts.pages.preview(path, iid)
        if found is None:
            raise NotFound("There is no such preview.")
        return PreviewOut.of(found)

    def deployment(self, deployment_id: int) -> DeploymentOut:
        """One deployment."""
        found = self._parts.pages.deployment(deployment_id)
        if found is None:
            raise NotFound("There is no such deployment.")
        return DeploymentOut.of(found)

    def log(self, deployment_id: int, kind: str, *, follow: bool) -> Iterator[str]:
        """The lines of a log; with `follow` also those to come of what runs."""
        kept = self._parts.views.log(deployment_id, kind)
        lines = self._followed(deployment_id, kind, follow) if kept is None else kept.split("\n")
        for number, line in enumerate(lines, 1):
            yield LineOut(number=number, text=line).text

    def _followed(self, deployment_id: int, kind: str, follow: bool) -> Iterator[str]:
        found = self._parts.pages.deployment(deployment_id)
        if found is None or not follow or not can_be_followed(found.deployment, kind):
            raise NotFound("There is no such log.")
        for batches in watch(self._parts, hints_of(self._parts), deployment_id, kind).batches(BEGIN):
            for batch in batches:
                yield from batch.lines
