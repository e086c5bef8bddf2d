"""What the web process answers to GitLab, and what is in the database by then."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.databases import full_disk
from tests.web.scene import PROJECT, SECRET, SHA, WebScene, comment_event, merge_request_event


def refuses(web: WebScene, send: Callable[[], Any]) -> tuple[int, str]:
    """What a refused delivery is told; fails when the database was changed by it."""
    before = web.everything()
    answer = send()
    assert web.everything() == before, "a refused delivery changed something"
    return answer.status_code, answer.json()["error"]


def ignores(web: WebScene, payload: object) -> str:
    """What an uninteresting delivery is told; fails when it is not 200 or changed something."""
    before = web.everything()
    answer = web.delivers(payload)
    assert answer.status_code == 200, answer.text
    assert web.everything() == before, "an ignored delivery changed something"
    return str(answer.json()["message"])


# --- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET.upper(), f"{SECRET} x"])
def test_a_webhook_with_a_wrong_secret_is_refused_and_changes_nothing(
    web: WebScene, secret: str | None
) -> None:
    status, words = refuses(web, lambda: web.delivers(merge_request_event(), secret=secret))
    assert status == 401
    assert "X-Gitlab-Token" in words


def test_where_gitlab_signs_a_delivery_needs_a_fresh_signature(serve: Callable[..., WebScene]) -> None:
    web = serve(secret_key="k" * 32)
    with web.parts.store.write() as tx:
        tx.put_project(gitlab_id=PROJECT, signing=[2], now=1.0)
    event = merge_request_event()
    assert web.delivers_signed(event, "k" * 32, generation=2).status_code == 202
    for answer in (
        lambda: web.delivers(event),
        lambda: web.delivers_signed(event, "k" * 32, generation=1),
        lambda: web.delivers_signed(event, "j" * 32, generation=2),
        lambda: web.delivers_signed(event, "k" * 32, generation=2, late=400.0),
    ):
        assert refuses(web, answer)[0] == 401


def test_a_signed_delivery_counts_once_whatever_else_it_is_called(serve: Callable[..., WebScene]) -> None:
    web = serve(secret_key="k" * 32)
    with web.parts.store.write() as tx:
        tx.put_project(gitlab_id=PROJECT, signing=[1], now=1.0)
    event = merge_request_event()
    for other in ("one", "two"):
        web.delivers_signed(event, "k" * 32, generation=1, key="same", Idempotency_Key=other)
    assert len(web.taken()) == 1


def test_the_right_secret_is_not_enough_for_another_project(web: WebScene) -> None:
    with web.parts.store.write() as tx:
        tx.put_project(
            gitlab_id=78,
            path="group/other",
            web_url="http://gitlab/group/other",
            git_url="http://gitlab/group/other.git",
            secret_digests=["0" * 64],
            checks=[],
            now=1.0,
        )
    status, _ = refuses(web, lambda: web.delivers(merge_request_event(project=78)))
    assert status == 401


def test_an_unknown_project_is_refused_with_what_an_operator_has_to_do(web: WebScene) -> None:
    status, words = refuses(web, lambda: web.delivers(merge_request_event(project=4711)))
    assert status == 404
    assert "4711" in words
    assert "project add" in words


def test_a_body_over_the_limit_is_refused_with_the_limit(serve: Callable[..., WebScene]) -> None:
    web = serve(body_limit_bytes=1000)
    status, words = refuses(web, lambda: web.delivers(merge_request_event() | {"padding": "x" * 1000}))
    assert status == 413
    assert "1000 bytes" in words


def test_a_body_over_the_limit_is_refused_when_it_does_not_say_how_long_it_is(
    serve: Callable[..., WebScene],
) -> None:
    web = serve(body_limit_bytes=1000)
    body = json.dumps(merge_request_event() | {"padding": "x" * 1000}).encode()
    in_chunks = (body[start : start + 100] for start in range(0, len(body), 100))
    headers = {"X-Gitlab-Token": SECRET}
    status, _ = refuses(web, lambda: web.client.post("/webhook/gitlab", content=in_chunks, headers=headers))
    # Werkzeug cuts such a body at the limit, and what is left is no JSON.
    assert status in {400, 413}


def test_beyond_the_limit_of_a_minute_a_delivery_is_taken_and_told_that_it_waits(
    serve: Callable[..., WebScene],
) -> None:
    web = serve(deliveries_per_minute=2)
    answers = [web.delivers(merge_request_event(iid=iid)) for iid in (1, 2, 3, 3)]
    assert [answer.status_code for answer in answers] == [202] * 4
    assert [answer.json()["message"] for answer in answers[:2]] == ["Taken."] * 2
    assert all("more than 2 of its kind" in answer.json()["message"] for answer in answers[2:])
    assert len(web.taken()) == 3


def test_a_body_at_the_limit_is_taken(serve: Callable[..., WebScene]) -> None:
    web = serve(body_limit_bytes=1000)
    assert web.delivers(merge_request_event()).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"object_kind=merge_request",
        b"\xff\xfe{}",
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b"[" * 50,
        b'{"project": {"id": 7' + b"7" * 5000,
    ],
)
def test_a_body_that_is_no_json_object_is_refused(web: WebScene, body: bytes) -> None:
    status, words = refuses(web, lambda: web.delivers_bytes(body))
    assert status == 400
    assert "no JSON object" in words


@pytest.mark.parametrize(
    "project",
    [
        None,
        {},
        [],
        "group/tool",
        {"id": None},
        {"id": "77"},
        {"id": 0},
        {"id": -1},
        {"id": True},
        {"id": 2**63},
    ],
)
def test_a_payload_that_names_no_project_is_refused(web: WebScene, project: object) -> None:
    status, words = refuses(web, lambda: web.delivers(merge_request_event() | {"project": project}))
    assert status == 400
    assert "project" in words


@pytest.mark.parametrize("iid", [None, 0, -3, "1", 1.5, True, 2**31])
def test_a_payload_that_names_no_merge_request_is_refused(web: WebScene, iid: object) -> None:
    payload = merge_request_event()
    payload["object_attributes"]["iid"] = iid
    status, words = refuses(web, lambda: web.delivers(payload))
    assert status == 400
    assert "merge request" in words


@pytest.mark.parametrize("body", [b"[" * 400_000, b'{"a":' * 100_000], ids=["lists", "objects"])
def test_a_body_nested_without_end_is_refused(web: WebScene, body: bytes) -> None:
    status, _ = refuses(web, lambda: web.delivers_bytes(body, secret="wrong"))
    assert status == 400


def test_only_post_is_answered(web: WebScene) -> None:
    assert web.get("/webhook/gitlab").status_code == 405


# --- what is not acted on -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["push", "pipeline", "tag_push", "issue", None, 7, {"a": 1}])
def test_an_event_that_is_not_acted_on_is_answered_with_200_and_says_so(web: WebScene, kind: object) -> None:
    assert "Nothing to do" in ignores(web, merge_request_event() | {"object_kind": kind})


@pytest.mark.parametrize("action", ["approved", "unapproved", "approval", "unapproval", None, 3])
def test_an_action_that_is_not_acted_on_is_answered_with_200_and_says_so(web: WebScene, action: Any) -> None:
    assert "Nothing to do for the action" in ignores(web, merge_request_event(action))


@pytest.mark.parametrize(
    "note", ["Looks good", "", "> /preview", "/previews", "/preview now please", "`/preview`", "a\n/preview"]
)
def test_a_comment_without_a_command_is_answered_with_200_and_says_so(web: WebScene, note: str) -> None:
    assert "without a command" in ignores(web, comment_event(note))


def test_an_edited_comment_sets_nothing_off(web: WebScene) -> None:
    assert "Nothing to do" in ignores(web, comment_event(action="update"))


@pytest.mark.parametrize("on", ["Issue", "Commit", "Snippet"])
def test_a_command_under_something_else_sets_nothing_off(web: WebScene, on: str) -> None:
    assert "Nothing to do" in ignores(web, comment_event(on=on))


# --- what is taken ------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["open", "reopen", "update", "close", "merge"])
def test_a_delivery_is_in_the_database_before_it_is_answered(web: WebScene, action: str) -> None:
    answer = web.delivers(merge_request_event(action, iid=12), key="k")
    assert answer.status_code == 202
    (delivery,) = web.taken()
    assert (delivery.key, delivery.kind, delivery.iid) == ("k", "merge_request", 12)
    assert delivery.project_id == web.project_id
    assert delivery.handled_at is None


@pytest.mark.parametrize("action", ["create", None])
def test_a_command_is_taken_with_who_said_it_and_where(web: WebScene, action: str | None) -> None:
    assert web.delivers(comment_event("/preview stop", action=action, iid=4)).status_code == 202
    (delivery,) = web.taken()
    assert (delivery.kind, delivery.iid) == ("note", 4)
    assert delivery.facts == {
        "note": "/preview stop",
        "note_id": 31,
        "user_id": 5,
        "username": "dana",
        "sha": SHA,
    }


def test_a_test_delivery_is_taken_like_a_real_one(web: WebScene) -> None:
    """GitLab's test button sends a real-looking payload; GitLab is asked what is true, so it does no harm."""
    payload = merge_request_event("update") | {"changes": {"title": {"previous": "a", "current": "b"}}}
    assert web.delivers(payload).status_code == 202


