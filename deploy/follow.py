"""Following merge requests through a running stack, and looking at what is really there."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from deploy.stack import Stack
from orchestrator.connect import connect_project
from orchestrator.errors import PreviewError
from orchestrator.preview import State
from orchestrator.records import Event
from orchestrator.views import PreviewView


class TookTooLong(PreviewError):
    """What was waited for did not come."""


def connect(stack: Stack, path: str, checks: tuple[tuple[str, int | None], ...] = ()) -> None:
    """Connect a project, if it is not connected yet."""
    with stack.parts.store.read() as tx:
        if tx.project_at(path) is not None:
            return
    connect_project(stack.parts, path, checks=checks, now=time.time())


def wait_for(what: str, is_so: Callable[[], bool], *, seconds: float = 180.0) -> None:
    """Wait until something is so; raises :class:`TookTooLong` when it does not come."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TookTooLong(f"Waited {seconds:.0f} seconds in vain for: {what}")
        time.sleep(0.1)


def verdict_on(stack: Stack, path: str, iid: int, sha: str, *, seconds: float = 300.0) -> PreviewView:
    """Wait until commit `sha` of a merge request has its verdict."""

    def is_decided() -> bool:
        view = stack.parts.views.preview(path, iid)
        newest = view.newest if view else None
        return newest is not None and newest.sha == sha and not newest.is_pending

    wait_for(f"a verdict on {path}!{iid} at {sha[:12]}", is_decided, seconds=seconds)
    view = stack.parts.views.preview(path, iid)
    assert view is not None
    return view


def events(stack: Stack, path: str, iid: int) -> Iterator[Event]:
    """The timeline of a merge request as it grows; ends with the verdict on its newest commit."""
    shown = 0
    while True:
        view = stack.parts.views.preview(path, iid)
        if view is not None:
            yield from view.events[shown:]
            shown = len(view.events)
            if view.newest is not None and not view.newest.is_pending:
                return
        time.sleep(0.1)


def is_live(view: PreviewView) -> bool:
    """True when the newest commit is live."""
    return view.newest is not None and view.newest.state is State.LIVE


def get(address: str) -> httpx.Response:
    """GET a preview's address; names under .localhost are this machine (RFC 6761), whoever resolves them."""
    parts = urlsplit(address)
    url = parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl()
    return httpx.get(url, headers={"Host": parts.netloc}, trust_env=False, timeout=10.0)


def toolforge_state(stack: Stack) -> dict[str, Any]:
    """What the local Toolforge itself says of its tools; none of our own records."""
    url = f"{stack.places.toolforge_admin_url}/state"
    with urllib.request.urlopen(url, timeout=10.0) as response:  # noqa: S310 - our own loopback address
        answer: dict[str, Any] = json.load(response)
    return answer


def pool_is_clean(stack: Stack) -> bool:
    """True when every account is free by our records, and empty by Toolforge's."""
    with stack.parts.store.read() as tx:
        if any(account.state != "free" for account in tx.accounts()):
            return False
    return not any(_holds_something(tool) for tool in toolforge_state(stack)["tools"].values())


def _holds_something(tool: dict[str, Any]) -> bool:
    # Envvars named TOOL_... are Toolforge's own.
    envvars = [name for name in tool["envvars"] if not name.startswith("TOOL_")]
    return bool(tool["builds"] or tool["jobs"] or tool["images"] or envvars or tool["quota"]["used_bytes"])
