"""Trying any git repository: would it build, start and answer on Toolforge?"""

from __future__ import annotations

import signal
import tempfile
import threading
from pathlib import Path

from rich.console import Console

from deploy.follow import TookTooLong, connect, events, is_live, pool_is_clean, verdict_on, wait_for
from deploy.local.seed import MergeRequest
from deploy.local.seed_git import SeedError
from deploy.stack import Stack
from orchestrator.errors import BadInput
from orchestrator.markdown import plain
from orchestrator.views import PreviewView


def run(repository: str, *, ref: str, checks: tuple[tuple[str, int | None], ...], once: bool) -> int:
    """Open a merge request for `ref` of `repository` and follow it; 0 when it is live, 1 when it failed.

    Unless `once`, waits for Ctrl-C while it is up. Raises :class:`BadInput` when the repository or the
    reference cannot be had.
    """
    console = Console(highlight=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory(prefix="toolforge-preview-try-") as folder,
        Stack(Path(folder), tools=("preview-dev-1",)) as stack,
    ):
        merge_request = _open(stack, repository, ref, checks)
        try:
            return _to_the_end(stack, merge_request, console, once=once)
        except TookTooLong as error:
            console.print(f"Failed: {error}", markup=False)
            return 1


def _to_the_end(stack: Stack, merge_request: MergeRequest, console: Console, *, once: bool) -> int:
    console.print(
        f"Opened {merge_request.web_url} for {merge_request.sha[:12]}: {merge_request.title}",
        markup=False,
    )
    view = _follow(stack, merge_request, console)
    _tell(view, console)
    if not once and is_live(view):
        _wait_for_ctrl_c(stack, console)
    stack.seeder.close_merge_request(merge_request)
    wait_for("the account to be free and empty", lambda: pool_is_clean(stack), seconds=120.0)
    console.print("Torn down: the account is free and empty.")
    return 0 if is_live(view) else 1


def _open(
    stack: Stack, repository: str, ref: str, checks: tuple[tuple[str, int | None], ...]
) -> MergeRequest:
    try:
        merge_request = stack.seeder.open_merge_request_from_repository(repository, ref)
    except SeedError as error:
        raise BadInput(f"Cannot use {repository} at {ref}: {error}") from None
    connect(stack, merge_request.project.path, checks)
    return merge_request


def _follow(stack: Stack, merge_request: MergeRequest, console: Console) -> PreviewView:
    path, iid = merge_request.project.path, merge_request.iid
    first: float | None = None
    for event in events(stack, path, iid):
        first = event.at if first is None else first
        console.print(
            f"{event.at - first:6.1f} s  {event.subject} {event.after}: {plain(event.why)}", markup=False
        )
    return verdict_on(stack, path, iid, merge_request.sha)


def _tell(view: PreviewView, console: Console) -> None:
    newest = view.newest
    assert newest is not None
    for check in newest.checks:
        console.print(
            f"{'passed' if check.passed else 'failed'}: {check.name}: {check.message}", markup=False
        )
    if newest.refusal:
        console.print(f"Does not apply here: {plain(newest.refusal.why)}", markup=False)
    if newest.failure:
        console.print(f"Failed at {newest.failure.stage}: {plain(newest.failure.summary)}", markup=False)
        console.print(plain(newest.failure.excerpt), markup=False)
        console.print(f"What to do: {newest.failure.remedy}", markup=False)
    if view.address:
        console.print(f"Live at {view.address}", markup=False)


def _wait_for_ctrl_c(stack: Stack, console: Console) -> None:
    console.print(f"The merge request's page is on {stack.places.gitlab_url}. Ctrl-C takes it down.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print("Taking it down ...")
