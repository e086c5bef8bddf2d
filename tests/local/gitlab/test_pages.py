"""Pages for people: true, and harmless whatever was put in."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from deploy.local.gitlab import LocalGitLab, markdown
from deploy.local.gitlab.references import Known
from tests.local.gitlab.world import Receiver, Scene, eventually


@pytest.fixture
def browser(gl: LocalGitLab) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gl.url, follow_redirects=True) as client:
        yield client


def press(
    browser: httpx.Client, scene: Scene, action: str, user: str = "dana", body: str = "", new_label: str = ""
) -> httpx.Response:
    """Press a button on the merge request's page."""
    page = browser.get(scene.mr.web_url).text
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    form = {"csrf": found.group(1), "user": user, "action": action, "body": body, "new_label": new_label}
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
    assert re.search(r"Pipeline #\d+ failed", page)
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
    assert '<td align="right">2</td>' in page
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


def test_labels_and_emoji_are_given_and_taken_back(scene: Scene, browser: httpx.Client) -> None:
    note = scene.service.post(f"{scene.mr_path}/notes", json={"body": "x"}).json()["id"]
    press(browser, scene, "label", new_label="two words")
    assert scene.show()["labels"] == ["two words"]
    press(browser, scene, f"award note:{note} eyes")
    page = press(browser, scene, f"award merge_request:{scene.show()['id']} tada").text
    assert "👀 1" in page
    assert "🎉 1" in page
    assert 'added <span class="badge">two words</span> label' in page
    press(browser, scene, f"award note:{note} eyes")
    page = press(browser, scene, "label two words").text
    assert "👀 1" not in page
    assert scene.show()["labels"] == []
    assert 'removed <span class="badge">two words</span> label' in page
    listed = scene.service.get(f"{scene.mr_path}/notes").json()
    assert [item["body"] for item in listed] == ["x"]


@pytest.mark.parametrize(
    "action",
    ["", "label", "nonsense", "award note:x eyes", "award note:999999 eyes", "award merge_request:1 no"],
)
def test_a_button_that_is_none_is_refused(scene: Scene, browser: httpx.Client, action: str) -> None:
    assert press(browser, scene, action).status_code in (400, 404)


def test_what_was_done_stands_between_the_notes(scene: Scene, browser: httpx.Client) -> None:
    scene.seeder.push_change(scene.mr, {"app.py": "3\n"}, "Do <b>more</b>")
    scene.developer.put(scene.mr_path, json={"title": "Draft: A chance", "description": "Why"})
    scene.developer.post(f"{scene.mr_path}/approve")
    scene.seeder.close_merge_request(scene.mr)
    page = browser.get(scene.mr.web_url).text
    sha = scene.show()["sha"][:8]
    assert "added 1 commit" in page
    assert f">{sha}</a> - Do &lt;b&gt;more&lt;/b&gt;</li>" in page
    assert "marked this merge request as <strong>draft</strong>" in page
    assert "<del>A chang</del>e</strong> to <strong><ins>Draft: A chanc</ins>e</strong>" in page
    assert "changed the description" in page
    assert "approved this merge request" in page
    assert re.search(r"Dana Developer</span> <p>closed</p>", page)
    bodies = [item["body"] for item in scene.service.get(f"{scene.mr_path}/notes").json()]
    assert "closed" not in bodies
    assert "approved this merge request" in bodies


def test_roles_stand_beside_the_names(scene: Scene, browser: httpx.Client) -> None:
    scene.comment("mine")
    scene.service.post(f"{scene.mr_path}/notes", json={"body": "ours"})
    page = browser.get(scene.mr.web_url).text
    for role in ("Author", "Developer", "Maintainer"):
        assert f'<span class="badge">{role}</span>' in page


def test_people_and_requests_are_linked_where_they_are_named(scene: Scene, browser: httpx.Client) -> None:
    scene.comment(f"@dana @nobody !{scene.mr.iid} !99 `@dana` {scene.mr.sha[:9]}")
    page = browser.get(scene.mr.web_url).text
    assert '<a href="/dana">@dana</a> @nobody' in page
    assert f'/-/merge_requests/{scene.mr.iid}">!{scene.mr.iid}</a> !99 <code>@dana</code>' in page
    assert f'/-/commit/{scene.mr.sha}">{scene.mr.sha[:9]}</a>' in page
    assert scene.project.path in browser.get("/tools").text
    assert browser.get("/dana").status_code == 200


def test_a_deployment_is_followed(scene: Scene, browser: httpx.Client) -> None:
    environment = {"name": "preview/mr-1", "external_url": "http://tool.localhost:8080/"}
    scene.service.post(f"{scene.path}/environments", json=environment)
    body = {"environment": "preview/mr-1", "sha": scene.mr.sha, "ref": "feature", "tag": False}
    made = scene.service.post(f"{scene.path}/deployments", json={**body, "status": "running"}).json()
    page = browser.get(scene.mr.web_url).text
    assert "Deploying to" in page
    assert "View app" not in page
    scene.service.put(f"{scene.path}/deployments/{made['id']}", json={"status": "success"})
    page = browser.get(scene.mr.web_url).text
    assert "Deployed to" in page
    assert 'href="http://tool.localhost:8080/" rel="noreferrer">View app' in page


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
        '<math><mtext><table><mglyph><style><img src=x onerror="alert(1)">',
        "@dana<script>alert(1)</script>",
        '{+<img src=x onerror="alert(1)">+}',
        '<code class="language-x button">x</code>',
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("- [ ] a\n- [x] b", "<ul>\n<li>☐ a</li>\n<li>☑ b</li>\n</ul>\n"),
        ("see https://x.example/@dana.", ">https://x.example/@dana</a>."),
        ("no www.x.example", "<p>no www.x.example</p>\n"),
        ("![a picture](http://x.example/p.png)", ">a picture</a>"),
        ("~~gone~~", "<s>gone</s>"),
        ("{+new+} {-old-}", "<ins>new</ins> <del>old</del>"),
        ("a & b < c", "a &amp; b &lt; c"),
        ("`:eyes:` :eyes: :nothing:", "<code>:eyes:</code> 👀 :nothing:"),
        ("mail@dana.example @ x", "<p>mail@dana.example @ x</p>"),
    ],
)
def test_markdown_is_gitlabs(text: str, shown: str) -> None:
    assert shown in markdown.render(text, Known(user=lambda name: f"/{name}"))


def test_a_backslash_and_html_do_not_stop_a_mention() -> None:
    known = Known(user=lambda name: f"/{name}")
    for text in ("\\@dana", "<b>@dana</b>", "<details><summary>@dana</summary>\n\nx\n</details>"):
        assert '<a href="/dana">@dana</a>' in markdown.render(text, known)
