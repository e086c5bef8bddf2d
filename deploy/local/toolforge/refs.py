"""Resolves a git ref as builds-api does: the first line of `git ls-remote URL REF`, whatever it is.

So a commit does not resolve, and a short branch name may give another branch (contract 2.2).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from deploy.local.toolforge.children import Children


class RefError(Exception):
    """The ref did not resolve; the text is the tail of builds-api's error."""


def git_environment(base: Mapping[str, str], home: Path) -> dict[str, str]:
    """An environment in which git asks nobody, reads no personal configuration and speaks no odd protocol."""
    return {
        **base,
        "HOME": str(home),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ALLOW_PROTOCOL": "file:git:http:https",
    }


async def resolve(children: Children, url: str, ref: str, *, env: Mapping[str, str], cwd: Path) -> str:
    """The sha that ls-remote names first.

    Raises `RefError`. There is no time limit, as there is none there.
    """
    wanted = ref or "HEAD"
    try:
        child = await children.spawn(["git", "ls-remote", "--", url, wanted], cwd=cwd, env=env)
    except ValueError:  # a NUL or the like: no address that git could be given
        raise RefError("exit status 128") from None
    try:
        lines = [line async for line in child.lines()]
        code = await child.wait()
    finally:
        await child.stop()
    if code:
        raise RefError(f"exit status {code}")
    found = [line.split("\t")[0] for line in lines if "\t" in line]
    if not found:
        raise RefError(f"unable to resolve ref {wanted} from {url}")
    return found[0]
