"""The git half of seeding: small repositories in temporary folders, pushed from and thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AUTHOR = {"GIT_AUTHOR_NAME": "Dana Developer", "GIT_AUTHOR_EMAIL": "dana@tools.example"}


class SeedError(Exception):
    """GitLab or git did not do what was asked; the message says what and why."""


@contextmanager
def worktree() -> Iterator[Path]:
    """A new empty repository that vanishes afterwards."""
    with tempfile.TemporaryDirectory(prefix="seed-") as folder:
        tree = Path(folder)
        git(tree, "init", "--quiet", "--initial-branch=main")
        yield tree


def git(
    tree: Path, *arguments: str, check: bool = True, stdin: str | None = None, as_user: bool = False
) -> str | None:
    """Run git; its output, or None when it may fail and did. SeedError when it must not.

    Nobody's own configuration plays a part, but for `as_user`: a repository that lies elsewhere is reached as
    whoever runs this reaches it (credentials, proxies, `safe.directory`).
    """
    surroundings = _users_environment() if as_user else _clean_environment(tree)
    done = subprocess.run(
        ["git", *arguments], cwd=tree, env=surroundings, input=stdin, capture_output=True, text=True
    )
    if done.returncode and check:
        raise SeedError(f"git {arguments[0]}: {_without_tokens(done.stderr.strip())}")
    return None if done.returncode else done.stdout.strip()


def _users_environment() -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return {**own, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}


def _clean_environment(tree: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(tree),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
        **_AUTHOR,
        "GIT_COMMITTER_NAME": _AUTHOR["GIT_AUTHOR_NAME"],
        "GIT_COMMITTER_EMAIL": _AUTHOR["GIT_AUTHOR_EMAIL"],
    }


def _without_tokens(text: str) -> str:
    """A message of git without the tokens that addresses carry."""
    return " ".join(word.split("@")[-1] if "oauth2:" in word else word for word in text.split(" "))


def copy_over(source: Path, tree: Path) -> None:
    # Not with their old times: git takes a file of the same size and times for unchanged.
    ignored = shutil.ignore_patterns("__pycache__", ".git")
    shutil.copytree(source, tree, dirs_exist_ok=True, ignore=ignored, copy_function=shutil.copy)


def put(tree: Path, path: str, content: str | bytes | None) -> None:
    place = tree / path
    if tree.resolve() not in place.resolve().parents:
        raise SeedError(f"{path} lies outside of the repository")
    if content is None:
        place.unlink()
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(tree: Path, message: str) -> None:
    git(tree, "add", "--all", "--force")
    git(tree, "commit", "--quiet", "--allow-empty", "--no-verify", f"--message={message}")


def fetch(tree: Path, address: str, ref: str) -> None:
    """Bring `ref` over as FETCH_HEAD; the end of a shallow repository's history is taken as it is."""
    for name in (ref, address):
        if name.startswith("-"):
            raise SeedError(f"{name} is no name of a repository or commit")
    usual = ("fetch", "--quiet", "--no-tags", "--update-shallow", address)
    if git(tree, *usual, ref, check=False, as_user=True) is not None:
        return
    # A short commit id, or one that the server does not give out by itself: ask for everything.
    git(tree, *usual, "+refs/heads/*:refs/remotes/source/*", as_user=True)
    found = git(tree, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", check=False)
    if not found:
        raise SeedError(f"{shown(address)} has no branch, tag or commit {ref!r}")
    (tree / ".git" / "FETCH_HEAD").write_text(f"{found}\n")


def head_and_base(tree: Path) -> tuple[str, str]:
    """The commit to propose, and the one to propose it on."""
    head = str(git(tree, "rev-parse", "FETCH_HEAD^{commit}"))
    parent = git(tree, "rev-parse", "--verify", "--quiet", f"{head}^1", check=False)
    if parent and not (tree / ".git" / "shallow").exists():
        return head, parent
    base_tree = f"{parent}^{{tree}}" if parent else str(git(tree, "mktree", stdin=""))
    base = str(git(tree, "commit-tree", base_tree, "-m", "What was there before"))
    message = str(git(tree, "show", "--no-patch", "--format=%B", head))
    again = git(tree, "commit-tree", f"{head}^{{tree}}", "-p", base, stdin=message or "A change")
    # Nothing that is pushed reaches the shallow end any more, so the repository need not say that it has one.
    (tree / ".git" / "shallow").unlink(missing_ok=True)
    return str(again), base


def project_name_of(address: str) -> str:
    last = address.rstrip("/").removesuffix("/.git").rsplit("/", 1)[-1].removesuffix(".git")
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in last).strip("-._") or "tool"


def shown(address: str) -> str:
    """An address without what a user may have put before the @."""
    return address.rsplit("@", 1)[-1] if "://" in address else address
