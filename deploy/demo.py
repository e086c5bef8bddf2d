"""The demonstration: real little tools, previewed on this machine."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from deploy.follow import connect, get, is_live, pool_is_clean, verdict_on, wait_for
from deploy.local.seed import MergeRequest, load_sample, stories
from deploy.screen import overview_table
from deploy.stack import Stack
from orchestrator.errors import BadInput, PreviewError

_TOOLS = ("preview-dev-1", "preview-dev-2", "preview-dev-3")
_WITH_PICTURES = {"chromium": "chromium"}


def run(state: Path) -> None:
    """Show it until Ctrl-C; started again with the same `state` it goes on where it was."""
    console = Console()
    console.print("Starting Redis, a local Toolforge, a local GitLab, the web process and the workers ...")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Stack(state, tools=_TOOLS, overrides=_WITH_PICTURES) as stack:
            seeding = threading.Thread(target=_seed, args=(stack, console), daemon=True)
            seeding.start()
            _show(stack, console)
    except KeyboardInterrupt:
        console.print("Stopped. `make demo` goes on from here; `make demo-clean` forgets it.")


def _seed(stack: Stack, console: Console) -> None:
    try:
        for name in stories():
            open_sample(stack, name)
    except Exception as error:  # shown on the screen: the demonstration itself must go on
        console.print(f"[red]The samples could not be opened: {error}[/red]")


def open_sample(stack: Stack, name: str, *, project_name: str = "") -> MergeRequest:
    """The sample's project, connected before its merge request is opened, so that its webhook tells of it."""
    about = load_sample(name).about
    project = stack.seeder.project(project_name or about["project"], about["project_description"])
    connect(stack, project.path)
    return stack.seeder.open_sample(name, project_name=project_name)


def _show(stack: Stack, console: Console) -> None:
    places = stack.places
    clone_url = places.gitlab_url.replace("://", f"://dana:{stack.seeder.developer.token}@")
    head = (
        f"Toolforge Preview   {places.web_url}\n"
        "                    (sign in as dana, a Developer, or olga, an operator)\n"
        f"GitLab              {places.gitlab_url}   (open a merge request: status, note, View app)\n"
        f"Toolforge           {places.toolforge_admin_url}\n"
        "Comment /preview stop, close a merge request, or push to its branch:\n"
        f"git clone --branch copy-button {clone_url}/tools/coordinate-converter.git\n"
        "Ctrl-C ends everything.\n"
    )
    if "interwiki-links" not in stories():
        head += "There is no Node.js on this machine, so the third tool is a second Python one.\n"
    if not console.is_terminal:
        # There the picture is drawn only once, at the end.
        console.print(head)
    with Live(console=console, refresh_per_second=4, screen=console.is_terminal) as live:
        while True:
            live.update(Group(head, overview_table(stack.parts.views.overview(time.time()))))
            time.sleep(0.4)


def forget(state: Path) -> None:
    """Delete what the demonstration has kept. Refuses a folder that is not its own."""
    if not state.exists():
        return
    if not (state / "stack.json").is_file():
        raise BadInput(f"{state} was not made by the demo; delete it yourself if you mean it.")
    shutil.rmtree(state)


def once() -> int:
    """Every sample from its webhook to a clean account; 0 when all went as it should, else 1."""
    console = Console(width=110)
    with (
        tempfile.TemporaryDirectory(prefix="toolforge-preview-") as folder,
        Stack(Path(folder), tools=_TOOLS) as stack,
    ):
        try:
            _way_of_all(stack, lambda line: console.print(line, markup=False, highlight=False))
        except PreviewError as error:
            console.print(f"Failed: {error}", markup=False)
            console.print(overview_table(stack.parts.views.overview(time.time())))
            return 1
    return 0


def _way_of_all(stack: Stack, say: Callable[[str], None]) -> None:
    opened = [open_sample(stack, name) for name in stories()]
    for merge_request in opened:
        view = verdict_on(stack, merge_request.project.path, merge_request.iid, merge_request.sha)
        _expect_live(stack, merge_request)
        say(f"{merge_request.project.path}!{merge_request.iid} is live at {view.address}")
    pushed = opened[1]
    sha = stack.seeder.push_change(pushed, {"public/pushed.txt": "a later commit\n"}, "A later commit")
    verdict_on(stack, pushed.project.path, pushed.iid, sha)
    address = _expect_live(stack, pushed)
    if get(f"{address}pushed.txt").text != "a later commit\n":
        raise BadInput(f"{address} does not show the pushed commit")
    say(f"{pushed.project.path}!{pushed.iid} was replaced by its next commit")
    for merge_request in opened:
        stack.seeder.close_merge_request(merge_request)
    wait_for("every account free and empty", lambda: pool_is_clean(stack))
    say("All merge requests closed; every account is free and, by Toolforge's own word, empty")


def _expect_live(stack: Stack, merge_request: MergeRequest) -> str:
    view = stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    if view is None or not is_live(view) or view.address is None:
        raise BadInput(f"{merge_request.web_url} is not live: {view.newest if view else None}")
    status = get(view.address).status_code
    if status != 200:
        raise BadInput(f"{view.address} answers {status}")
    return view.address
