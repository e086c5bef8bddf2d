"""Pages for people: true, and harmless whatever was put in."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from deploy.local.gitlab import LocalGitLab, markdown
from tests.local.gitlab.world import Receiver, Scene, eventually


@pytest.fixture
def browser(gl: LocalGitLab) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gl.url, follow_redirects=True) as client:
        yield client


def press(
    browser: httpx.Client, scene: Scene, action: str, user: str = "dana", body: str = ""
) -> httpx.Response:
    """Press a button on the merge request's page."""
    page = browser.get(scene.mr.web_url).text
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    form = {"csrf": found.group(1), "user": user, "action": action, "body": body}
    return browser.post(scene.mr.web_url, data=form)


def test_the_merge_request_shows_its_statuses(scene: Scene, browser: httpx.Client) -> None:
    scene.service.post(
        f"{scene.path}/statuses/{scene.mr.sha}",
        json={
            "state": "failed",
            "name": "toolforge-preview",
            "description": "Build failed: <b>no</b> Procfile",
            "target_url": "http://127.0.0.1:8000/d/1",
        },
    )
    page = browser.get(scene.mr.web_url).text
    assert "Pipeline failed" in page
    assert "Build failed: &lt;b&gt;no&lt;/b&gt; Procfile" in page
    assert 'href="http://127.0.0.1:8000/d/1"' in page


def test_the_lists_lead_to_the_merge_request(scene: Scene, browser: httpx.Client) -> None:
    assert f"/{scene.project.path}" in browser.get("/").text
    page = browser.get(scene.project.web_url).text
    assert f"/{scene.project.path}/-/merge_requests/{scene.mr.iid}" in page
    assert "<h1>Tool</h1>" in page


def test_a_note_is_shown_as_markdown(scene: Scene, browser: httpx.Client) -> None:
    table = "| a | b |\n|---|--:|\n| 1 | 2 |"
    folded = "<details><summary>Log</summary>\n\n```\n<x>\n```\n</details>"
    body = f"<!-- a marker -->\n**bold**\n\n{table}\n\n{folded}"
    note = scene.service.post(f"{scene.mr_path}/notes", json={"body": body}).json()
    scene.service.post(f"{scene.mr_path}/notes/{note['id']}/award_emoji", json={"name": "eyes"})
    page = browser.get(scene.mr.web_url).text
    assert "a marker" not in page
    assert "<strong>bold</strong>" in page
    assert '<td class="right">2</td>' in page
    assert "<details><summary>Log</summary>" in page
    assert "&lt;x&gt;" in page
    assert "👀 1" in page


def test_buttons_do_what_they_say(scene: Scene, browser: httpx.Client, receiver: Receiver) -> None:
    scene.hook(receiver)
    assert press(browser, scene, "comment", body="from the page").status_code == 200
    assert "from the page" in browser.get(scene.mr.web_url).text
    press(browser, scene, "draft")
    assert scene.show()["draft"] is True
    press(browser, scene, "ready")
    assert scene.show()["title"] == "A change"
    press(browser, scene, "close")
    assert scene.show()["state"] == "closed"
    press(browser, scene, "reopen")
    press(browser, scene, "merge")
    assert scene.show()["state"] == "merged"
    told = receiver.wait(6)
    assert {item.action for item in told} == {"create", "update", "close", "reopen", "merge"}
    assert {item.body["user"]["username"] for item in told} == {"dana"}


def test_buttons_obey_the_rights_of_who_presses(scene: Scene, browser: httpx.Client) -> None:
    answer = press(browser, scene, "merge", user="rene")
    assert answer.status_code == 401
    assert "401 Unauthorized" in answer.text
    assert press(browser, scene, "close", user="rene").status_code == 403
    assert press(browser, scene, "close", user="nobody").status_code == 422
    assert scene.show()["state"] == "opened"


def test_the_form_of_another_site_is_refused(scene: Scene, browser: httpx.Client) -> None:
    form = {"csrf": "guessed", "user": "root", "action": "merge"}
    assert browser.post(scene.mr.web_url, data=form).status_code == 422
    assert scene.show()["state"] == "opened"


def test_recent_deliveries_are_shown(scene: Scene, browser: httpx.Client, receiver: Receiver) -> None:
    scene.hook(receiver)
    scene.service.post(f"{scene.mr_path}/notes", json={"body": "</pre><script>1</script>"})
    receiver.wait()
    page = eventually(lambda: "<td>200" in (text := browser.get(scene.project.web_url).text) and text)
    assert "Note Hook" in page
    assert "<script>" not in page
    assert "s3cret" not in page


def test_pages_load_nothing_from_elsewhere(scene: Scene, browser: httpx.Client) -> None:
    policy = browser.get(scene.mr.web_url).headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert browser.get("/-/local/style.css").headers["Content-Type"].startswith("text/css")


def test_what_is_not_there_is_a_404(scene: Scene, browser: httpx.Client) -> None:
    assert browser.get("/no/such").status_code == 404
    assert browser.get(f"{scene.project.web_url}/-/merge_requests/99").status_code == 404


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        '<a href="javascript:alert(1)">x</a>',
        '<a href=" java\nscript:alert(1)">x</a>',
        '<a href="data:text/html,<script>1</script>">x</a>',
        "<svg/onload=alert(1)>",
        "<details ontoggle=alert(1) open>x</details>",
        "<style>body{display:none}</style>",
        '<p style="position:fixed">x</p>',
        "<iframe src=//evil.example></iframe>",
        "<<script>script>alert(1)<</script>/script>",
        "![x](http://evil.example/pixel.png)",
        "<form action=//evil.example><input name=x></form>",
    ],
)
def test_markdown_is_harmless(text: str) -> None:
    shown = markdown.render(text).lower()
    allowed = (
        r"</?(p|a|strong|em|ul|ol|li|pre|code|details|summary|h\d)( (href|rel|open|class)(=\"[^\"]*\")?)*>"
    )
    assert "<" not in re.sub(allowed, "", shown)
    assert not re.search(r'href="\s*(javascript|data)', shown)


def test_markdown_closes_what_was_left_open() -> None:
    assert markdown.render("<details><summary>x").count("</details>") == 1
    assert markdown.render("</details></main>text") == "text"
