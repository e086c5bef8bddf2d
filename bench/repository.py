"""A project of the local GitLab with many branches, made by git's plumbing, so that all can open at once."""

from __future__ import annotations

import subprocess
import tempfile
from types import TracebackType

from deploy.local.seed import Project, Seeder


class Repository:
    """A project with branches ``change-1`` and on, each one commit ahead of main; a context manager.

    To each branch a second commit can be pushed.
    """

    def __init__(self, seeder: Seeder, name: str, *, branches: int) -> None:
        self._seeder = seeder
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        self.project: Project = seeder.project(name)
        self._git("init", "--quiet")
        root = self._commit(0, "root")
        changes = [self._commit(number, f"change {number}", root) for number in range(1, branches + 1)]
        self._second = [self._commit(-number, "again", first) for number, first in enumerate(changes, 1)]
        named = enumerate(changes, 1)
        refs = [f"{root}:refs/heads/main", *(f"{sha}:refs/heads/change-{number}" for number, sha in named)]
        self._push(*refs)

    def __enter__(self) -> Repository:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def open(self, number: int, *, token: str = "") -> int:
        """Open a merge request from branch `number`, as whoever has the token; its number in the project."""
        made = self._seeder.api(
            "POST",
            f"/projects/{self.project.id}/merge_requests",
            token=token,
            source_branch=f"change-{number}",
            target_branch="main",
            title=f"Change {number}",
        )
        return int(made["iid"])

    def push_again(self, number: int, *, token: str = "") -> str:
        """Push the second commit of branch `number`; its id."""
        sha = self._second[number - 1]
        self._push(f"{sha}:refs/heads/change-{number}", token=token)
        return sha

    def close(self, iid: int) -> None:
        """Close a merge request."""
        self._seeder.api("PUT", f"/projects/{self.project.id}/merge_requests/{iid}", state_event="close")

    def _commit(self, content: int, message: str, *parents: str) -> str:
        blob = self._git("hash-object", "-w", "--stdin", stdin=str(content))
        tree = self._git("mktree", stdin=f"100644 blob {blob}\tn\n")
        return self._git("commit-tree", tree, *(f"-p{parent}" for parent in parents), "-m", message)

    def _push(self, *refs: str, token: str = "") -> None:
        self._git("push", "--quiet", self._seeder.push_url(self.project, token), *refs)

    def _git(self, *arguments: str, stdin: str = "") -> str:
        who = ["-c", "user.name=b", "-c", "user.email=b@b.example"]
        command = ["git", "-C", self._folder.name, *who, *arguments]
        return subprocess.run(command, input=stdin, check=True, capture_output=True, text=True).stdout.strip()
