"""What every step of one real build has at hand: its folder, its log, and a way to run programs."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.toolforge.build_log import BuildLog
from deploy.local.toolforge.engine import BuildFailed
from deploy.local.toolforge.model import Build
from deploy.local.toolforge.settings import Builder
from deploy.local.toolforge.world import World

MAGENTA, RED, RESET = "\x1b[1;35m", "\x1b[1;31m", "\x1b[0m"


@dataclass
class Outcome:
    """What a buildpack leaves: process types, run-time environment, and layers outside the app's folder."""

    processes: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    layers: dict[str, Path] = field(default_factory=dict)


@dataclass
class BuildContext:
    """One build. `folder` becomes the image; the checked-out code lies in `app`."""

    world: World
    build: Build
    log: BuildLog
    folder: Path

    @property
    def app(self) -> Path:
        """The code, as it will lie in the image."""
        return self.folder / "app"

    @property
    def builder(self) -> Builder:
        """What the chosen builder image offers."""
        settings = self.world.settings
        return settings.latest_builder if self.build.use_latest_versions else settings.builder

    @property
    def environment(self) -> dict[str, str]:
        """What a build program inherits: nothing of the server's secrets, and the build's own variables."""
        home = self.world.folder("cache", "home")
        return {
            **self.world.base_environment(),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PIP_CACHE_DIR": str(self.world.folder("cache", "pip")),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "npm_config_cache": str(self.world.folder("cache", "npm")),
            "npm_config_update_notifier": "false",
            **self.build.envvars,
        }

    def say(self, text: str, step: str = "step-build") -> None:
        """Write to the log."""
        self.log.write(step, text)

    def header(self, title: str) -> None:
        """A buildpack's headline."""
        self.say(f"{MAGENTA}[{title}]{RESET}")

    def error(self, title: str, body: str = "") -> BuildFailed:
        """Write an error as libherokubuildpack's log_error does; to be raised."""
        self.say(f"\n{RED}[Error: {title}]{RESET}")
        for line in body.splitlines():
            self.say(f"{RED}{line}{RESET}")
        self._closing_lines()
        return BuildFailed(title)

    def bang(self, title: str, body: str = "") -> BuildFailed:
        """Write an error as the Node.js, PHP, Ruby and Go buildpacks do, with `! `; to be raised."""
        self.say("")
        for line in [title, *(["", *body.splitlines()] if body else [])]:
            self.say(f"\x1b[0;31m! {line}".rstrip() + RESET)
        self._closing_lines()
        return BuildFailed(title)

    def unsupported(self, language: str, why: str) -> BuildFailed:
        """This machine cannot do what Toolforge could. Said plainly, never passed off as built."""
        return self.error(
            f"This local Toolforge cannot build {language}",
            f"{why}\nToolforge itself may well build this repository: its builder has what is missing here.",
        )

    async def run(
        self,
        argv: Sequence[str],
        *,
        step: str = "step-build",
        indent: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> int:
        """Run a program, its output into the log; its exit code. It dies with the build."""
        child = await self.world.children.spawn(
            argv, cwd=cwd or self.app, env={**self.environment, **(env or {})}
        )
        try:
            async for line in child.lines():
                self.log.write(step, indent + line)
            return await child.wait()
        finally:
            await child.stop()

    async def capture(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> tuple[int, list[str]]:
        """Run a program; its exit code and its output, which does not go to the log."""
        child = await self.world.children.spawn(argv, cwd=self.app, env={**self.environment, **(env or {})})
        try:
            lines = [line async for line in child.lines()]
            return await child.wait(), lines
        finally:
            await child.stop()

    def _closing_lines(self) -> None:
        self.say("\x1b[31;1mERROR: \x1b[0mfailed to build: exit status 1")


def tree_size(folder: Path) -> int:
    """Bytes of all files below a folder; links count as themselves."""
    total = 0
    for root, _, files in os.walk(folder):
        total += sum(os.lstat(os.path.join(root, name)).st_size for name in files)
    return total


def tree_digest(folder: Path) -> str:
    """A digest of names and contents below a folder."""
    digest = hashlib.sha256()
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(root, name)
            digest.update(f"{path.relative_to(folder)}\0".encode())
            if path.is_symlink():
                digest.update(os.readlink(path).encode())
            elif path.is_file():
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"


def remove_tree(folder: Path) -> None:
    """Remove a folder and all below it, whatever modes a build left there."""

    def unlock(function: object, path: str, error: object) -> None:
        parent = os.path.dirname(path)
        if os.path.islink(parent):
            return
        os.chmod(parent, 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            os.chmod(path, 0o700)
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.lexists(path):
            os.unlink(path)

    if folder.exists():
        shutil.rmtree(folder, onerror=unlock)
