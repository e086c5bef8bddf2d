"""Comments and emoji."""

from __future__ import annotations

from tests.local.gitlab.world import Scene


def test_a_note_is_written_changed_and_deleted(scene: Scene) -> None:
    note = scene.service.post(f"{scene.mr_path}/notes", json={"body": "hello <!-- marker -->"})
    assert note.status_code == 201
    assert note.json()["body"] == "hello <!-- marker -->"
    path = f"{scene.mr_path}/notes/{note.json()['id']}"
    changed = scene.service.put(path, json={"body": "other"})
    assert (changed.status_code, changed.json()["body"]) == (200, "other")
    assert scene.service.delete(path).status_code == 204
    assert scene.service.put(path, json={"body": "gone"}).status_code == 404


def test_notes_come_newest_first_with_gitlabs_own_among_them(scene: Scene) -> None:
    scene.service.post(f"{scene.mr_path}/notes", json={"body": "one"})
    scene.seeder.push_change(scene.mr, {"app.py": "3\n"}, "push")
    scene.service.post(f"{scene.mr_path}/notes", json={"body": "two"})
    notes = scene.service.get(f"{scene.mr_path}/notes").json()
    assert [note["system"] for note in notes] == [False, True, False]
    assert notes[0]["body"] == "two"
    only = scene.service.get(f"{scene.mr_path}/notes", params={"activity_filter": "only_comments"})
    assert [note["body"] for note in only.json()] == ["two", "one"]


def test_an_empty_note_is_refused(scene: Scene) -> None:
    assert scene.service.post(f"{scene.mr_path}/notes", json={}).json() == {"error": "body is missing"}
    answer = scene.service.post(f"{scene.mr_path}/notes", json={"body": " "})
    assert answer.status_code == 400
    assert "can't be blank" in answer.json()["message"]


def test_only_the_author_or_a_maintainer_changes_a_note(scene: Scene) -> None:
    note = scene.developer.post(f"{scene.mr_path}/notes", json={"body": "mine"}).json()
    path = f"{scene.mr_path}/notes/{note['id']}"
    assert scene.reporter.put(path, json={"body": "yours"}).status_code == 403
    assert scene.service.put(path, json={"body": "ours"}).status_code == 200


def test_the_same_emoji_twice_is_a_404_as_gitlab_says(scene: Scene) -> None:
    note = scene.developer.post(f"{scene.mr_path}/notes", json={"body": "/preview"}).json()
    path = f"{scene.mr_path}/notes/{note['id']}/award_emoji"
    given = scene.service.post(path, json={"name": "eyes"})
    assert (given.status_code, given.json()["awardable_type"]) == (201, "Note")
    again = scene.service.post(path, json={"name": "eyes"})
    assert again.status_code == 404
    assert again.json() == {"message": "404 Award Emoji Name has already been taken Not Found"}
    assert scene.developer.post(path, json={"name": "eyes"}).status_code == 201
    assert scene.service.post(path, json={"name": "no_such_thing"}).status_code == 404
    assert scene.service.delete(f"{path}/{given.json()['id']}").status_code == 204
    assert [item["user"]["username"] for item in scene.service.get(path).json()] == ["dana"]