def test_a_delivery_sent_again_under_its_key_counts_once(web: WebScene) -> None:
    answers = [web.delivers(merge_request_event(), key="same") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert answers[2].json()["message"] == "Taken before."
    assert len(web.taken()) == 1


def test_the_same_words_under_another_key_are_another_delivery(web: WebScene) -> None:
    web.delivers(merge_request_event(), key="first")
    web.delivers(merge_request_event(), key="second")
    assert len(web.taken()) == 2


def test_without_a_key_the_same_body_of_the_same_event_counts_once(web: WebScene) -> None:
    headers = {"X-Gitlab-Token": SECRET}
    for event in ("one", "one", "two"):
        headers["X-Gitlab-Event-UUID"] = event
        answer = web.client.post("/webhook/gitlab", json=merge_request_event(), headers=headers)
        assert answer.status_code == 202
    assert len(web.taken()) == 2


def test_a_key_of_any_length_is_kept_apart_from_others(web: WebScene) -> None:
    for key in ("k" * 100, "k" * 101, "k" * 5000):
        assert web.delivers(merge_request_event(), key=key).status_code == 202
    assert all(len(delivery.key) <= 128 for delivery in web.taken())


def test_the_key_of_a_standard_webhook_counts_too(web: WebScene) -> None:
    headers = {"X-Gitlab-Token": SECRET, "webhook-id": "msg_1"}
    for iid in (1, 2):
        web.client.post("/webhook/gitlab", json=merge_request_event(iid=iid), headers=headers)
    assert [(delivery.key, delivery.iid) for delivery in web.taken()] == [("msg_1", 1)]


def test_a_delivery_is_taken_while_redis_is_away(web: WebScene) -> None:
    assert web.get("/readyz").status_code == 503, "Redis is there: this tests nothing"
    answer = web.delivers(merge_request_event())
    assert answer.status_code == 202
    assert answer.elapsed.total_seconds() < 3.0, "GitLab gives up after ten seconds"
    assert len(web.taken()) == 1


@pytest.mark.only_sqlite
def test_while_the_disk_is_full_a_delivery_is_taken_or_refused_and_nothing_between(
    serve: Callable[..., WebScene],
) -> None:
    web = serve()
    with full_disk(web.parts.store.engine):
        answers = [web.delivers(merge_request_event(iid=iid)) for iid in range(1, 100)]
    assert {answer.status_code for answer in answers} == {202, 503}
    assert len(web.taken()) == sum(answer.status_code == 202 for answer in answers)
    assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 503)
    assert web.delivers(merge_request_event(iid=100)).status_code == 202


