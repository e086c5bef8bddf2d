"""The real engine: a commit becomes a folder, a folder becomes a process."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections import Counter
from pathlib import Path

from deploy.local.toolforge import refs
from deploy.local.toolforge.build_log import BuildLog
from deploy.local.toolforge.engine import BuiltImage, Container, Launch, LogSink
from deploy.local.toolforge.model import Build
from deploy.local.toolforge.real import pipeline
from deploy.local.toolforge.real.container import (
    FailedContainer,
    ProcessContainer,
    free_port,
    localise,
    resolve_command,
)
from deploy.local.toolforge.real.context import BuildContext, remove_tree
from deploy.local.toolforge.registry import Artifact
from deploy.local.toolforge.world import World

#: How long an environment that no image uses is kept for the next build that wants the same.
LAYER_KEPT_SECONDS = 7 * 86400
#: Linked into a container instead of copied: large, and not written to.
LINKED = ("node_modules", "vendor")


class RealEngine:
    """Builds and runs on this machine."""

    scaled = False

    def __init__(self, world: World) -> None:
        self._world = world
        self._ports: set[int] = set()
        self._users: Counter[str] = Counter()
        self._doomed: set[str] = set()
        self._sweep()

    async def resolve(self, url: str, ref: str) -> str:
        """`git ls-remote`."""
        env = refs.git_environment(self._world.base_environment(), self._world.empty_home)
        return await refs.resolve(self._world.children, url, ref, env=env, cwd=self._world.empty_home)

    def takes_no_time(self, build: Build) -> bool:
        """Never: there is always something to do."""
        return False

    async def build(self, build: Build, log: BuildLog) -> BuiltImage:
        """Run the pipeline in a folder named after the build; the folder goes when there is no image."""
        folder = self._world.folder("images", build.tool) / build.id
        await asyncio.to_thread(remove_tree, folder)
        try:
            return await pipeline.run(BuildContext(self._world, build, log, folder))
        except BaseException:
            self._throw_away(folder)
            raise

    def discard(self, image: BuiltImage | Artifact) -> None:
        """Remove the folder, once no container uses it any more."""
        if not image.path:
            return
        if self._users[image.path]:
            self._doomed.add(image.path)
        else:
            self._throw_away(Path(image.path))

    async def start(self, artifact: Artifact, launch: Launch, log: LogSink) -> Container:
        """Start the command in a fresh copy of the image's files."""
        folder = self._world.folder("pods") / launch.pod
        await asyncio.to_thread(_copy, Path(artifact.path, "app") if artifact.path else None, folder)
        own_port = None
        if launch.port is not None:
            own_port = free_port(self._ports)
            self._ports.add(own_port)
        env = self._environment(artifact, launch, folder, own_port)
        argv = resolve_command(launch.command, artifact.processes)
        argv = [localise(word, launch.port, own_port) for word in argv]
        try:
            if not argv:
                raise FileNotFoundError("")
            child = await self._world.children.spawn(argv, cwd=folder, env=env)
        except FileNotFoundError:
            name = argv[0] if argv else ""
            log(f'ERROR: failed to launch: path lookup: exec: "{name}": executable file not found in $PATH')
            self._forget(folder, own_port, "")
            return FailedContainer()
        self._users[artifact.path] += 1
        return ProcessContainer(
            child,
            log,
            port=launch.port,
            own_port=own_port,
            folder=folder,
            env=env,
            children=self._world.children,
            on_end=lambda: self._forget(folder, own_port, artifact.path),
        )

    def _environment(
        self, artifact: Artifact, launch: Launch, folder: Path, own_port: int | None
    ) -> dict[str, str]:
        env = {**self._world.base_environment(), "LANG": "C.UTF-8", **artifact.environment}
        env |= launch.environment
        env |= {"HOME": str(folder), "NO_HOME": "a buildservice pod does not need a home env"}
        if launch.mount_home:
            home = str(self._world.identities.home(launch.tool))
            env |= {"HOME": home, "TOOL_DATA_DIR": home}
        if own_port is not None:
            env["PORT"] = str(own_port)
        return env

    def _forget(self, folder: Path, own_port: int | None, image: str) -> None:
        if not folder.exists():
            return
        if own_port is not None:
            self._ports.discard(own_port)
        self._throw_away(folder)
        if image:
            self._users[image] -= 1
        if image in self._doomed and not self._users[image]:
            self._doomed.discard(image)
            self._throw_away(Path(image))

    def _throw_away(self, folder: Path) -> None:
        """Remove a folder, which may be large: out of sight now, from the disk in a thread."""
        if not folder.exists():
            return
        trash = self._world.folder("trash") / secrets.token_hex(8)
        folder.rename(trash)
        asyncio.get_running_loop().run_in_executor(None, remove_tree, trash)

    def _sweep(self) -> None:
        """Remove what an earlier server left: containers' files, unknown images, unused environments."""
        for name in ("pods", "trash"):
            remove_tree(self._world.settings.state / name)
        artifacts = [one for tool in self._world.tools.values() for one in tool.project.artifacts]
        known = {one.path for one in artifacts}
        for folder in self._world.folder("images").glob("*/*"):
            if str(folder) not in known:
                remove_tree(folder)
        used = {one.environment.get("VIRTUAL_ENV", "") for one in artifacts}
        for layer in self._world.folder("layers").iterdir():
            stamp = layer / ".complete"
            if not stamp.exists() or (
                str(layer) not in used and time.time() - stamp.stat().st_mtime > LAYER_KEPT_SECONDS
            ):
                remove_tree(layer)


def _copy(source: Path | None, target: Path) -> None:
    """A writable copy of the image's files, like a container's own layer."""
    remove_tree(target)
    if source is None or not source.is_dir():
        target.mkdir(parents=True)
        return
    linked = [name for name in LINKED if (source / name).is_dir() and not (source / name).is_symlink()]
    shutil.copytree(source, target, symlinks=True, ignore=lambda at, _: linked if Path(at) == source else [])
    for name in linked:
        (target / name).symlink_to(source / name)
