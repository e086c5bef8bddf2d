"""The bare repositories: everything that is asked of git.

One folder per project id. Calls are short-lived `git` processes; answers that are addressed by a full commit
id never change and are remembered. Nothing here knows about merge requests or HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

SHA = re.compile(r"[0-9a-f]{40}")
_REMEMBERED = 4096
_BLOB_LIMIT = 256 * 1024
# What Gitaly sets on every repository: any reachable commit may be fetched, and nobody pushes to GitLab's
# refs.
_CONFIG = {
    "uploadpack.allowAnySHA1InWant": "true",
    "uploadpack.allowFilter": "true",
    "receive.hideRefs": "refs/merge-requests/",
    "http.receivepack": "true",
    "core.hooksPath": "/dev/null",
    "gc.auto": "0",
    "core.fsync": "none",
}


class GitError(Exception):
    """A git command failed; the message is what it printed."""


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    email: str
    when: str


@dataclass(frozen=True, slots=True)
class Commit:
    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str

    @property
    def title(self) -> str:
        """The first line of the message."""
        return self.message.split("\n", 1)[0]


@dataclass(slots=True)
class FileDiff:
    old_path: str
    new_path: str
    a_mode: str
    b_mode: str
    status: str
    diff: str = ""


@dataclass(slots=True)
class _Remembered:
    """A bounded memory for answers that cannot change."""

    items: OrderedDict[object, object] = field(default_factory=OrderedDict)

    def get(self, key: object) -> object | None:
        found = self.items.get(key)
        if found is not None:
            self.items.move_to_end(key)
        return found

    def put(self, key: object, value: object) -> None:
        self.items[key] = value
        if len(self.items) > _REMEMBERED:
            self.items.popitem(last=False)


def environment(home: Path) -> dict[str, str]:
    """Surroundings for git that depend on nobody's own configuration."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


class Git:
    """The repositories under one folder, by project id."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.env = environment(root)
        self._refs: dict[int, dict[str, str]] = {}
        self._commits = _Remembered()
        self._blobs = _Remembered()

    def path(self, project_id: int) -> Path:
        """Where a project's repository lies."""
        return self.root / f"{project_id}.git"

    async def run(
        self, project_id: int, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None
    ) -> bytes:
        """Run git in a project's repository; its output, or GitError."""
        if any("\0" in argument for argument in arguments):
            raise GitError("a name with a null byte")
        process = await asyncio.create_subprocess_exec(
            "git",
            f"--git-dir={self.path(project_id)}",
            *arguments,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.env | (env or {}),
            process_group=0,
        )
        try:
            output, errors = await process.communicate(stdin or None)
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if process.returncode:
            raise GitError(errors.decode(errors="replace").strip() or f"git {arguments[0]} failed")
        return output

    async def create(self, project_id: int, default_branch: str, fork_of: int | None = None) -> None:
        """A new repository: empty, or with the branches and tags of another one."""
        target = self.path(project_id)
        shutil.rmtree(target, ignore_errors=True)
        for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (target / folder).mkdir(parents=True)
        (target / "HEAD").write_text(f"ref: refs/heads/{default_branch}\n")
        (target / "config").write_text(_config_file())
        if fork_of is not None:
            specs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
            await self.run(project_id, "fetch", "--quiet", str(self.path(fork_of)), *specs)
        self._refs.pop(project_id, None)

    def remove(self, project_id: int) -> None:
        """Delete a repository; one that is gone is no error."""
        shutil.rmtree(self.path(project_id), ignore_errors=True)
        self._refs.pop(project_id, None)

    async def refs(self, project_id: int, *, fresh: bool = False) -> dict[str, str]:
        """Branches and tags with their commits, as `refs/heads/...` and `refs/tags/...`."""
        known = self._refs.get(project_id)
        if known is None or fresh:
            form = "%(refname) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"
            output = await self.run(project_id, "for-each-ref", f"--format={form}", "refs/heads", "refs/tags")
            pairs = (line.rpartition(" ") for line in output.decode().splitlines())
            known = self._refs[project_id] = {name: sha for name, _, sha in pairs}
        return known

    async def branch(self, project_id: int, name: str) -> str | None:
        """The commit at a branch's tip, or None."""
        return (await self.refs(project_id)).get(f"refs/heads/{name}")

    async def set_ref(self, project_id: int, ref: str, sha: str | None, old: str | None = None) -> None:
        """Move, make or (with None) delete a ref, optionally only when it is still at `old`."""
        arguments = ["update-ref", ref, sha] if sha else ["update-ref", "-d", ref]
        await self.run(project_id, *arguments, *([old] if old else []))
        known = self._refs.get(project_id)
        if known is not None and ref.startswith(("refs/heads/", "refs/tags/")):
            if sha:
                known[ref] = sha
            else:
                known.pop(ref, None)

    async def resolve(self, project_id: int, revision: str) -> str | None:
        """The commit that a branch, tag, ref or commit id stands for, or None."""
        if not revision or revision.startswith("-"):
            return None
        refs = await self.refs(project_id)
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in refs:
                return refs[name]
        if SHA.fullmatch(revision):
            found = await self.commit(project_id, revision)
            return found.sha if found else None
        try:
            output = await self.run(
                project_id, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
            )
        except GitError:
            return None
        return output.decode().strip()

    async def commit(self, project_id: int, sha: str) -> Commit | None:
        """A commit by its full id, or None when the project does not have it."""
        known = self._commits.get((project_id, sha))
        if isinstance(known, Commit):
            return known
        try:
            raw = await self.run(project_id, "cat-file", "commit", sha)
        except GitError:
            return None
        commit = parse_commit(sha, raw)
        self._commits.put((project_id, sha), commit)
        return commit

    async def blob(self, project_id: int, sha: str, path: str) -> bytes | None:
        """A file's content at a commit (full id), or None when there is no such file."""
        key = (project_id, sha, path)
        known = self._blobs.get(key)
        if known is not None:
            return known if isinstance(known, bytes) else None
        try:
            content = await self.run(project_id, "cat-file", "blob", f"{sha}:{path}")
        except GitError:
            self._blobs.put(key, False)
            return None
        if len(content) <= _BLOB_LIMIT:
            self._blobs.put(key, content)
        return content

    async def tree(self, project_id: int, sha: str, path: str = "") -> list[tuple[str, str, str, str]]:
        """(mode, type, id, path) of the entries of a folder at a commit."""
        where = f"{sha}:{path}" if path else sha
        try:
            output = await self.run(project_id, "ls-tree", "-z", "--end-of-options", where)
        except GitError:
            return []
        entries = []
        for line in output.decode(errors="replace").split("\0"):
            if line:
                meta, name = line.split("\t", 1)
                mode, kind, object_id = meta.split(" ")
                entries.append((mode, kind, object_id, f"{path}/{name}" if path else name))
        return entries

    async def merge_base(self, project_id: int, one: str, other: str) -> str | None:
        """The best common ancestor, or None for unrelated histories."""
        try:
            return (await self.run(project_id, "merge-base", one, other)).decode().strip()
        except GitError:
            return None

    async def log(self, project_id: int, include: str, exclude: str | None, limit: int) -> list[str]:
        """Commit ids reachable from `include` and not from `exclude`, newest first."""
        spec = [include] + ([f"^{exclude}"] if exclude else [])
        output = await self.run(project_id, "rev-list", f"--max-count={limit}", *spec)
        return output.decode().split()

    async def count(self, project_id: int, include: str, exclude: str) -> int:
        """How many commits `include` has that `exclude` has not."""
        return int(await self.run(project_id, "rev-list", "--count", include, f"^{exclude}"))

    async def fetch(self, project_id: int, source_id: int, sha: str) -> None:
        """Bring a commit of another project's repository over."""
        await self.run(project_id, "fetch", "--quiet", "--no-tags", str(self.path(source_id)), sha)

    async def diff(self, project_id: int, base: str, head: str) -> list[FileDiff]:
        """The files that differ between two commits, each with its unified diff."""
        common = ("diff-tree", "-r", "-M", "--no-commit-id")
        raw = await self.run(project_id, *common, "-z", "--raw", "--abbrev=40", base, head)
        files = list(_raw_entries(raw.decode(errors="replace")))
        patch = await self.run(project_id, *common, "-p", "--no-color", base, head)
        parts = re.split(r"^diff --git .*\n", patch.decode(errors="replace"), flags=re.MULTILINE)[1:]
        for file, part in zip(files, parts, strict=False):
            start = part.find("@@")
            file.diff = part[start:] if start >= 0 else ""
        return files

    async def merge_tree(self, project_id: int, target: str, head: str) -> str | None:
        """The tree that merging makes, or None when there are conflicts."""
        try:
            output = await self.run(project_id, "merge-tree", "--write-tree", target, head)
        except GitError:
            return None
        return output.decode().split("\n", 1)[0].strip()

    async def commit_tree(
        self, project_id: int, tree: str, parents: list[str], message: str, name: str, email: str
    ) -> str:
        """Make a commit object, and return its id."""
        env = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", name), ("EMAIL", email))
        }
        options = [option for parent in parents for option in ("-p", parent)]
        output = await self.run(
            project_id, "commit-tree", tree, *options, stdin=message.encode() or b"\n", env=env
        )
        return output.decode().strip()


