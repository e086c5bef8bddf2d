"""Pictures of previews on their pages, for whoever may read those."""

from __future__ import annotations

import re

import pytest

from orchestrator.pictures import AFTER_SECONDS
from tests.orchestrator.scene import World
from tests.web.house import House
from tests.web.scene import WebScene

_WEBP = b"RIFF\x00\x00\x00\x00WEBPwhatever"
_IMAGE = re.compile(r'(<a href="([^"]*)">)?<img src="([^"]*picture.webp)" ([^>]*)>')


def pictured(web: WebScene, world: World) -> str:
    """The live preview of merge request 1 gets its picture; the address of that."""
    pictures = web.parts.pictures
    wanted = pictures.next(world.now + AFTER_SECONDS)
    assert wanted is not None
    assert pictures.keep(wanted, _WEBP, world.now)
    return f"/group/tool/-/{wanted.deployment.iid}/{wanted.deployment.id}/picture.webp"


@pytest.fixture
def world(web: WebScene) -> World:
    made = World(web.parts)
    made.sees()
    made.goes_live()
    return made


def test_a_page_without_a_picture_has_no_room_for_one(web: WebScene, world: World) -> None:
    assert "<figure" not in web.get("/group/tool/-/1").text


def test_the_picture_leads_to_the_preview_and_has_its_room_and_its_words(web: WebScene, world: World) -> None:
    address = pictured(web, world)
    found = _IMAGE.search(web.get("/group/tool/-/1").text)
    assert found
    assert (found[2], found[3]) == ("https://dev-0.toolforge.org/", address)
    assert {'width="1280"', 'height="800"', 'loading="lazy"'} <= set(found[4].split())
    assert f'alt="What the preview\'s first page looked like at commit {"a" * 12}"' in found[4]


def test_what_is_down_still_shows_what_it_looked_like_and_leads_nowhere(web: WebScene, world: World) -> None:
    address = pictured(web, world)
    world.sees(state="closed")
    found = _IMAGE.search(web.get("/group/tool/-/1").text)
    assert found
    assert (found[1], found[3]) == (None, address)


def test_a_picture_is_a_picture_and_nothing_else(web: WebScene, world: World) -> None:
    answer = web.get(pictured(web, world))
    assert answer.content == _WEBP
    assert answer.headers["Content-Type"] == "image/webp"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    again = web.client.get(str(answer.url), headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_picture_is_found_under_its_own_preview_alone(web: WebScene, world: World) -> None:
    address = pictured(web, world)
    number = int(address.split("/")[-2])
    with world.another_project():
        world.sees(2)
    for wrong in (
        f"/group/tool/-/1/{number + 1}/picture.webp",
        f"/group/tool/-/2/{number}/picture.webp",
        f"/group/other/-/2/{number}/picture.webp",
        f"/group/tool/-/1/{10**30}/picture.webp",
        f"/nothing/-/1/{number}/picture.webp",
    ):
        assert web.get(wrong).status_code == 404


def test_where_pages_are_not_public_neither_is_a_picture(closed_house: House) -> None:
    world = closed_house.begins_anew()
    address = pictured(closed_house.web, world)
    with closed_house.visitor("reporter") as reporter, closed_house.visitor("guest") as guest:
        answer = reporter.get(address)
        assert answer.content == _WEBP
        assert "private" in answer.headers["Cache-Control"]
        assert guest.get(address).status_code == 403
    assert closed_house.web.get(address).status_code == 403
