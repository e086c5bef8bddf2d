"""Commits that are made without a working copy: a tree out of another one and changed files."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from deploy.local.gitlab.git import Git, GitError

PLAIN, EXECUTABLE = "100644", "100755"
_GONE = "0" * 40


class CannotWrite(Exception):
    """The change does not fit what is there; the message is GitLab's."""


@dataclass(frozen=True, slots=True)
class Action:
    """One change of a commit. `kind`: `create`, `update`, `delete`, `move` or `chmod`; without `content` a
    file keeps what it has.
    """

    kind: str
    path: str
    content: bytes | None = None
    previous_path: str = ""
    executable: bool | None = None


async def write_tree(git: Git, project_id: int, base: str | None, actions: list[Action]) -> str:
    """The tree of commit `base` (None: empty) after these actions, in their order. CannotWrite."""
    index = git.path(project_id) / f"index.{uuid.uuid4().hex}"
    env = {"GIT_INDEX_FILE": str(index)}
    try:
        if base:
            await git.run(project_id, "read-tree", base, env=env)
        for action in actions:
            await _apply(git, project_id, action, env)
        return (await git.run(project_id, "write-tree", env=env)).decode().strip()
    finally:
        index.unlink(missing_ok=True)


async def _apply(git: Git, project_id: int, action: Action, env: dict[str, str]) -> None:
    before = await _entry(git, project_id, action.previous_path or action.path, env)
    if action.kind == "create" and before:
        raise CannotWrite("A file with this name already exists")
    if action.kind != "create" and not before:
        raise CannotWrite("A file with this name doesn't exist")
    mode, blob = before or (PLAIN, "")
    if action.content is not None or not before:
        blob = await _store(git, project_id, action.content or b"")
    if action.executable is not None:
        mode = EXECUTABLE if action.executable else PLAIN
    gone = action.path if action.kind == "delete" else action.previous_path
    if gone:
        line = f"0 {_GONE}\t{gone}\0".encode()
        await git.run(project_id, "update-index", "-z", "--index-info", stdin=line, env=env)
    if action.kind == "delete":
        return
    try:
        added = ("--add", "--cacheinfo", mode, blob, action.path)
        await git.run(project_id, "update-index", *added, env=env)
    except GitError as problem:
        raise CannotWrite(f"invalid path: '{action.path}'") from problem


async def _entry(git: Git, project_id: int, path: str, env: dict[str, str]) -> tuple[str, str] | None:
    """(mode, blob) of a file in the index."""
    if not path or "\0" in path:
        raise CannotWrite("You must provide a file path")
    spec = f":(top,literal){path}"
    listed = await git.run(project_id, "ls-files", "-z", "--stage", "--", spec, env=env)
    for line in listed.decode(errors="replace").split("\0"):
        meta, _, name = line.partition("\t")
        if name == path:
            mode, blob, _ = meta.split(" ")
            return mode, blob
    return None


async def _store(git: Git, project_id: int, content: bytes) -> str:
    # Empty content needs no input: git takes what it gets, and that is nothing.
    output = await git.run(project_id, "hash-object", "-w", "--stdin", stdin=content)
    return output.decode().strip()
