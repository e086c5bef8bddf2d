"""Image names as jobs-api reads them, and the look-up in Harbor behind them (contract 3.3)."""

from __future__ import annotations

import re

from deploy.local.toolforge.job_schema import BadJob
from deploy.local.toolforge.registry import Artifact
from deploy.local.toolforge.world import World

BUILT = re.compile(
    r"^tool-(?P<tool>[^/]+)/(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:\S+))?$"
)
#: Prebuilt images by short name. Here they are the machine itself: no files, the command is run as it is.
PREBUILT = ("bookworm", "node20", "php8.2", "python3.11", "python3.13", "ruby3.3")


def resolve_name(name: str, harbor_host: str) -> str:
    """The short form that is stored and shown: no host, with a tag. What has a dot is a host."""
    first, slash, rest = name.partition("/")
    short = rest if slash and ("." in first or first == harbor_host) else name
    match = BUILT.match(short)
    if match and not match["tag"]:
        digest = f"@{match['digest']}" if match["digest"] else ""
        return f"tool-{match['tool']}/{match['repository']}:latest{digest}"
    return short


class Images:
    """Looks images up, in any tool's project: they are public."""

    def __init__(self, world: World) -> None:
        self._world = world

    def find(self, short: str, *, for_tool: str) -> Artifact | None:
        """The artifact behind a short name, or None. A Harbor that is down looks like a missing image."""
        if short in PREBUILT:
            return Artifact("", short, {}, [], 0.0)
        match = BUILT.match(short)
        if not match or match["tool"] not in self._world.tools:
            return None
        if self._world.faults.take("harbor_down", tool=for_tool, operation="images"):
            return None
        project = self._world.tools[match["tool"]].project
        return project.find(match["repository"], match["digest"], match["tag"] or "latest")

    def require(self, short: str, *, for_tool: str) -> None:
        """Raise the 400 of a missing image, which names it in full."""
        if self.find(short, for_tool=for_tool) is None:
            raise BadJob(f"No such image '{self._world.settings.harbor_host}/{short}'")

    def listing(self, tool: str) -> list[dict[str, str]]:
        """What GET images shows: the prebuilt ones and the tool's own tagged ones."""
        host = self._world.settings.harbor_host
        shown = [{"shortname": name, "image": f"{host}/toolforge-{name}:latest"} for name in PREBUILT]
        for artifact in self._world.tools[tool].project.artifacts:
            for tag in artifact.tags:
                short = f"tool-{tool}/{artifact.repository}:{tag}"
                shown.append({"shortname": f"{short}@{artifact.digest}", "image": f"{host}/{short}"})
        return shown
