"""What people see: the overview, a preview's page, its logs; and that foreign text stays text."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator import outcome as out
from orchestrator import watching
from orchestrator.builder import Builder, Noticed
from orchestrator.diagnosis import explain_build, explain_check
from orchestrator.merge_request import MergeRequest
from orchestrator.outcome import CheckResult, Failure, KeptLog, Pin, Says
from orchestrator.rules import RefusedVersions, Rules
from orchestrator.runtimes import LATEST, RuntimeSeen
from tests.orchestrator.scene import A, World
from tests.web.scene import WebScene

PAGE = "/group/tool/-/1"


@pytest.fixture
def world(web: WebScene) -> World:
    """One account, and merge requests that come and go, behind the web process."""
    return World(web.parts)


class _Tags(HTMLParser):
    """All tags with their attributes, in order, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []

        self.text = ""

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))


def tags_in(html: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    parser = _Tags()
    parser.feed(html)
    return parser.tags


def words_in(html: str) -> str:
    """What a reader reads."""
    parser = _Tags()
    parser.feed(html)
    return " ".join(parser.text.split())


def named(world: World, **words: str) -> None:
    """GitLab tells other words of merge request 1."""
    seen = MergeRequest(
        iid=1,
        state="opened",
        sha=A,
        title="Change 1",
        author="bob",
        web_url="http://gitlab/group/tool/-/merge_requests/1",
        source_branch="change-1",
        target_branch="main",
        source_project_id=77,
        target_project_id=77,
    )
    with world.store.write() as tx:
        tx.put_preview(world.project_id, replace(seen, **words), as_of=world.now)  # type: ignore[arg-type]


def failed(world: World, words: str) -> None:
    """The build of merge request 1 fails, and every text about it is `words`."""
    failure = Failure(stage="build", summary=words, remedy=words, excerpt=words)
    world.steps(out.BuildStarted("b"), out.StageFailed(failure, KeptLog(words)))


def test_an_empty_pool_is_said_with_the_command_that_fills_it(web: WebScene) -> None:
    text = web.get("/").text
    assert "toolforge-preview pool add" in text
    assert "open one in a connected project" in text


def test_without_a_project_the_first_page_says_how_one_is_connected(serve: Callable[..., WebScene]) -> None:
    web = serve()
    with web.parts.store.write() as tx:
        tx.remove_project(web.project_id)
    assert "toolforge-preview project add" in web.get("/").text


def test_the_overview_shows_accounts_and_merge_requests_with_their_addresses(
    web: WebScene, world: World
) -> None:
    world.sees()
    world.goes_live()
    answer = web.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    for wanted in (
        "dev-0",
        "leased",
        'href="/group/tool/-/1"',
        "Change 1",
        'href="https://dev-0.toolforge.org/"',
    ):
        assert wanted in answer.text


def test_a_lease_that_has_just_begun_is_drawn_wide_enough_to_be_seen_and_not_beyond_the_end(
    web: WebScene, world: World
) -> None:
    world.now = time.time()
    world.sees()
    for path in ("/", "/accounts/dev-0"):
        bars = [dict(found) for tag, found in tags_in(web.get(path).text) if tag == "rect"]
        (bar,) = (bar for bar in bars if bar["class"] == "bar")
        assert float(bar["width"] or 0) >= 8.0
        assert float(bar["x"] or 0) + float(bar["width"] or 0) <= 1000.0


def test_a_preview_has_a_page_with_its_deployments_and_timeline(web: WebScene, world: World) -> None:
    world.sees()
    world.goes_live()
    world.sees(state="closed")
    text = words_in(web.get(PAGE).text)
    assert A[:12] in text
    assert "an account and a build slot are there" in text or "builds on dev-0" in text
    assert "Nothing is up: the merge request was closed" in text
    assert "https://dev-0.toolforge.org/" not in text, "nothing is there any more"


def test_a_failure_is_shown_with_its_remedy_and_its_checks(web: WebScene, world: World) -> None:
    world.sees()
    world.steps(out.BuildStarted("b"), out.BuildSucceeded("i"), out.JobStarted(), out.JobReady())
    world.later(1000)
    answers = (CheckResult("GET /", False, "500 in 3 ms"),)
    world.step(out.ChecksDone(answers, explain_check("Traceback", "GET /: 500 in 3 ms")))
    text = words_in(web.get(PAGE).text)
    for wanted in ("check failed", "Run the same commit", "failed: GET /: 500 in 3 ms", "Traceback"):
        assert wanted in text


def test_one_cause_in_several_projects_is_shown_once_with_the_merge_requests(
    web: WebScene, world: World
) -> None:
    world.now = time.time()
    words = '<script>alert(1)</script> is not in "the builder"'
    failure = Failure("build", words, "Set `it` <b>back</b>.", cause="a-cause", facts={"version": "9"})

    for number in range(3):
        assert "One cause, several projects" not in words_in(web.get("/").text)
        world.project_id = world.connects(100 + number, f"group/tool-{number}")
        world.sees()
        world.steps(out.BuildStarted("b"), out.StageFailed(failure))
        world.step(out.Tidied())
        world.cleaning(1, out.Cleaned(0, 0))
    page = web.get("/").text
    assert f"3 projects: {words}" in words_in(page)
    assert [tag for tag, _ in tags_in(page)].count("script") == 1, "our own file, and nothing else"
    (told,) = web.get("/api/v1/incidents").json()["items"]
    assert (told["cause"], len(told["merge_requests"])) == ("a-cause", 3)
    linked = {value for _, attributes in tags_in(page) for name, value in attributes if name == "href"}
    assert {f"/group/tool-{number}/-/1" for number in range(3)} <= linked


def test_the_builders_page_and_document_show_what_builds_have_shown(web: WebScene, world: World) -> None:
    assert "No build has shown anything yet" in web.get("/builders").text
    now = time.time()
    with web.parts.store.write_alone() as tx:
        tx.put_runtime(RuntimeSeen("Python", "3.9", seen_at=now), now)
        tx.put_runtime(RuntimeSeen("Python", "3.99", now, "python-version-missing"), now)
        tx.put_runtime(RuntimeSeen("Node.js", "<22", seen_at=now), now)
    text = words_in(web.get("/builders").text)
    assert (
        text.index("Node.js <22 there") < text.index("Python 3.99 refused") < text.index("Python 3.9 there")
    )
    items = web.get("/api/v1/builders").json()["items"]
    assert [(one["runtime"], one["wanted"], one["is_refused"]) for one in items] == [
        ("Node.js", "<22", False),
        ("Python", "3.99", True),
        ("Python", "3.9", False),
    ]


def test_renovate_is_offered_a_preset_of_what_is_there(web: WebScene) -> None:
    path = "/api/v1/builders/renovate-preset.json"
    assert web.get(path).json()["packageRules"] == []
    now = time.time()
    with web.parts.store.write_alone() as tx:
        tx.put_runtime(RuntimeSeen("Python", "3.13.1", seen_at=now), now)
        tx.put_runtime(RuntimeSeen("Python", "3.14.1", seen_at=now, builder=LATEST), now)
    (rule,) = web.get(path).json()["packageRules"]
    del rule["description"]
    assert rule == {"matchManagers": ["pyenv"], "matchDepNames": ["python"], "allowedVersions": "<3.14"}
    assert path in web.get("/builders").text


def test_a_second_opinion_is_shown_with_its_log_and_by_the_api(web: WebScene, world: World) -> None:
    world.sees()
    log = "[Error: The requested Python version isn't recognised]\nThe requested Python version 3.99 isn't"
    pin = Pin("Python", "3.99", ".python-version")
    failed = out.StageFailed(explain_build(log, "Tasks failed"), KeptLog(log), (pin,))
    world.steps(out.BuildStarted("b"), failed)
    assert "Second opinion: The same commit is being built once more" in words_in(web.get(PAGE).text)
    given = out.OpinionGiven(Says.BUILDS, KeptLog("Using Python 3.99.1 specified in .python-version"))
    world.steps(out.OpinionStarted("x"), given)
    page = web.get(PAGE)
    assert "Second opinion: It will build with the latest builder, which has Python 3.99" in words_in(
        page.text
    )
    deployment = world.deployment()
    assert "Using Python 3.99.1" in web.get(f"{PAGE}/{deployment.id}/latest.log").text
    (one,) = web.get("/api/v1/deployments").json()["items"]
    assert (one["state"], one["opinion"]["says"]) == ("failed", "builds")
    lines = web.get(f"/api/v1/deployments/{deployment.id}/logs/latest").text
    assert "Using Python 3.99.1" in lines
    assert "second build" in page.text


def test_what_waits_for_its_builder_is_shown_so(web: WebScene, world: World) -> None:
    waits = Rules(refused_versions=RefusedVersions.WAIT)
    world.lifecycle.set_rules(world.project_id, waits, "dana", world.now)
    with web.parts.store.write_alone() as tx:
        tx.put_runtime(RuntimeSeen("Python", "3.99", world.now, "python-version-missing"), world.now)
    world.sees(reads=False)
    world.step(out.FileRead({}, (Pin("Python", "3.99", ".python-version"),)))
    text = words_in(web.get(PAGE).text)
    assert "(await version)" in text
    assert "it waits for Toolforge: Python 3.99 is not in the builder yet" in text
    (one,) = web.get("/api/v1/deployments?state=blocked").json()["items"]
    assert one["failure"]["facts"]["version"] == "3.99"


def test_projects_that_a_changed_builder_concerns_are_listed(web: WebScene, world: World) -> None:
    now = world.now
    pins = (Pin("Python", "3.11", ".python-version"), Pin("Node.js", "<b>1", "package.json"))
    world.sees(1, reads=False)
    world.step(out.FileRead({}, pins))
    world.sees(1, state="merged")
    with web.parts.store.write_alone() as tx:
        tx.put_runtime(RuntimeSeen("Python", "3.13", seen_at=now), now)
        tx.put_runtime(RuntimeSeen("Node.js", "<b>1", time.time(), "node-version-missing"), now)
        watching.put_builder(tx, Builder(changes=(Noticed(now - 1, "heroku/python 2 instead of 1"),)))
    page = web.get("/builders").text
    assert "heroku/python 2 instead of 1" in page
    assert "<b>1" not in page
    text = words_in(page)
    assert text.index("Node.js <b>1 refused") < text.index(
        "Python 3.11 not seen since the builder changed 3.13"
    )
    items = web.get("/api/v1/builders/projects").json()["items"]
    assert [(one["project"], one["wanted"], one["outlook"], one["read_in"]) for one in items] == [
        ("group/tool", "<b>1", "refused", "!1"),
        ("group/tool", "3.11", "not seen since", "!1"),
    ]
    (change,) = web.get("/api/v1/builders/changes").json()["items"]
    assert change["what"] == "heroku/python 2 instead of 1"


def test_what_will_probably_fail_is_shown_before_it_does(web: WebScene, world: World) -> None:
    with web.parts.store.write_alone() as tx:
        tx.put_runtime(RuntimeSeen("Python", "3.99", world.now, "python-version-missing"), world.now)
    world.sees(reads=False)
    world.step(out.FileRead({}, (Pin("Python", "3.99", ".python-version"),)))
    text = words_in(web.get(PAGE).text)
    assert "it will probably fail: Toolforge's builder refuses Python 3.99" in text
    world.sees(state="closed")
    assert "it will probably fail" not in words_in(web.get(PAGE).text)


def test_the_lines_that_show_a_cause_lead_to_their_places_in_the_log(web: WebScene, world: World) -> None:
    world.sees()
    log = "one\n\x1b[31m[Error: The runtime.txt file isn't supported]\x1b[0m\nthree"
    world.steps(out.BuildStarted("b"), out.StageFailed(explain_build(log, "Tasks failed"), KeptLog(log)))
    page = web.get(PAGE).text
    address = f"{PAGE}/{world.deployment().id}/build?line=2"
    assert f'href="{address}#L2"' in page
    assert "Delete <code>runtime.txt</code> and name" in page
    assert 'id="L2"' in web.get(address).text
    assert "runtime.txt file isn" in web.get(address).text.partition('id="L2"')[2].partition("</li>")[0]


def test_a_kept_log_is_plain_text_without_colours(web: WebScene, world: World) -> None:
    world.sees()
    failed(world, "\x1b[31mred\x1b[0m <script>alert(1)</script>\nsecond")
    path = f"{PAGE}/{world.deployment().id}/build.log"
    assert f'href="{path}"' in web.get(PAGE).text
    answer = web.get(path)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.text == "red <script>alert(1)</script>\nsecond"


def test_a_log_is_found_under_its_own_preview_only(web: WebScene, world: World) -> None:
    world.sees(1)
    failed(world, "mine")
    world.sees(2)
    assert web.get(f"/group/tool/-/2/{world.deployment(1).id}/build.log").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/group/tool/-/99",
        "/group/unknown/-/1",
        "/group/tool/-/x",
        "/group/tool/-/-1",
        f"{PAGE}/1/build.log",
        f"{PAGE}/1/other.log",
        f"{PAGE}/999/build.log",
        f"{PAGE}/{10**30}/build.log",
        "/%00/-/1",
        "/../../etc/passwd",
        "/static/../app.py",
        "/static/nothing.css",
    ],
)
def test_what_is_not_there_gets_a_page_that_says_where_to_go_on(
    web: WebScene, world: World, path: str
) -> None:
    world.sees()
    answer = web.get(path)
    assert answer.status_code == 404
    assert "There is no such page" in answer.text
    assert 'href="/"' in answer.text


