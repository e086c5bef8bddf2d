"""What happens to a webhook that fails, and what a success changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from deploy.local.gitlab import LocalGitLab
from deploy.local.gitlab.model import Hook
from deploy.local.gitlab.standing import Patience, alert_status, failed, succeeded
from tests.local.gitlab.world import Receiver, Scene, eventually


@pytest.fixture
def quick_pauses(gl: LocalGitLab) -> Iterator[LocalGitLab]:
    """Hooks pause for a twentieth of a second at first instead of a minute."""
    gl.settings.webhook_pause_seconds = 0.05
    yield gl
    gl.settings.webhook_pause_seconds = 60.0


def fail_until(scene: Scene, hook: str, receiver: Receiver, count: int) -> None:
    """So many failed deliveries in a row, each after the last one's pause."""
    before = len(receiver.got)
    for number in range(1, count + 1):
        eventually(lambda: scene.service.get(hook).json()["alert_status"] == "executable")
        scene.comment()
        receiver.wait(before + number)
        scene.deliveries(hook, before + number)


def pause(scene: Scene, hook: str) -> float:
    """Seconds from the last delivery to the end of the pause that it caused."""
    newest = scene.service.get(f"{hook}/events").json()[0]
    until = datetime.fromisoformat(scene.service.get(hook).json()["disabled_until"])
    return (until - datetime.fromisoformat(newest["created_at"])).total_seconds()


def test_four_failures_in_a_row_pause_a_hook_for_growing_times(
    scene: Scene, receiver: Receiver, quick_pauses: LocalGitLab
) -> None:
    receiver.answer = 503
    hook = scene.hook(receiver)
    fail_until(scene, hook, receiver, 3)
    assert scene.service.get(hook).json()["alert_status"] == "executable"
    quick_pauses.settings.webhook_pause_seconds = 1.0
    scene.comment()
    scene.deliveries(hook, 4)
    assert scene.service.get(hook).json()["alert_status"] == "temporarily_disabled"
    first = pause(scene, hook)
    scene.comment()
    assert len(scene.deliveries(hook, 4)) == 4
    fail_until(scene, hook, receiver, 1)
    assert pause(scene, hook) > first * 1.5
    receiver.answer = 200
    eventually(lambda: scene.service.get(hook).json()["alert_status"] == "executable")
    scene.comment()
    scene.deliveries(hook, 6)
    assert scene.service.get(hook).json()["disabled_until"] is None


def test_forty_failures_in_a_row_end_a_hook(
    scene: Scene, receiver: Receiver, quick_pauses: LocalGitLab
) -> None:
    quick_pauses.settings.webhook_pause_seconds = 0.0
    receiver.answer = 500
    hook = scene.hook(receiver)
    fail_until(scene, hook, receiver, 40)
    assert scene.service.get(hook).json()["alert_status"] == "disabled"
    scene.comment()
    assert len(receiver.got) == 40


def test_answers_of_4xx_count_like_all_failures_and_a_good_test_ends_the_pause(
    scene: Scene, receiver: Receiver, quick_pauses: LocalGitLab
) -> None:
    receiver.answer = 404
    hook = scene.hook(receiver)
    fail_until(scene, hook, receiver, 3)
    quick_pauses.settings.webhook_pause_seconds = 60.0
    scene.comment()
    scene.deliveries(hook, 4)
    assert scene.service.get(hook).json()["alert_status"] == "temporarily_disabled"
    assert scene.service.post(f"{hook}/test/merge_requests_events").status_code == 422
    receiver.answer = 200
    assert scene.service.post(f"{hook}/test/merge_requests_events").status_code == 201
    assert receiver.got[-1].action == "open"
    shown = scene.service.get(hook).json()
    assert (shown["alert_status"], shown["disabled_until"]) == ("executable", None)


def test_disabling_can_be_off_as_on_some_instances(scene: Scene, receiver: Receiver, gl: LocalGitLab) -> None:
    gl.settings.webhook_auto_disable = False
    try:
        receiver.answer = 500
        hook = scene.hook(receiver)
        for number in range(1, 7):
            scene.comment()
            scene.deliveries(hook, number)
    finally:
        gl.settings.webhook_auto_disable = True
    assert len(receiver.got) == 6
    assert scene.service.get(hook).json()["alert_status"] == "temporarily_disabled"


def test_pauses_grow_from_a_minute_to_a_day_and_then_it_is_over() -> None:
    hook, patience = Hook(1, 1, "http://x.example/"), Patience(True, 60.0, 86400.0)
    now, pauses = 0.0, []
    while alert_status(hook, patience, now) == "executable":
        failed(hook, patience, now)
        pauses.append((hook.disabled_until or now) - now)
        now += pauses[-1] + 1
    assert pauses[:8] == [0, 0, 0, 60, 120, 240, 480, 960]
    assert set(pauses[14:]) == {86400}
    assert (len(pauses), alert_status(hook, patience, now)) == (40, "disabled")
    succeeded(hook)
    assert alert_status(hook, patience, now) == "executable"


def test_a_test_that_fails_during_a_pause_does_not_count() -> None:
    hook, patience = (
        Hook(1, 1, "http://x.example/", failures=4, disabled_until=60.0),
        Patience(True, 60, 86400),
    )
    failed(hook, patience, 30.0)
    assert (hook.failures, hook.disabled_until) == (4, 60.0)
