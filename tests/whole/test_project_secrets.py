"""A project's secret through the real processes: in its preview, in no fork's, in no log, and gone after."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from deploy.follow import toolforge_state, wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import Stack, settings_environment
from orchestrator.preview import Deployment, State
from orchestrator.settings import PREFIX
from tests.whole.scene import Scene, server

_VALUE = "hunter2/hunter2?-of-the-tool"
_OTHER = "0123456789abcdef"
#: Says which secret it has by a digest; at its start it prints it in several forms.
_APP = """
import base64, hashlib, http.server, os, sys
from urllib.parse import quote

value = os.environ.get("API_KEY", "")
print("at the start", value, quote(value, safe=""), base64.b64encode(value.encode()).decode(), flush=True)
if os.path.exists("crash"):
    sys.exit("with the key " + value)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (hashlib.sha256(value.encode()).hexdigest() if value else "no key").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""


def runs(stack: Stack, *arguments: str, value: str = "") -> str:
    """An operator's command, with the value by standard input; what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy", "project", "secret", *arguments],
        env=dict(os.environ) | settings_environment(stack.parts.settings),
        input=value,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def envvars(scene: Scene) -> dict[str, str]:
    """What is set in all accounts, but for what Toolforge and we set anyway."""
    tools = toolforge_state(scene.stack)["tools"].values()
    ours = ("TOOL_", "PREVIEW_")
    return {k: v for tool in tools for k, v in tool["envvars"].items() if not k.startswith(ours)}


def shows(scene: Scene, merge_request: MergeRequest) -> str:
    """What the preview answers."""
    return scene.page(merge_request).text


def forms() -> list[str]:
    """What is nowhere to be seen."""
    return ["hunter2", "aHVudGVyMi9odW50ZXIyPy1vZi10aGUtdG9v"]


def test_a_branch_has_the_secret_a_fork_has_not_and_nobody_sees_it(scene: Scene) -> None:
    stack = scene.stack
    own = scene.opens({**server(), "app.py": _APP})
    assert scene.verdict(own).state is State.LIVE
    assert shows(scene, own) == "no key"
    path = own.project.path
    assert "API_KEY is set" in runs(stack, "set", path, "API_KEY", value=f"{_VALUE}\n")
    assert runs(stack, "list", path).startswith("API_KEY  set ")
    assert shows(scene, own) == "no key", "it counts from the next deployment on"
    sha = scene.pushes(own, {"README.md": "More.\n"})
    assert scene.verdict(own, sha).state is State.LIVE
    assert shows(scene, own) == digest(_VALUE)
    assert envvars(scene) == {"API_KEY": _VALUE}

    foreign = scene.opens_from_fork(own)
    wait_for("a note", lambda: "approve it" in "".join(n["body"] for n in scene.gitlab(foreign, "/notes")))
    stack.seeder.comment(foreign, "/preview")
    assert scene.verdict(foreign).state is State.LIVE
    assert shows(scene, foreign) == "no key"
    bad = scene.pushes(own, {"crash": "x"})
    failed = scene.verdict(own, bad)
    assert failed.state is State.FAILED
    assert failed.failure is not None
    log = stack.parts.views.log(failed.id, "job")
    assert log is not None
    for text in (log, failed.failure.excerpt):
        assert "with the key [masked]" in text
    seen = [log, repr(failed.failure), scene.note(own), repr(scene.gitlab(own, "/notes"))]
    seen += [file.read_text(errors="replace") for file in logs_of(stack)]
    for text in seen:
        assert not any(form in text for form in forms())
    # The good one is back with its secret.
    wait_for("it", lambda: shows(scene, own) == digest(_VALUE))

    scene.closes(own)
    scene.closes(foreign)
    wait_for("the accounts to have none", lambda: envvars(scene) == {}, seconds=60.0)
    runs(stack, "remove", path, "API_KEY")
    assert runs(stack, "list", path) == ""


def logs_of(stack: Stack) -> list[Path]:
    """What our own processes have written."""
    found = [one for name in ("web", "worker-*", "beat") for one in stack.logs.glob(f"{name}.log")]
    assert len(found) == 4
    return found


def digest(value: str) -> str:
    """What the preview answers that has this key."""
    return hashlib.sha256(value.encode()).hexdigest()


def test_a_redeploy_of_the_same_image_has_what_was_changed(scene: Scene) -> None:
    stack = scene.stack
    own = scene.opens({**server(), "app.py": _APP})
    assert scene.verdict(own).state is State.LIVE
    for change, shown in (
        (("set", _VALUE), digest(_VALUE)),
        (("set", _OTHER), digest(_OTHER)),
        (("remove", ""), "no key"),
    ):
        verb, value = change
        runs(stack, verb, own.project.path, "API_KEY", value=value)
        before = newest(scene, own).id
        stack.seeder.comment(own, "/preview")
        wait_for("another deployment", lambda before=before: newest(scene, own).id > before)
        wait_for("its verdict", lambda: newest(scene, own).state is State.LIVE)
        assert shows(scene, own) == shown
        assert newest(scene, own).build_id is None, "the image was there"


def newest(scene: Scene, merge_request: MergeRequest) -> Deployment:
    """The newest deployment."""
    view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    assert view is not None
    assert view.newest is not None
    return view.newest


def test_the_key_is_changed_without_a_secret_being_lost(scene: Scene) -> None:
    stack = scene.stack
    own = scene.opens({**server(), "app.py": _APP})
    path = own.project.path
    runs(stack, "set", path, "API_KEY", value=_OTHER)
    settings = settings_environment(stack.parts.settings)
    before = settings[f"{PREFIX}SECRET_KEY"]
    changed = {f"{PREFIX}SECRET_KEY": "n" * 40}
    both = {**changed, f"{PREFIX}OLD_SECRET_KEYS": before}
    back = {f"{PREFIX}OLD_SECRET_KEYS": "n" * 40}
    assert "API_KEY" in resealed(stack, **changed).stderr, (
        "without the older one it is said, and nothing lost"
    )
    assert "1 secrets were encrypted" in resealed(stack, **both).stdout
    assert "0 secrets were encrypted" in resealed(stack, **changed).stdout
    assert "1 secrets were encrypted" in resealed(stack, **back).stdout
    sha = scene.pushes(own, {"README.md": "More.\n"})
    assert scene.verdict(own, sha).state is State.LIVE
    assert shows(scene, own) == digest(_OTHER)
    runs(stack, "remove", path, "API_KEY")


def resealed(stack: Stack, **settings: str) -> subprocess.CompletedProcess[str]:
    """The operator's command, with other settings."""
    return subprocess.run(
        [sys.executable, "-m", "deploy", "project", "secret", "reseal"],
        env=dict(os.environ) | settings_environment(stack.parts.settings) | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