@pytest.mark.parametrize("path", ["/", PAGE, "/nothing", "/healthz", "/readyz", "/webhook/gitlab"])
def test_every_answer_forbids_foreign_scripts_and_frames(web: WebScene, world: World, path: str) -> None:
    world.sees()
    answer = web.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'self';" in policy, "our own files, and nothing inline"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", PAGE, "/nothing"])
def test_pages_need_nothing_that_their_policy_forbids(web: WebScene, world: World, path: str) -> None:
    world.sees()
    for tag, attributes in tags_in(web.get(path).text):
        assert tag not in {"iframe", "object", "embed", "style"}
        assert not any(name == "style" or name.startswith("on") for name, _ in attributes)
        if tag in {"link", "script"}:
            address = str(dict(attributes)["href" if tag == "link" else "src"])
            assert address.startswith("/static/"), "nothing comes from elsewhere"
            assert web.get(address).status_code == 200


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</pre></section></main><h1>owned</h1>",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- --><style>*{display:none}</style>",
    "\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07",
    "\u202egnp.exe",
    "&lt;script&gt;",
]


@pytest.mark.parametrize("words", HOSTILE)
def test_a_hostile_title_branch_or_name_stays_text(web: WebScene, world: World, words: str) -> None:
    world.sees()
    usual = {path: tags_in(web.get(path).text) for path in ("/", PAGE)}
    named(world, title=words, source_branch=words, author=words)
    for path, tags in usual.items():
        answer = web.get(path)
        assert answer.status_code == 200
        assert tags_in(answer.text) == tags
        assert not any(sign in answer.text for sign in ("\x1b", "\x07", "\u202e"))
        assert "{{ 7 * 7 }}" in answer.text or "{{" not in words


