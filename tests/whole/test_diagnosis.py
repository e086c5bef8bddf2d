"""What real package managers, builds and processes say is understood, through the whole product."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from deploy.stack import Stack
from orchestrator.preview import State
from tests.whole.conftest import Stacks
from tests.whole.scene import Scene, server

_NODE = {"engines": {"node": "20.x"}, "scripts": {"start": "node server.js"}}
_ON_ANOTHER_PORT = """
import http.server
print("Listening on http://0.0.0.0:5123", flush=True)
http.server.HTTPServer(("127.0.0.1", 5123), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
_BREAKS_WHEN_ASKED = """
import os
from wsgiref.simple_server import make_server

def app(environ, start_response):
    return [{}["missing"]]

make_server("", int(os.environ["PORT"]), app).serve_forever()
"""


@dataclass(frozen=True)
class Story:
    """Files that are added to a good tool's, and what has to be told of it."""

    name: str
    files: dict[str, str]
    cause: str
    #: In the summary.
    words: str = ""


STORIES = (
    Story(
        "no-such-version", {"requirements.txt": "idna==99.0\n"}, "python-dependency-not-found", "idna==99.0"
    ),
    Story(
        "conflict",
        {"requirements.txt": "requests==2.32.3\nidna==1.0\n"},
        "python-dependency-conflict",
    ),
    Story("two-managers", {"poetry.lock": ""}, "python-two-package-managers"),
    Story("not-for-this-builder", {".python-version": "3.99\n"}, "python-version-missing", "Python 3.99"),
    Story("too-old", {".python-version": "3.7\n"}, "python-version-eol", "Python 3.7"),
    Story("bad-procfile", {"Procfile": "no colon here\n"}, "procfile-invalid"),
    Story(
        "no-program", {"Procfile": "web: nosuchserver app:app\n"}, "start-command-not-found", "nosuchserver"
    ),
    Story("no-module", {"app.py": "import nosuchmodule\n"}, "start-module-missing", "nosuchmodule"),
    Story("no-envvar", {"app.py": "import os\nos.environ['API_KEY']\n"}, "start-envvar-missing", "API_KEY"),
    Story("crash", {"app.py": "def f():\n    return 1 / 0\n\nf()\n"}, "start-crashed", "app.py line 2"),
    Story("other-port", {"app.py": _ON_ANOTHER_PORT}, "listens-on-wrong-port", "port 5123"),
    Story("breaks", {"app.py": _BREAKS_WHEN_ASKED}, "check-app-error", "KeyError: 'missing'"),
    Story(
        "node-lock",
        {
            "package.json": json.dumps({**_NODE, "dependencies": {"ms": "2.1.3"}}),
            "package-lock.json": json.dumps({"lockfileVersion": 3, "packages": {"": {}}}),
        },
        "node-lock-outdated",
    ),
    Story(
        "node-version",
        {"package.json": json.dumps({"engines": {"node": "99.x"}})},
        "node-version-missing",
        "99.x",
    ),
)


@pytest.fixture(scope="module")
def stack(stacks: Stacks) -> Iterator[Stack]:
    """As many accounts as stories, so that all are played at once."""
    tools = (f"dev-{number}" for number in range(1, len(STORIES) + 1))
    with stacks(*tools, check_seconds=2.0, stable_seconds=0.5, start_seconds=15.0) as made:
        yield made


def test_each_failure_is_told_with_its_cause_and_a_link_to_the_line(scene: Scene, stack: Stack) -> None:
    opened = [(story, scene.opens({**server(), **story.files})) for story in STORIES]
    for story, merge_request in opened:
        deployment = scene.verdict(merge_request)
        assert deployment.state is State.FAILED, story.name
        failure = deployment.failure
        assert failure is not None
        assert failure.cause == story.cause, (story.name, failure)
        assert story.words in failure.summary, (story.name, failure.summary)
        note = scene.note(merge_request)
        assert failure.remedy in note
        shown = [line for line in failure.evidence if line.line]
        assert shown, story.name
        project, line = merge_request.project.path, shown[0]
        page = f"{stack.places.web_url}/{project}/-/{merge_request.iid}/{deployment.id}/{failure.log}"
        assert f"/{deployment.id}/{failure.log}?line={line.line}#L{line.line}" in note
        assert f'id="L{line.line}"' in httpx.get(page, params={"line": line.line}).text


def test_what_the_builder_refused_is_known_before_the_next_build(scene: Scene) -> None:
    files = {**server(), ".python-version": "3.98\n"}
    first = scene.verdict(scene.opens(files))
    assert first.warning is None
    second = scene.verdict(scene.opens({**files, "README.md": "Another tool.\n"}))
    assert first.failure is not None
    assert second.warning is not None
    assert second.failure is not None
    assert second.warning.cause == second.failure.cause == first.failure.cause == "python-version-missing"
    assert "Python 3.98, which .python-version asks for" in second.warning.summary
