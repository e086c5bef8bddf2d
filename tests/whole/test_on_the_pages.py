"""What people do on the pages of a whole stack, signed in through its GitLab's own pages."""

from __future__ import annotations

from deploy.follow import pool_is_clean, wait_for
from tests.web.house import Visitor
from tests.whole.scene import Scene


def test_a_developer_stops_a_preview_and_gitlab_is_told(scene: Scene) -> None:
    merge_request = scene.opens()
    assert scene.verdict(merge_request).state == "live"
    page = f"/{merge_request.project.path}/-/{merge_request.iid}"
    with Visitor(scene.stack.places.web_url) as rene, Visitor(scene.stack.places.web_url) as dana:
        assert rene.signs_in("rene", page=page).headers["Location"] == page
        assert rene.posts(f"{page}/stop").status_code == 403
        assert scene.account(merge_request) is not None
        dana.signs_in("dana")
        assert dana.posts(f"{page}/stop").status_code == 303
    wait_for("the account to be free and empty", lambda: pool_is_clean(scene.stack), seconds=60.0)
    wait_for("GitLab to be told", lambda: "stopped by dana" in scene.note(merge_request), seconds=30.0)