@pytest.mark.parametrize("words", HOSTILE)
def test_a_hostile_log_line_stays_text(web: WebScene, world: World, words: str) -> None:
    world.sees(1)
    failed(world, "usual words")
    usual = tags_in(web.get(PAGE).text)
    world.step(out.Tidied())
    world.cleaning(1, out.Cleaned(0, 0))
    world.sees(2)
    failure = Failure(stage="build", summary=words, remedy=words, excerpt=words)
    world.steps(out.BuildStarted("b"), out.StageFailed(failure, KeptLog(words)), iid=2)
    tags = tags_in(web.get("/group/tool/-/2").text)
    assert [tag for tag, _ in tags] == [tag for tag, _ in usual] or len(tags) == len(usual)
    assert {tag for tag, _ in tags} <= {tag for tag, _ in usual}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.text(max_size=60))
@example(words="\u2028</script>")
def test_whatever_a_title_says_the_page_has_the_same_tags(web: WebScene, world: World, words: str) -> None:
    with world.store.read() as tx:
        is_first = tx.preview_of(world.project_id, 1) is None
    if is_first:
        world.sees()
    named(world, title="usual", source_branch="usual", author="usual")
    usual = tags_in(web.get(PAGE).text)
    named(world, title=words, source_branch=words, author=words)
    assert tags_in(web.get(PAGE).text) == usual


def test_the_overview_says_what_operators_have_stopped(web: WebScene, world: World) -> None:
    world.lifecycle.freeze("olga", "maintenance <b>until</b> 14:00", world.now)
    page = words_in(web.get("/").text)
    assert "Builds are frozen" in page
    assert "olga: maintenance <b>until</b> 14:00" in page
    world.lifecycle.resume("olga", world.now)
    assert "frozen" not in web.get("/").text
