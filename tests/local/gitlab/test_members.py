"""Who may do what: members of projects and, inherited, of their group."""

from __future__ import annotations

from tests.local.gitlab.world import Scene


def test_rights_are_inherited_from_the_group(scene: Scene) -> None:
    user = scene.seeder.developer.id
    found = scene.service.get(f"{scene.path}/members/all/{user}")
    assert (found.status_code, found.json()["access_level"]) == (200, 30)
    assert scene.service.get(f"{scene.path}/members/{user}").status_code == 404


def test_the_higher_of_two_memberships_counts(scene: Scene) -> None:
    user = scene.seeder.reporter.id
    added = scene.service.post(f"{scene.path}/members", json={"user_id": user, "access_level": 40})
    assert added.status_code == 201
    assert scene.service.get(f"{scene.path}/members/all/{user}").json()["access_level"] == 40
    path = f"{scene.path}/members/{user}"
    assert scene.service.put(path, json={"access_level": 10}).json()["access_level"] == 10
    assert scene.service.get(f"{scene.path}/members/all/{user}").json()["access_level"] == 20
    assert scene.service.delete(path).status_code == 204


def test_a_stranger_is_not_found(scene: Scene) -> None:
    body = {"username": f"stranger{scene.project.id}", "name": "S", "email": f"s{scene.project.id}@x.example"}
    stranger = scene.root.post("/users", json=body).json()
    answer = scene.service.get(f"{scene.path}/members/all/{stranger['id']}")
    assert (answer.status_code, answer.json()) == (404, {"message": "404 Not found"})


def test_a_member_is_added_once_and_with_a_level_that_there_is(scene: Scene) -> None:
    body = {"user_id": scene.seeder.reporter.id, "access_level": 30}
    assert scene.service.post(f"{scene.path}/members", json=body).status_code == 201
    assert scene.service.post(f"{scene.path}/members", json=body).status_code == 409
    body["access_level"] = 33
    assert scene.service.post(f"{scene.path}/members", json=body).status_code == 400
    assert scene.reporter.post(f"{scene.path}/members", json=body).status_code == 403


def test_a_project_token_is_a_bot_that_is_a_member(scene: Scene) -> None:
    body = {"name": "previews", "scopes": ["api"], "access_level": 30}
    token = scene.service.post(f"{scene.path}/access_tokens", json=body)
    assert token.status_code == 201
    headers = {"PRIVATE-TOKEN": token.json()["token"]}
    bot = scene.root.get("/user", headers=headers).json()
    assert bot["bot"] is True
    assert bot["username"].startswith(f"project_{scene.project.id}_bot_")
    assert scene.service.get(f"{scene.path}/members/all/{bot['id']}").json()["access_level"] == 30