def test_a_delivery_is_put_on_the_queue_when_redis_is_there(
    serve: Callable[..., WebScene], redis_url: str
) -> None:
    web = serve(redis_url=redis_url, queue_prefix="told")
    web.delivers(merge_request_event())
    assert web.parts.redis.llen("told:gitlab") == 1


# --- any shape ----------------------------------------------------------------------------------------

_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
_words = st.sampled_from(
    ["id", "iid", "object_kind", "object_attributes", "project", "action", "note", "user", "merge_request"]
)
_json = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_words | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
#: The server outlives the examples on purpose: each is judged by what it added.
_often = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_often
@given(payload=_json, secret=st.sampled_from([SECRET, "wrong"]))
def test_json_of_any_shape_is_never_a_server_error_and_nothing_is_kept_of_what_is_refused(
    web: WebScene, payload: object, secret: str
) -> None:
    before = len(web.taken())
    answer = web.delivers(payload, secret=secret)
    assert answer.status_code < 500, answer.text
    if answer.status_code != 202:
        assert len(web.taken()) == before


_places = st.sampled_from(
    [
        ("object_kind",),
        ("object_attributes",),
        ("object_attributes", "iid"),
        ("object_attributes", "action"),
        ("object_attributes", "note"),
        ("object_attributes", "noteable_type"),
        ("object_attributes", "id"),
        ("merge_request",),
        ("merge_request", "iid"),
        ("merge_request", "last_commit"),
        ("merge_request", "last_commit", "id"),
        ("user",),
        ("user", "id"),
        ("user", "username"),
    ]
)


@_often
@given(event=st.sampled_from([merge_request_event, comment_event]), place=_places, odd=_json)
def test_anything_at_any_place_of_a_payload_is_never_a_server_error(
    web: WebScene, event: Callable[[], dict[str, Any]], place: tuple[str, ...], odd: object
) -> None:
    payload = inner = event()
    for key in place[:-1]:
        inner = inner.setdefault(key, {})
    inner[place[-1]] = odd
    before = len(web.taken())
    answer = web.delivers(payload)
    assert answer.status_code < 500, answer.text
    assert len(web.taken()) == before + (answer.status_code == 202)


@_often
@given(payload=st.dictionaries(_words, _json), secret=st.sampled_from(["", "wrong"]))
def test_nothing_gets_in_without_the_secret_whatever_its_shape(
    web: WebScene, payload: dict[str, object], secret: str
) -> None:
    before = web.everything()
    assert web.delivers({**payload, "project": {"id": PROJECT}}, secret=secret).status_code == 401
    assert web.everything() == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_bytes_of_any_kind_are_never_a_server_error(web: WebScene, body: bytes) -> None:
    assert web.delivers_bytes(body).status_code == 400
