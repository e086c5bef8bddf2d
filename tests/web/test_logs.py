"""Kept logs as pages, and the log of a running build as it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from orchestrator import outcome as out
from orchestrator.livelog import LiveLog
from orchestrator.outcome import Failure, KeptLog
from tests.orchestrator.scene import PASSED, World
from tests.web.scene import WebScene
from tests.web.test_pages import words_in
from web.logs import PAGE_LINES

PAGE = "/group/tool/-/1"


def keeps(world: World, log: str) -> str:
    """The build fails with this log; the address of its page."""
    world.sees(1)
    failure = Failure(stage="build", summary="no", remedy="do")
    world.steps(out.BuildStarted("b"), out.StageFailed(failure, KeptLog(log)))
    return f"{PAGE}/{world.deployment().id}/build"


def test_each_line_has_a_link_and_colours_are_classes(web: WebScene) -> None:
    path = keeps(World(web.parts), "first\n\x1b[31m<b>second</b>\x1b[0m")
    text = web.get(path).text
    assert f'<li id="L2"><a href="{path}?line=2#L2"' in text
    assert '<span class="ansi-red">&lt;b&gt;second&lt;/b&gt;</span>' in text


def test_a_long_log_is_shown_part_by_part_from_its_end_and_a_line_is_found(web: WebScene) -> None:
    path = keeps(World(web.parts), "\n".join(f"line {number}" for number in range(1, 2 * PAGE_LINES + 11)))
    assert 'id="L4010"' in web.get(path).text
    assert 'id="L1"' not in web.get(path).text
    assert 'id="L1"' in web.get(f"{path}?page=1").text
    assert 'id="L2500"' in web.get(f"{path}?line=2500").text
    for odd in ("?page=0", "?page=-3", "?page=99", "?page=x", "?line=0", f"?line={10**20}", "?line=-1"):
        assert web.get(path + odd).status_code == 200


def test_a_search_shows_the_lines_with_the_words_and_leads_to_their_place(web: WebScene) -> None:
    path = keeps(World(web.parts), "a\nError: x\nb\n\x1b[31merr\x1b[0mor: <y>")
    answer = web.get(f"{path}?q=ERROR")
    assert 'id="L2"' in answer.text
    assert 'id="L4"' in answer.text
    assert 'id="L1"' not in answer.text
    assert "2 lines with" in words_in(answer.text)
    assert "<y>" not in answer.text
    assert "<script>alert" not in web.get(f"{path}?q=<script>alert(1)</script>").text


def test_a_line_of_a_megabyte_is_text_and_cut(web: WebScene) -> None:
    path = keeps(World(web.parts), "<script>" + "z" * 1_000_000)
    answer = web.get(path)
    assert len(answer.text) < 20_000
    assert "more characters" in answer.text


@dataclass
class Building:
    """A web process with a Redis, in which the build of merge request 1 runs."""

    web: WebScene
    world: World

    @property
    def path(self) -> str:
        return f"{PAGE}/{self.world.deployment().id}/build"

    def writes(self, *lines: str) -> None:
        """A worker passes on what the build writes."""
        parts = self.web.parts
        LiveLog(parts.redis, parts.settings.queue_prefix, self.world.deployment().id).add(lines)

    def ends(self) -> None:
        failure = Failure(stage="build", summary="no", remedy="do")
        self.world.step(out.StageFailed(failure, KeptLog("kept")))


@pytest.fixture
def building(serve: Callable[..., WebScene], redis_url: str) -> Building:
    web = serve(redis_url=redis_url)
    web.parts.redis.flushall()
    world = World(web.parts)
    world.sees(1)
    world.step(out.BuildStarted("b"))
    return Building(web, world)


def test_lines_arrive_while_the_build_runs_and_the_end_is_told(building: Building) -> None:
    building.writes("\x1b[31mred\x1b[0m <b>")
    page = building.web.get(building.path).text
    assert '<span class="ansi-red">red</span> &lt;b&gt;' in page, "also without JavaScript"
    found: list[tuple[str, object]] = []
    with building.web.client.stream("GET", f"{building.path}/live", timeout=20) as answer:
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            if line.startswith("data: "):
                found.append((name, json.loads(line.removeprefix("data: "))))
                if name == "lines":
                    building.ends()
    assert found == [("lines", [[1, [["ansi-red", "red"], ["", " <b>"]]]]), ("end", {})]
    assert building.web.get(f"{building.path}/live").status_code == 204
    assert "kept" in building.web.get(building.path).text


@pytest.mark.parametrize("place", ["", "0-0", "$", "-1", "9" * 50 + "-0", "x\u00b2-1", "+"])
def test_any_place_to_go_on_from_is_borne(building: Building, place: str) -> None:
    building.writes("line")
    with building.web.client.stream("GET", f"{building.path}/live", params={"after": place}) as answer:
        assert answer.status_code == 200
        assert any(line == "event: lines" for line in answer.iter_lines())


def test_the_log_of_a_tool_that_is_live_is_followed_from_its_page(building: Building) -> None:
    building.world.steps(out.BuildSucceeded("image"), out.JobStarted(), out.JobReady(), PASSED)
    web, deployment_id = building.web, building.world.deployment().id
    path = f"{PAGE}/{deployment_id}/job"
    assert f'href="{path}"' in web.get(PAGE).text
    parts = web.parts
    LiveLog(parts.redis, parts.settings.queue_prefix, deployment_id, "job").add(["<i>hello"])
    page = web.get(path).text
    assert "&lt;i&gt;hello" in page
    assert "The tool runs; its lines appear here" in words_in(page)
    assert parts.redis.llen(f"{parts.settings.queue_prefix}:toolforge") == 1, "a worker is called"
    told: list[str] = []
    with web.client.stream("GET", f"{path}/live", timeout=20) as answer:
        for line in answer.iter_lines():
            told.append(line)
            if line == "event: lines":
                building.world.sees(1, state="closed")
    assert [line for line in told if line.startswith("event: ")] == ["event: lines", "event: end"]
    assert web.get(f"{path}/live").status_code == 204
    assert web.get(path).status_code == 404
    assert web.get(f"{PAGE}/{deployment_id}/build/live").status_code == 204


def test_whoever_looks_has_a_worker_called(building: Building) -> None:
    for _ in range(10):
        building.web.get(building.path)
    parts = building.web.parts
    assert parts.redis.llen(f"{parts.settings.queue_prefix}:toolforge") == 1, "ten who look make one call"


def test_without_redis_the_page_of_a_running_build_is_there_all_the_same(web: WebScene) -> None:
    world = World(web.parts)
    world.sees(1)
    world.step(out.BuildStarted("b"))
    assert web.get(f"{PAGE}/{world.deployment().id}/build").status_code == 200
