"""Takes the pictures of the pages that docs/pages.md shows: ``make screenshots``.

A whole stack on this machine, with a local GitLab through whose own pages people sign in, and with a local
Toolforge whose builds only write what `_SCENARIO` says: so the pictures look alike whenever they are taken.
The browser is Debian's Chromium.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page

from deploy.follow import connect, pool_is_clean, verdict_on, wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import Stack
from orchestrator.preview import State, Step
from tests.web.browser import CHROMIUM, chromium, opened, sign_in

PICTURES = Path(__file__).parent / "pictures"
_WIDE, _PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 780}
#: Merge requests that stand for what they show: title, branch, and the project's name.
_LIVE = ("Count repeated references, too", "count-reused-references", "citation-counter")
_FAILED = ("Update Flask to 3.0", "flask-3", "editathon-clock")
_BUILDING = ("Copy the finished template with one click", "copy-button", "coordinate-converter")
_HEAD = [
    "\x1b[1;35m[Determining Python version]\x1b[0m",
    "Using Python 3.13 specified in .python-version",
    "\x1b[1;35m[Installing dependencies using pip]\x1b[0m",
]
_TOOL = """<!doctype html><html lang="en"><title>Citation counter</title><style>
  body { margin: 0; font: 20px sans-serif } h1 { margin: 0; padding: 32px 64px; background: #eaf3ff }
  form, table { margin: 40px 64px } input { width: 30em; padding: 12px; font: inherit }
  td, th { padding: 12px 48px 12px 0; text-align: start; border-bottom: 1px solid #c8ccd1 }
</style><h1>Citation counter</h1><form><input value="Comet"></form><table>
  <tr><th>Section<th>References<th>Repeated<tr><td>Lead<td>12<td>3<tr><td>Orbit<td>41<td>17
  <tr><td>Observation<td>27<td>9<tr><td>In culture<td>8<td>0</table></html>"""
_SCENARIO = {
    "latency": {"build_pending": 0.2},
    "builds": [
        {
            "match": {"source_url": f"*{_BUILDING[2]}*"},
            "duration": 300,
            "log": [
                *_HEAD,
                *(f"Collecting package-{number}==1.{number}" for number in range(300)),
            ],
        },
        {
            "match": {"source_url": f"*{_FAILED[2]}*"},
            "duration": 3,
            "outcome": "failure",
            "log": [
                *_HEAD,
                "Collecting flask==3.0.0 (from -r requirements.txt (line 1))",
                "  Downloading flask-3.0.0-py3-none-any.whl (99 kB)",
                "Collecting werkzeug==2.0.0 (from -r requirements.txt (line 2))",
                "  Downloading Werkzeug-2.0.0-py3-none-any.whl (288 kB)",
                "ERROR: Cannot install -r requirements.txt (line 1) and werkzeug==2.0.0 because these "
                "package versions have conflicting dependencies.",
                "",
                "The conflict is caused by:",
                "    The user requested werkzeug==2.0.0",
                "    flask 3.0.0 depends on Werkzeug>=3.0.0",
                "",
                "ERROR: ResolutionImpossible",
                "",
                "\x1b[1;31m[Error: Unable to install dependencies using pip]\x1b[0m",
                "ERROR: failed to build: exit status 1",
            ],
        },
        {"duration": {"distribution": "uniform", "low": 2, "high": 6}, "size": "90Mi", "log": _HEAD},
    ],
    "jobs": [{"http": {"body": _TOOL}, "log": ["Listening at http://0.0.0.0:8000"]}],
}
#: What makes the deployment fail that the project's figures show beside those that were good.
_STRICT = "checks:\n  - path: /\n    contains: A word that is not there\n    retries: 0\n"


@dataclass(frozen=True)
class _Scene:
    """The merge requests that are shown."""

    live: MergeRequest
    outside: MergeRequest
    failed: MergeRequest
    building: MergeRequest


def main() -> None:
    """Take them all."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder, _stack(Path(folder)) as stack:
        wait_for("the pool", lambda: pool_is_clean(stack))
        scene = _scene(stack)
        with chromium() as browser:
            _take_all(browser, stack, scene)


@contextmanager
def _stack(folder: Path) -> Iterator[Stack]:
    scenario = folder / "scenario.json"
    scenario.write_text(json.dumps(_SCENARIO))
    options = ("--engine", "synthetic", "--scenario", str(scenario))
    tools = [f"preview-dev-{number}" for number in range(1, 5)]
    overrides = {"chromium": str(CHROMIUM)}
    with Stack(folder / "state", tools=tools, toolforge_options=options, overrides=overrides) as stack:
        yield stack


def _scene(stack: Stack) -> _Scene:
    """One after the other, so that pages about the past have one to show."""
    live = _opens(stack, _LIVE)
    _is_decided(stack, live, live.sha)
    rules = ".toolforge-preview.yaml"
    for files in ({"words.txt": "1\n"}, {rules: _STRICT}, {rules: None, "words.txt": "2\n"}):
        _is_decided(stack, live, stack.seeder.push_change(live, files, "Say it in other words"))
    wait_for("a picture of what is live", lambda: _is_pictured(stack, live))
    outside = stack.seeder.open_sample_from_fork(live)
    failed = _opens(stack, _FAILED)
    _is_decided(stack, failed, failed.sha)
    building = _opens(stack, _BUILDING)
    wait_for("a build that runs", lambda: _newest(stack, building, "state") is State.BUILDING)
    wait_for("an approval to be waited for", lambda: _newest(stack, outside, "step") is Step.AWAIT_APPROVAL)
    return _Scene(live, outside, failed, building)


def _opens(stack: Stack, about: tuple[str, str, str]) -> MergeRequest:
    title, branch, name = about
    project = stack.seeder.project(name)
    stack.seeder.push_to_branch(project, "main", {"README.md": "A tool.\n"}, "First version")
    connect(stack, project.path)
    files = {"app.py": "", "Procfile": "web: run\n", "requirements.txt": "flask\n"}
    stack.seeder.push_to_branch(project, branch, files, title)
    return stack.seeder.open_merge_request(project, branch, title)


def _is_decided(stack: Stack, merge_request: MergeRequest, sha: str) -> None:
    verdict_on(stack, merge_request.project.path, merge_request.iid, sha, seconds=60.0)


def _is_pictured(stack: Stack, merge_request: MergeRequest) -> bool:
    view = stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    return bool(view and view.picture and view.newest and view.picture.deployment_id == view.newest.id)


def _newest(stack: Stack, merge_request: MergeRequest, what: str) -> object:
    view = stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    return getattr(view.newest, what) if view and view.newest else None


def _take_all(browser: Browser, stack: Stack, scene: _Scene) -> None:
    project = f"/{scene.live.project.path}"
    with _signed_in(browser, stack, "olga", _WIDE) as page:
        _take(page, "overview", "/")
        _take(page, "project", f"{project}/-/")
        _take(page, "settings", f"{project}/-/settings")
        _take(page, "account", f"/accounts/{_account(stack, scene.live)}")
    with _signed_in(browser, stack, "dana", _WIDE) as page:
        _take(page, "live", _page(scene.live))
        page.get_by_role("link", name="follow the tool's log").click()
        page.get_by_text("Listening").first.wait_for()
        _shoot(page, "tool-log")
        _take(page, "approval", _page(scene.outside))
        _take(page, "failed", _page(scene.failed))
        page.goto(_page(scene.building))
        page.get_by_role("link", name="follow the build log").click()
        page.get_by_text("package-8==").wait_for()
        _shoot(page, "log")
    with _signed_in(browser, stack, "olga", _PHONE) as page:
        _take(page, "overview-phone", "/")
    with _signed_in(browser, stack, "dana", _PHONE, color_scheme="dark") as page:
        _take(page, "failed-phone", _page(scene.failed))


def _page(merge_request: MergeRequest) -> str:
    return f"/{merge_request.project.path}/-/{merge_request.iid}"


def _account(stack: Stack, merge_request: MergeRequest) -> str:
    view = stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    assert view is not None
    assert view.account is not None
    return view.account.name


@contextmanager
def _signed_in(
    browser: Browser, stack: Stack, who: str, size: Mapping[str, int], **options: str
) -> Iterator[Page]:
    """A window of that size in which somebody has signed in; what goes wrong in it fails the block."""
    places = stack.places
    with ExitStack() as closing:
        page = closing.enter_context(
            opened(
                browser, places.web_url, places.gitlab_url, viewport=size, reduced_motion="reduce", **options
            )
        )
        page.goto("/")
        sign_in(page, who)
        page.wait_for_url(f"{places.web_url}/")
        yield page


def _take(page: Page, name: str, path: str) -> None:
    page.goto(path)
    _shoot(page, name)


def _shoot(page: Page, name: str) -> None:
    page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")
    print(f"docs/pictures/{name}.png")


if __name__ == "__main__":
    main()
