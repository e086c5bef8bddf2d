"""What people do on the pages: through the same doors as comments and commands, and only by forms of ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator import outcome as out
from orchestrator.preview import State, Step
from tests.orchestrator.scene import A, B
from tests.web.house import House, Visitor
from tests.web.test_pages import words_in
from tests.web.test_rights import routes
from web.doors import _origin

PAGE = "/group/tool/-/1"


@pytest.fixture
def developer(house: House) -> Iterator[Visitor]:
    with house.visitor("developer") as visitor:
        yield visitor


@pytest.fixture
def operator(house: House) -> Iterator[Visitor]:
    with house.visitor("operator") as visitor:
        yield visitor


def told(visitor: Visitor, path: str, **form: str) -> str:
    """Sends a form, and reads on the page that it leads to what came of it."""
    answer = visitor.posts(path, **form)
    assert answer.status_code == 303
    return words_in(visitor.get(answer.headers["Location"]).text)


# --- previews -----------------------------------------------------------------------------------------


def test_redeploy_builds_the_head_and_the_audit_says_who_asked(house: House, developer: Visitor) -> None:
    assert f"Commit {A[:12]} is to be built." in told(developer, f"{PAGE}/redeploy", sha=A)
    assert house.world.states() == ["live", "queued"]
    assert (house.world.deployment().trigger, house.world.deployment().actor) == ("command", "dana")
    assert f"commit {A}" in words_in(developer.get("/audit?who=dana&subject=deployment").text)


def test_what_came_of_it_is_told_once(developer: Visitor) -> None:
    told(developer, f"{PAGE}/redeploy", sha=A)
    assert "is to be built" not in developer.get(PAGE).text


def test_rebuild_wants_no_image_that_is_there(house: House, developer: Visitor) -> None:
    told(developer, f"{PAGE}/rebuild", sha=A)
    assert house.world.deployment().trigger == "rebuild"


def test_a_strangers_commit_is_approved_and_no_other(house: House, developer: Visitor) -> None:
    world = house.world
    world.sees(2, fork=True)
    page = developer.get("/group/tool/-/2").text
    assert f"Approve {A[:12]}" in page
    assert f'value="{A}"' in page, "the button carries the very commit"
    # While it is looked at, somebody pushes.
    world.sees(2, B, fork=True)
    assert f"Commit {A[:12]} is not the head" in told(developer, "/group/tool/-/2/redeploy", sha=A)
    assert [one.step for one in world.deployments(2)] == [Step.AWAIT_APPROVAL, Step.NONE]
    assert "is to be built" in told(developer, "/group/tool/-/2/redeploy", sha=B)
    assert world.deployment(2).step is Step.READ_FILE
    assert f"commit {B} approved by dana" in words_in(developer.get("/group/tool/-/2").text)


def test_keep_and_let_go_again(house: House, developer: Visitor) -> None:
    assert "It is kept." in told(developer, f"{PAGE}/keep", duration="48h")
    assert house.world.preview().keep_until is not None
    assert "It may give way to others again." in told(developer, f"{PAGE}/release")
    assert house.world.preview().keep_until is None


@pytest.mark.parametrize("duration", ["", "forever", "0h", "999999d", "-1h", "48h48h", "<script>"])
def test_an_odd_duration_keeps_nothing_and_is_told(house: House, developer: Visitor, duration: str) -> None:
    words = told(developer, f"{PAGE}/keep", duration=duration)
    assert "Say for how long" in words or "hours at most" in words
    assert house.world.preview().keep_until is None


def test_stop_takes_it_down_by_name(house: House, developer: Visitor) -> None:
    words = told(developer, f"{PAGE}/stop")
    assert "It is being taken down." in words
    assert "Nothing is up: stopped by dana" in words
    assert house.world.states() == ["stopped"]


def test_what_makes_no_sense_is_told_in_words(house: House, developer: Visitor) -> None:
    told(developer, f"{PAGE}/stop")
    assert "there is nothing to keep" in told(developer, f"{PAGE}/keep", duration="4h")
    assert "is not kept" in told(developer, f"{PAGE}/release")
    house.world.sees(state="closed")
    assert "reopen it to get a preview" in told(developer, f"{PAGE}/redeploy", sha=A)


def test_offered_is_what_makes_sense(house: House, developer: Visitor) -> None:
    world = house.world

    def offered(iid: int = 1) -> set[str]:
        page = developer.get(f"/group/tool/-/{iid}").text
        names = ("Approve", "Redeploy", "Rebuild it", "Keep<", "Stop it", "Let it give way")
        return {name.rstrip("<") for name in names if name in page}

    assert offered() == {"Redeploy", "Rebuild it", "Keep", "Stop it"}
    world.sees(2, fork=True)
    assert offered(2) == {"Approve", "Stop it"}
    world.sees(3)
    assert world.deployment(3).state is State.BUILDING
    assert offered(3) == {"Stop it"}
    world.sees(3, state="closed")
    assert offered(3) == set()


def test_who_may_not_is_offered_nothing(house: House) -> None:
    for who in ("nobody", "stranger", "reporter"):
        with house.visitor(who) as visitor:
            page = visitor.get(PAGE)
            assert "Redeploy" not in page.text
            assert "Drain" not in visitor.get("/accounts/dev-1").text
            assert "Freeze" not in visitor.get("/").text


def test_a_merge_request_that_is_not_there_is_not_found(developer: Visitor) -> None:
    assert developer.posts("/group/tool/-/99/stop").status_code == 404


# --- accounts and switches ----------------------------------------------------------------------------


def test_an_account_is_drained_and_put_back(house: House, operator: Visitor) -> None:
    assert "dev-1 is taken out of use." in told(operator, "/accounts/dev-1/drain")
    assert house.account().state == "drained"
    assert "Put it back into use" in operator.get("/accounts/dev-1").text
    assert "dev-1 is put back into use." in told(operator, "/accounts/dev-1/undrain")
    assert house.account().state == "cleaning"
    assert "olga" in words_in(operator.get("/audit?subject=account&who=olga").text)


def test_an_account_is_emptied_only_when_its_name_is_written(house: House, operator: Visitor) -> None:
    told(operator, "/accounts/dev-1/drain")
    told(operator, "/accounts/dev-1/undrain")
    house.world.cleaning(2, out.FoundForeign("a job of somebody else"))
    assert house.account().state == "quarantined"
    for written in ("", "dev-0", "DEV-1"):
        assert "Nothing was deleted" in told(operator, "/accounts/dev-1/empty", confirm=written)
    assert not house.account().clean_all
    assert "dev-1 is being cleaned" in told(operator, "/accounts/dev-1/clean")
    assert not house.account().clean_all
    assert "dev-1 is being emptied" in told(operator, "/accounts/dev-1/empty", confirm="dev-1")
    assert house.account().clean_all


def test_what_is_in_use_is_not_cleaned_away(operator: Visitor) -> None:
    assert "only one that is quarantined" in told(operator, "/accounts/dev-0/clean")
    assert "only one that is quarantined" in told(operator, "/accounts/dev-0/empty", confirm="dev-0")


def test_operators_freeze_pause_and_let_go_on(house: House, operator: Visitor) -> None:
    assert "Say why" in told(operator, "/switches/freeze", why="  ")
    words = told(operator, "/switches/freeze", why="maintenance  until\n14:00")
    assert "Builds are frozen since" in words
    assert "by olga: maintenance until 14:00" in words
    assert "group/tool is paused." in told(operator, "/switches/pause", why="x", project="group/tool")
    assert "No project 'no/such' is connected" in told(
        operator, "/switches/pause", why="x", project="no/such"
    )
    assert len(house.web.parts.views.switches()) == 2
    told(operator, "/switches/resume", project="group/tool")
    told(operator, "/switches/resume")
    assert house.web.parts.views.switches() == []
    assert "Everything is paused." in told(operator, "/switches/pause", why="x" * 500)
    (view,) = house.web.parts.views.switches()
    assert (view.switch.who, view.switch.why) == ("olga", "x" * 200)


# --- forms --------------------------------------------------------------------------------------------


def test_no_form_but_gitlabs_deliveries_is_taken_without_its_token(house: House) -> None:
    with house.visitor("operator") as visitor, house.visitor("developer") as other:
        before, foreign = house.web.everything(), other.token()
        posted = {rule.endpoint for method, rule in routes(house.web.app) if method != "GET"}
        assert posted == {
            "webhook.receive",
            "sign_in.end",
            "actions.act",
            "api_actions.redeploy",
            "api_actions.rebuild",
            "api_actions.keep",
            "api_actions.release",
            "api_actions.stop",
            "api_settings.put_secret",
            "api_settings.remove_secret",
            "operations.account",
            "operations.switch",
            # What git fetches by; it changes nothing.
            "probes.fetch",
            "project_settings.change",
            "project_settings.put_secret",
            "project_settings.remove_secret",
            "project_settings.rotate",
            "tokens.make",
            "tokens.revoke",
        }
        for path in (
            "/sign-out",
            f"{PAGE}/stop",
            "/accounts/dev-1/drain",
            "/switches/freeze",
            "/group/tool/-/settings",
            "/group/tool/-/settings/rotate",
            "/group/tool/-/settings/secrets",
            "/group/tool/-/settings/secrets/API_KEY/remove",
            "/tokens",
            "/tokens/1/revoke",
            "/api/v1/projects/group/tool/-/previews/1/stop",
        ):
            for token in ({}, {"csrf_token": ""}, {"csrf_token": "x.y.z"}, {"csrf_token": foreign}):
                answer = visitor.client.post(path, data={"why": "x", **token})
                assert answer.status_code == 400, path
                assert "does not come from a page of ours" in answer.text
        assert house.web.everything() == before
        assert "Sign out" in visitor.get("/").text


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://elsewhere.example", 400),
        ("null", 400),
        ("http://127.0.0.1", 400),
        ("http://127.0.0.1.elsewhere.example", 400),
        ("http://[", 400),
        ("", 400),
        ("own", 303),
    ],
)
def test_a_form_from_elsewhere_is_refused_even_with_its_token(
    house: House, developer: Visitor, origin: str, status: int
) -> None:
    given = {"Origin": house.url if origin == "own" else origin}
    answer = developer.posts(f"{PAGE}/stop", headers=given)
    assert answer.status_code == status
    assert (house.world.states() == ["stopped"]) == (status == 303)


def test_origins_are_compared_as_browsers_do() -> None:
    assert _origin("https://Previews.example.org:443/") == _origin("https://previews.example.org")
    others = ("http://previews.example.org", "https://previews.example.org:8443", "null", "https://x:0x1")
    assert _origin("https://previews.example.org") not in [_origin(one) for one in others]


def test_a_token_from_before_signing_in_is_none_afterwards(house: House, developer: Visitor) -> None:
    token = developer.token()
    developer.posts("/sign-out")
    developer.signs_in("dana")
    assert developer.client.post(f"{PAGE}/stop", data={"csrf_token": token}).status_code == 400


def test_who_is_not_signed_in_any_more_is_led_back_to_the_page(house: House, developer: Visitor) -> None:
    token = developer.token()
    developer.client.cookies.clear()
    answer = developer.client.post(
        f"{PAGE}/stop", data={"csrf_token": token}, headers={"Referer": f"{house.url}{PAGE}"}
    )
    assert answer.status_code == 403
    assert f'href="/sign-in?next={PAGE}"' in answer.text
    answer = developer.client.post(f"{PAGE}/stop", headers={"Referer": "https://elsewhere.example/x"})
    assert 'href="/sign-in"' in answer.text or 'href="/sign-in?next="' in answer.text
    assert house.world.states() == ["live"]
