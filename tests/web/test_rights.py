"""Who is let in where: every address of the application, for everybody that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import pytest
from flask import Flask
from werkzeug.routing import Rule

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import Seeder
from orchestrator import rights
from tests.web.house import PEOPLE, House, Visitor
from tests.web.scene import WebScene
from web import live

READERS = ("reporter", "developer", "maintainer", "operator")
DEVELOPERS = ("developer", "maintainer", "operator")
MAINTAINERS = ("maintainer", "operator")
OPERATOR = ("operator",)
EVERYBODY = tuple(PEOPLE)
SIGNED_IN = tuple(who for who in PEOPLE if who != "nobody")
#: Who may what, where pages are not public; with public pages everybody may do what :data:`READ` has.
#: A new route fails the first test here until it is written down.
ALWAYS: Mapping[str, tuple[str, ...]] = {
    "static": EVERYBODY,
    "health.alive": EVERYBODY,
    "health.ready": EVERYBODY,
    "metrics.metrics": EVERYBODY,
    "webhook.receive": EVERYBODY,
    "badge.of_project": EVERYBODY,
    "badge.of_preview": EVERYBODY,
    "badge.data_of_project": EVERYBODY,
    "badge.data_of_preview": EVERYBODY,
    "probes.refs": EVERYBODY,
    "probes.fetch": EVERYBODY,
    "sign_in.begin": EVERYBODY,
    "sign_in.come_back": EVERYBODY,
    "sign_in.end": EVERYBODY,
    "tokens.show": SIGNED_IN,
    "tokens.make": SIGNED_IN,
    "tokens.revoke": SIGNED_IN,
    "actions.act": DEVELOPERS,
    "api_actions.redeploy": DEVELOPERS,
    "api_actions.rebuild": DEVELOPERS,
    "api_actions.keep": DEVELOPERS,
    "api_actions.release": DEVELOPERS,
    "api_actions.stop": DEVELOPERS,
    "project_settings.show": MAINTAINERS,
    "project_settings.change": MAINTAINERS,
    "project_settings.rotate": MAINTAINERS,
    "project_settings.put_secret": MAINTAINERS,
    "project_settings.remove_secret": MAINTAINERS,
    "api_settings.secrets": MAINTAINERS,
    "api_settings.put_secret": MAINTAINERS,
    "api_settings.remove_secret": MAINTAINERS,
    "operations.account": OPERATOR,
    "operations.switch": OPERATOR,
}
READ: Mapping[str, tuple[str, ...]] = {
    "pages.overview": OPERATOR,
    "pages.project": READERS,
    "pages.preview": READERS,
    "pages.account": OPERATOR,
    "pages.builders": OPERATOR,
    "logs.page": READERS,
    "logs.raw": READERS,
    "logs.follow": READERS,
    "pictures.picture": READERS,
    "live.live": READERS,
    "audit.show": OPERATOR,
    "audit.export": OPERATOR,
    "api.projects": OPERATOR,
    "api.previews": OPERATOR,
    "api.deployments": OPERATOR,
    "api.preview": READERS,
    "api.deployment": READERS,
    "api.log": READERS,
    "api.events": OPERATOR,
    "api.accounts": OPERATOR,
    "api.builders": OPERATOR,
    "api.builder_projects": OPERATOR,
    "api.builder_changes": OPERATOR,
    "api.builder_probes": OPERATOR,
    "api.renovate_preset": OPERATOR,
    "api.incidents": OPERATOR,
    "api.account": OPERATOR,
    "api.queue": OPERATOR,
    "api.description": OPERATOR,
    "api.reference": OPERATOR,
}
#: What stands in the place of a parameter; the others are choices, of which the first is taken.
VALUES = {"project": "group/tool", "iid": 1, "name": "dev-1", "filename": "style.css", "secret": "API_KEY"}
#: They are open, and say no for reasons of their own (Redis is away).
OTHER_REASONS = {"sign_in.come_back", "webhook.receive", "health.ready"}


def routes(app: Flask) -> Iterator[tuple[str, Rule]]:
    """Every method of every route."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, rule


def address(house: House, rule: Rule) -> str:
    """The address of something that there is."""
    deployment, preview = house.world.deployment(), house.world.preview()
    values = {**VALUES, "deployment_id": deployment.id, "token_id": 1, "kind": "build", "form": "csv"}
    values |= {"verb": "keep", "order": "freeze" if rule.endpoint == "operations.switch" else "drain"}
    with house.web.app.test_request_context():
        _, path = rule.build({name: values[name] for name in rule.arguments}) or ("", "")
    return f"{path}?preview={preview.id}" if rule.endpoint == "live.live" else path


def status(visitor: Visitor, method: str, path: str, token: str) -> int:
    """What is answered; of a stream, which does not end by itself, only the beginning is read."""
    data = {"csrf_token": token, "duration": "4h", "why": "a test"} if method == "POST" else None
    with visitor.client.stream(method, path, data=data) as answer:
        if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            answer.read()
        return answer.status_code


def test_every_route_is_written_down_here(house: House) -> None:
    there = {rule.endpoint for _, rule in routes(house.web.app)}
    assert there == set(ALWAYS) | set(READ)
    assert not set(ALWAYS) & set(READ)


@pytest.fixture
def kept_with_log(house: House, closed_house: House) -> None:
    """The live preview has a log, so that its addresses are there."""
    closed_house.begins_anew()
    for one in (house, closed_house):
        with one.world.store.write() as tx:
            tx.put_log(one.world.deployment().id, "build", "a line", is_truncated=False, now=1.0)


