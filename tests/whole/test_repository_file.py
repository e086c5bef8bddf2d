"""A repository's own file through the real processes: it is obeyed, and what is wrong with it is told."""

from __future__ import annotations

from deploy.follow import toolforge_state, wait_for
from orchestrator.preview import State
from tests.whole.scene import Scene, server

_FILE = ".toolforge-preview.yaml"
_APP = """
import http.server, json, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"word": os.environ.get("GREETING_WORD"), "path": self.path}).encode()
        self.send_response(200 if self.path in {"/healthz", "/"} else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""
_ASKS = """
health: /healthz
command: python other.py
run:
  memory: 256Mi
  envvars:
    GREETING_WORD: hello
checks:
  - path: /
    headers: {Content-Type: application/json}
    json: {$.word: hello, $.path: /}
  - path: /nothing
    status: 404
    regex: '"path": "/no.*"'
"""


def asking(text: str, **files: str) -> dict[str, str | bytes | None]:
    """The files of a small tool whose repository asks for what `text` says."""
    return {**server(), "other.py": _APP, _FILE: text, **files}


def envvars(scene: Scene) -> set[str]:
    """The names of what is set in all accounts, but for what Toolforge itself sets."""
    tools = toolforge_state(scene.stack)["tools"].values()
    return {name for tool in tools for name in tool["envvars"] if not name.startswith("TOOL_")}


def test_a_preview_is_as_its_repository_asks_for_and_leaves_nothing(scene: Scene) -> None:
    merge_request = scene.opens(asking(_ASKS))
    deployment = scene.verdict(merge_request)
    assert deployment.state is State.LIVE, deployment.failure
    assert [check.name for check in deployment.checks] == ["GET /", "GET /nothing"]
    assert scene.page(merge_request).json()["word"] == "hello"
    assert "GREETING_WORD" in envvars(scene)
    scene.closes(merge_request)
    wait_for("the envvar to be gone", lambda: "GREETING_WORD" not in envvars(scene), seconds=60.0)


def test_a_push_that_does_not_pass_its_checks_leaves_the_good_one_with_its_envvars(scene: Scene) -> None:
    merge_request = scene.opens(asking(_ASKS))
    assert scene.verdict(merge_request).state is State.LIVE
    bad = _ASKS.replace("GREETING_WORD: hello", "GREETING_WORD: bye")
    sha = scene.pushes(merge_request, {_FILE: bad})
    failed = scene.verdict(merge_request, sha)
    assert failed.state is State.FAILED
    assert failed.failure is not None
    assert "expected 'hello' at $.word, where 'bye' is" in failed.failure.summary
    wait_for("the good one", lambda: '"hello"' in scene.page(merge_request).text)


def test_a_wrong_file_is_a_failed_status_that_names_line_and_key(scene: Scene) -> None:
    merge_request = scene.opens(asking("health: /\nchecks:\n  - metod: GET\n"))
    assert scene.verdict(merge_request).state is State.FAILED
    assert scene.accounts(merge_request) == []
    status = scene.status(merge_request)
    assert (status["status"], status["description"]) == (
        "failed",
        "configuration failed: .toolforge-preview.yaml, line 3, column 5: checks[0].metod: unknown key; "
        "did you mean method?",
    )
    sha = scene.pushes(merge_request, {_FILE: "health: /\n"})
    assert scene.verdict(merge_request, sha).state is State.LIVE


def test_what_does_not_apply_is_a_neutral_status_until_somebody_asks_for_it(scene: Scene) -> None:
    merge_request = scene.opens(asking("filters: {labels: preview}\n"))
    assert scene.verdict(merge_request).state is State.REFUSED
    assert scene.status(merge_request)["status"] == "success"
    assert scene.status(merge_request)["description"] == (
        "Does not apply here: it has none of the labels preview"
    )
    assert scene.accounts(merge_request) == []
    path = f"/projects/{merge_request.project.id}/merge_requests/{merge_request.iid}"
    scene.stack.seeder.api("PUT", path, labels="preview")
    wait_for("the preview", lambda: scene.verdict(merge_request).state is State.LIVE)
    assert scene.page(merge_request).text == "hello from main\n"


def test_a_command_brings_what_does_not_apply(scene: Scene) -> None:
    merge_request = scene.opens(asking("filters: {ignore_paths: '**'}\n"))
    assert scene.verdict(merge_request).state is State.REFUSED
    scene.stack.seeder.comment(merge_request, "/preview")
    wait_for("the preview", lambda: scene.verdict(merge_request).state is State.LIVE)


_PARTS = """
config_version: v1beta1
components:
  web:
    run: {command: python other.py, port: 8000, publish: /, health_check_http: /healthz}
  worker:
    build: {reuse_from: web}
    run: {command: python worker.py}
  nightly:
    build: {reuse_from: web}
    run: {command: python worker.py, schedule: "@daily"}
"""
_WORKER = "import time\n\nwhile True:\n    time.sleep(1)\n"


def jobs(scene: Scene) -> set[str]:
    """The names of the jobs in all accounts."""
    tools = toolforge_state(scene.stack)["tools"].values()
    return {job["name"] for tool in tools for job in tool["jobs"]}


def test_a_tool_of_several_parts_is_previewed_as_a_whole(scene: Scene) -> None:
    merge_request = scene.opens(asking(_PARTS, **{"worker.py": _WORKER}))
    assert scene.verdict(merge_request).state is State.LIVE
    assert {"preview", "worker", "nightly"} <= jobs(scene)
    sha = scene.pushes(merge_request, {"worker.py": "raise SystemExit('no broker')\n"})
    failed = scene.verdict(merge_request, sha)
    assert failed.state is State.FAILED
    assert failed.failure is not None
    assert failed.failure.summary.startswith("component worker: its process exited")
    assert "no broker" in failed.failure.excerpt
    assert scene.page(merge_request).status_code == 200, "the good one is back"
    wait_for("its worker", lambda: {"preview", "worker", "nightly"} <= jobs(scene))
    scene.closes(merge_request)
    wait_for("nothing to be left", lambda: not {"worker", "nightly"} & jobs(scene), seconds=60.0)


def test_a_component_of_another_repository_runs_beside_it(scene: Scene) -> None:
    seeder = scene.stack.seeder
    other = seeder.project("broker")
    files = {**server(), "broker.py": _WORKER}
    seeder.push_to_branch(other, "main", files, "First")
    build = f"{{repository: '{other.clone_url}', ref: main}}"
    parts = (
        "components:\n"
        "  web: {run: {command: web, port: 8000, publish: /}}\n"
        f"  broker: {{build: {build}, run: {{command: python broker.py}}}}\n"
    )
    merge_request = scene.opens(asking(parts))
    first = scene.verdict(merge_request)
    assert first.state is State.LIVE, first.failure
    assert {"preview", "broker"} <= jobs(scene)
    sha = scene.pushes(merge_request, {"README.md": "Another.\n"})
    second = scene.verdict(merge_request, sha)
    assert second.state is State.LIVE, second.failure
    assert second.images == first.images, "what has not changed is not built again"
    assert second.image != first.image
    scene.closes(merge_request)
    wait_for("nothing to be left", lambda: "broker" not in jobs(scene), seconds=60.0)