def _config_file() -> str:
    """A bare repository's configuration (what `git init --bare` writes, and ours)."""
    settings = {"core.repositoryformatversion": "0", "core.bare": "true", **_CONFIG}
    return "".join("[{}]\n\t{} = {}\n".format(*key.split("."), value) for key, value in settings.items())


def parse_commit(sha: str, raw: bytes) -> Commit:
    """Read git's own form of a commit object."""
    head, _, message = raw.decode(errors="replace").partition("\n\n")
    tree, parents = "", []
    author = committer = Person("", "", "")
    for line in head.split("\n"):
        key, _, value = line.partition(" ")
        if key == "tree":
            tree = value
        elif key == "parent":
            parents.append(value)
        elif key == "author":
            author = _person(value)
        elif key == "committer":
            committer = _person(value)
    return Commit(sha, tree, tuple(parents), author, committer, message)


def _person(text: str) -> Person:
    match = re.fullmatch(r"(.*?) ?<(.*)> (-?\d+) ([+-])(\d\d)(\d\d)", text)
    if not match:
        return Person(text, "", "")
    name, email, seconds, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes)) * (1 if sign == "+" else -1)
    zone = timezone(offset) if offset else UTC
    when = datetime.fromtimestamp(int(seconds), zone).isoformat(timespec="milliseconds")
    return Person(name, email, when)


def _raw_entries(text: str) -> list[FileDiff]:
    """`git diff-tree -z --raw`: `:modeA modeB shaA shaB status`, then one path, or two for renames."""
    fields = iter(text.split("\0"))
    entries = []
    for meta in fields:
        if not meta.startswith(":"):
            continue
        a_mode, b_mode, _, _, status = meta[1:].split(" ")
        old = next(fields)
        new = next(fields) if status[0] in "RC" else old
        entries.append(FileDiff(old, new, a_mode, b_mode, status[0]))
    return entries