@pytest.mark.usefixtures("kept_with_log")
@pytest.mark.parametrize("is_public", [True, False], ids=["public", "closed"])
@pytest.mark.parametrize("who", PEOPLE)
def test_who_is_let_in_where(house: House, closed_house: House, who: str, is_public: bool) -> None:
    place = house if is_public else closed_house
    allowed = {**ALWAYS, **(dict.fromkeys(READ, EVERYBODY) if is_public else READ)}
    wrong = []
    with place.visitor(who) as visitor:
        # Every page has the token, also the one that says that there is nothing.
        token = visitor.token("/nothing")
        assert bool(token) == (who != "nobody")
        for method, rule in routes(place.web.app):
            before = place.web.everything()
            # Signing out is for the end of the day.
            given = "" if rule.endpoint == "sign_in.end" else token
            answered = status(visitor, method, address(place, rule), given)
            may = who in allowed[rule.endpoint]
            is_let_in = rule.endpoint in OTHER_REASONS or (answered != 403 and answered < 500)
            if is_let_in is not may:
                wrong.append((method, rule.rule, answered))
            if not may and place.web.everything() != before:
                wrong.append((method, rule.rule, "changed something"))
    assert wrong == []


def test_what_a_developer_may_is_really_done(house: House) -> None:
    """The table above would hold, too, if nothing were ever done for anybody."""
    with house.visitor("developer") as developer, house.visitor("operator") as operator:
        assert developer.posts("/group/tool/-/1/keep", duration="4h").status_code == 303
        assert operator.posts("/accounts/dev-1/drain").status_code == 303
    assert house.world.preview().keep_until is not None
    assert house.account().state == "drained"


def test_rights_that_are_taken_away_in_gitlab_are_gone_within_a_minute(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rights.REMEMBERED_SECONDS <= 60.0
    house.becomes("greta", 30)
    with house.visitor() as visitor:
        visitor.signs_in("greta")
        assert visitor.posts("/group/tool/-/1/keep", duration="4h").status_code == 303
        house.leaves("greta")
        # As if the minute were over.
        monkeypatch.setattr(rights, "REMEMBERED_SECONDS", 0.0)
        assert visitor.posts("/group/tool/-/1/keep", duration="4h").status_code == 403
        assert "needs the Developer role" in visitor.posts("/group/tool/-/1/stop").text


def test_whose_project_it_is_not_learns_nothing_of_what_there_is(closed_house: House) -> None:
    with closed_house.visitor("reporter") as visitor:
        pages = [visitor.get(path) for path in ("/group/other/-/1", "/nothing/at/all/-/1", "/accounts/dev-0")]
        assert {page.status_code for page in pages} == {403}
        # An address that names the own project somewhere opens nothing else.
        assert visitor.get("/?project=group/tool").status_code == 403
        assert visitor.get("/audit?project=group/tool").status_code == 403
        assert visitor.get(f"/live?preview={10**30}").status_code == 403


def test_who_has_not_signed_in_is_offered_to_and_comes_back_to_the_page(closed_house: House) -> None:
    with closed_house.visitor() as visitor:
        answer = visitor.get("/group/tool/-/1?x=y")
        assert answer.status_code == 403
        assert 'href="/sign-in?next=/group/tool/-/1?x%3Dy"' in answer.text
        place = visitor.signs_in("rene", page="/group/tool/-/1?x=y").headers["Location"]
        assert visitor.get(place).status_code == 200


def test_while_gitlab_is_away_the_pages_are_there_and_nothing_can_be_done(
    gitlab: LocalGitLab, seeder: Seeder, serve: Callable[..., WebScene]
) -> None:
    house = House(gitlab, seeder, serve)
    with house.visitor("developer") as visitor:
        token = visitor.token()
        fault = gitlab.faults.add("GET /projects/:id/members/all/:user_id", "status", status=500, count=1)
        page = visitor.get("/group/tool/-/1")
        assert fault.struck == 1
        assert page.status_code == 200
        assert "GitLab does not answer just now" in page.text
        assert "Stop it" not in page.text
        # It would answer again, and is left alone for a moment, so that nobody waits for it in vain.
        answer = visitor.client.post("/group/tool/-/1/stop", data={"csrf_token": token})
        assert answer.status_code == 503
    assert house.world.preview().expires_at is not None


def test_whose_rights_are_gone_does_not_watch_on(
    house: House, closed_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed_house.begins_anew()
    monkeypatch.setattr(live, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(live, "GUARDED_SECONDS", 0.0)
    closed_house.becomes("greta", 20)
    path = f"/live?preview={closed_house.world.preview().id}"
    with closed_house.visitor() as visitor:
        visitor.signs_in("greta")
        with visitor.client.stream("GET", path, timeout=20) as watched:
            assert len(list(islice(watched.iter_lines(), 40))) < 40, "the stream has ended by itself"
        closed_house.leaves("greta")
        monkeypatch.setattr(rights, "REMEMBERED_SECONDS", 0.0)
        assert visitor.client.get(path).status_code == 403
    with house.web.client.stream("GET", "/live", timeout=20) as public:
        beats = (line for line in public.iter_lines() if "still here" in line)
        assert [next(beats) for _ in range(3)], "where everybody may watch it goes on"
