"""What goes wrong on demand, and the count of what was asked."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx
import pytest

from deploy.local.gitlab import LocalGitLab
from tests.local.gitlab.world import Scene

NOTES = "POST /projects/:id/merge_requests/:iid/notes"


@dataclass(frozen=True)
class Writer:
    """Writes comments that can be told from other tests' on the merge request that all share."""

    scene: Scene
    mark: str

    def write(self) -> httpx.Response:
        return self.scene.service.post(f"{self.scene.mr_path}/notes", json={"body": self.mark})

    def written(self) -> int:
        notes = self.scene.service.get(f"{self.scene.mr_path}/notes", params={"per_page": 100}).json()
        return sum(note["body"] == self.mark for note in notes)


@pytest.fixture
def writer(gl: LocalGitLab, shared_scene: Scene, request: pytest.FixtureRequest) -> Writer:
    return Writer(shared_scene, request.node.name)


@pytest.mark.parametrize("status", [401, 403, 500, 502, 503])
def test_an_operation_answers_with_a_status_so_often(writer: Writer, gl: LocalGitLab, status: int) -> None:
    gl.faults.add(NOTES, "status", status=status, count=2)
    assert [writer.write().status_code for _ in range(3)] == [status, status, 201]
    assert writer.written() == 1


def test_trouble_in_front_of_the_application_is_html(writer: Writer, gl: LocalGitLab) -> None:
    gl.faults.add("*", "status", status=502)
    assert writer.write().headers["Content-Type"].startswith("text/html")
    gl.faults.add("*", "status", status=403)
    assert writer.write().json() == {"message": "403 Forbidden"}


def test_above_the_rate_limit_one_is_told_when_to_come_back(writer: Writer, gl: LocalGitLab) -> None:
    gl.faults.add(NOTES, "status", status=429, retry_after=7)
    answer = writer.write()
    assert (answer.status_code, answer.text) == (429, "Retry later\n")
    assert answer.headers["Retry-After"] == "7"
    assert answer.headers["RateLimit-Remaining"] == "0"


def test_a_connection_is_cut_before_the_effect(writer: Writer, gl: LocalGitLab) -> None:
    gl.faults.add(NOTES, "cut_before")
    with pytest.raises(httpx.RemoteProtocolError):
        writer.write()
    assert writer.written() == 0


@pytest.mark.parametrize("kind", ["lost", "cut_mid"])
def test_an_answer_is_lost_after_the_effect(writer: Writer, gl: LocalGitLab, kind: str) -> None:
    gl.faults.add(NOTES, kind)
    with pytest.raises(httpx.RemoteProtocolError):
        writer.write()
    assert writer.written() == 1


def test_an_operation_is_slow(writer: Writer, gl: LocalGitLab) -> None:
    gl.faults.add(NOTES, "slow", seconds=0.15)
    started = time.monotonic()
    assert writer.write().status_code == 201
    assert time.monotonic() - started >= 0.15


def test_some_calls_pass_before_a_fault_strikes(writer: Writer, gl: LocalGitLab) -> None:
    gl.faults.add(NOTES, "status", status=500, skip=1)
    assert [writer.write().status_code for _ in range(3)] == [201, 500, 201]


def test_a_lasting_fault_strikes_until_it_is_cleared(writer: Writer, gl: LocalGitLab) -> None:
    fault = gl.faults.add(NOTES, "status", status=500, count=-1)
    assert {writer.write().status_code for _ in range(4)} == {500}
    assert gl.faults.clear(fault.id) == 1
    assert writer.write().status_code == 201


def test_faults_are_armed_over_http(writer: Writer, gl: LocalGitLab) -> None:
    headers = {"PRIVATE-TOKEN": gl.root_token}
    url = f"{gl.url}/-/local/faults"
    body = {"operation": NOTES, "kind": "status", "status": 500, "count": -1}
    made = httpx.post(url, json=body, headers=headers)
    assert made.status_code == 200
    assert writer.write().status_code == 500
    assert [item["struck"] for item in httpx.get(url, headers=headers).json()] == [1]
    assert httpx.delete(url, headers=headers).json() == {"cleared": 1}
    assert writer.write().status_code == 201


def test_a_fault_that_makes_no_sense_is_refused(gl: LocalGitLab) -> None:
    headers = {"PRIVATE-TOKEN": gl.root_token}
    unknown_option = {"operation": "*", "kind": "slow", "x": 1}
    for body in ({"operation": "*", "kind": "nonsense"}, {"kind": "slow"}, unknown_option):
        assert httpx.post(f"{gl.url}/-/local/faults", json=body, headers=headers).status_code == 400


def test_only_the_administrator_arms_faults(writer: Writer, gl: LocalGitLab) -> None:
    for headers, status in (({}, 401), ({"PRIVATE-TOKEN": writer.scene.seeder.service.token}, 403)):
        answer = httpx.post(f"{gl.url}/-/local/faults", json={}, headers=headers)
        assert answer.status_code == status


def test_calls_are_counted_by_operation(writer: Writer, gl: LocalGitLab) -> None:
    gl.faults.reset_calls()
    writer.write()
    writer.scene.service.post(f"{writer.scene.mr_path}/notes", json={})
    shown = httpx.get(f"{gl.url}/-/local/calls", headers={"PRIVATE-TOKEN": gl.root_token}).json()
    assert shown[NOTES] == {"count": 2, "by_status": {"201": 1, "400": 1}}
    assert gl.faults.count("POST /projects/*/notes") == 2


def test_settings_are_changed_over_http(gl: LocalGitLab) -> None:
    headers = {"PRIVATE-TOKEN": gl.root_token}
    url = f"{gl.url}/-/local/settings"
    changed = httpx.put(url, json={"webhook_pause_seconds": 60}, headers=headers)
    assert changed.json()["webhook_pause_seconds"] == 60
    assert httpx.put(url, json={"nonsense": 1}, headers=headers).status_code == 400
