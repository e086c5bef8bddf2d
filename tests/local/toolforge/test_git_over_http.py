"""Repositories behind HTTP, as a forge serves them, for both engines."""

from __future__ import annotations

import pytest

from tests.local.toolforge.git_server import git_over_http
from tests.local.toolforge.rig import error_of

APP = {"public/index.html": "over http"}
MERGE_REQUEST = "refs/merge-requests/7/head"


@pytest.mark.parametrize("engine", ["real", "synthetic"])
def test_both_engines_resolve_alike(serve, repository, engine: str) -> None:
    scenario = {"resolve": "git"} if engine == "synthetic" else {}
    account, source = serve(engine=engine, scenario=scenario, max_parallel_builds=9), repository(APP)
    first = source.git("rev-parse", "HEAD")
    second = source.commit({"a": "2"}, branch="feature/main")
    source.git("update-ref", MERGE_REQUEST, second)
    source.git("tag", "--annotate", "--message=one", "v1", first)
    with git_over_http(source.path.parent) as base:
        url = f"{base}/{source.path.name}/.git"

        def resolved(ref: str) -> str:
            answer = account.start(url, ref=ref)
            return answer.json()["new_build"]["resolved_ref"] if answer.ok else error_of(answer)

        assert resolved("refs/heads/main") == first
        assert resolved("main") == second
        assert resolved(MERGE_REQUEST) == second
        assert resolved("v1") == source.git("rev-parse", "refs/tags/v1")
        assert resolved("none").endswith(f"unable to resolve ref none from {url}")
        missing = account.start(f"{base}/none.git")
        assert error_of(missing).endswith("failed to resolve ref: exit status 128")


def test_a_merge_requests_head_is_cloned_built_and_served(serve, repository) -> None:
    account, source = serve(engine="real"), repository(APP)
    sha = source.commit({"public/index.html": "from the merge request"}, branch="topic")
    source.git("update-ref", MERGE_REQUEST, sha)
    source.git("checkout", "--quiet", "main")
    source.git("branch", "--delete", "--force", "topic")
    with git_over_http(source.path.parent) as base:
        image = account.built(f"{base}/{source.path.name}/.git", ref=MERGE_REQUEST)
        account.run(image, publish="/")
        account.ready()
        assert account.visit().text == "from the merge request"


def test_a_server_without_the_smart_protocol_is_asked_by_git_itself(serve, repository, tmp_path) -> None:
    import http.server
    import threading
    from functools import partial

    account, source = serve(scenario={"resolve": "git"}), repository(APP)
    source.git("update-server-info")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    handler = partial(Quiet, directory=str(source.path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        answer = account.start(f"http://127.0.0.1:{server.server_address[1]}/.git")
        server.shutdown()
        thread.join()
    assert answer.json()["new_build"]["resolved_ref"] == source.git("rev-parse", "HEAD")


def test_the_synthetic_engine_makes_a_commit_up_where_there_is_no_repository(serve) -> None:
    account = serve(scenario={"resolve": "auto"})
    url = "http://127.0.0.1:9/none.git"
    first = account.start(url).json()["new_build"]["resolved_ref"]
    assert len(first) == 40
    assert account.start(url).json()["new_build"]["resolved_ref"] == first
    assert account.start(url, ref="refs/heads/b").json()["new_build"]["resolved_ref"] != first
