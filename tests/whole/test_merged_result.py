"""A project that wants to see what a merge would deploy gets the merged result, as it is at each build."""

from __future__ import annotations

import time
from dataclasses import replace

import httpx

from deploy.follow import wait_for
from deploy.local.seed import MergeRequest
from orchestrator.preview import State
from orchestrator.records import Project
from tests.whole.scene import Scene, server

#: Serves what another file says, which the target branch changes.
_READS = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = open("words.txt", "rb").read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""


def wants_merged(scene: Scene) -> MergeRequest:
    """A merge request that could not serve anything alone, in a project that previews merged results."""
    first = scene.opens()
    seeder, parts = scene.stack.seeder, scene.stack.parts
    seeder.push_to_branch(first.project, "main", {"words.txt": "of main\n"}, "Words")
    project = project_of(scene, first)
    rules = replace(project.rules, merged_result=True)
    parts.lifecycle.set_rules(project.id, rules, "operator", time.time())
    return scene.opens({**server(), "app.py": _READS}, beside=first)


def project_of(scene: Scene, merge_request: MergeRequest) -> Project:
    with scene.stack.parts.store.read() as tx:
        project = tx.project_at(merge_request.project.path)
    assert project is not None
    return project


def moves_main(scene: Scene, merge_request: MergeRequest, **files: str) -> None:
    seeder = scene.stack.seeder
    seeder.push_to_branch(merge_request.project, "main", dict(files), "Main goes on")


def test_the_merged_result_is_built_and_told(scene: Scene) -> None:
    merge_request = wants_merged(scene)
    deployment = scene.verdict(merge_request)
    assert deployment.state is State.LIVE, deployment.failure
    assert deployment.merged_sha not in {None, merge_request.sha}
    parents = scene.stack.parts.gitlab.parents(merge_request.project.id, str(deployment.merged_sha))
    assert merge_request.sha in parents
    assert scene.page(merge_request).text == "of main\n"
    assert f"merged with `main` as `{str(deployment.merged_sha)[:12]}`" in scene.note(merge_request)
    assert scene.status(merge_request)["status"] == "success", "told of the head commit"
    page = httpx.get(scene.stack.parts.views.page_url(project_of(scene, merge_request), merge_request.iid))
    assert f"merged with <code>main</code> as <code>{str(deployment.merged_sha)[:12]}</code>" in page.text

    # A later build sees a later target branch, although the commit is the same.
    moves_main(scene, merge_request, **{"words.txt": "of a later main\n"})
    scene.stack.seeder.comment(merge_request, "/preview")
    wait_for("the later one", lambda: scene.page(merge_request).text == "of a later main\n")


def test_one_that_cannot_be_merged_is_previewed_alone(scene: Scene) -> None:
    merge_request = wants_merged(scene)
    assert scene.verdict(merge_request).state is State.LIVE
    moves_main(scene, merge_request, **{"app.py": "something else entirely\n", "Procfile": "web: false\n"})
    sha = scene.pushes(merge_request, {"words.txt": "of the branch alone\n"})
    alone = scene.verdict(merge_request, sha)
    assert (alone.state, alone.merged_sha) == (State.LIVE, None), alone.failure
    wait_for("the branch alone", lambda: scene.page(merge_request).text == "of the branch alone\n")
    assert "merged with" not in scene.note(merge_request).split("\n\n")[2]
