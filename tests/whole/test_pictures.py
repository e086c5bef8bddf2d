"""What is live is pictured by a worker; what the tool asks for elsewhere meanwhile it does not get."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from deploy.follow import wait_for
from orchestrator.pictures import HEIGHT, WIDTH
from tests.web.browser import CHROMIUM, chromium, opened
from tests.whole.conftest import Stacks
from tests.whole.scene import Scene, server

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

#: Gold when the service's own page cannot be had from the tool's, else red.
_CURIOUS = """
import http.server, os

PAGE = b'''<!doctype html><title>x</title><body><script>
fetch("%s", {mode: "no-cors"}).then(() => "red", () => "gold")
  .then(colour => document.body.style.background = colour);
</script>'''

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""
_COLOUR = """async () => {
  const picture = document.querySelector("#picture img");
  await picture.decode();
  const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
  const drawing = canvas.getContext("2d");
  drawing.drawImage(picture, 600, 400, 1, 1, 0, 0, 1, 1);
  return [picture.naturalWidth, picture.naturalHeight, ...drawing.getImageData(0, 0, 1, 1).data];
}"""


@pytest.fixture
def scene(stacks: Stacks) -> Iterator[Scene]:
    with stacks("dev-1", chromium=CHROMIUM) as stack:
        yield Scene(stack)


def test_a_live_previews_page_shows_what_it_looks_like(scene: Scene) -> None:
    files = server() | {"app.py": _CURIOUS % scene.stack.places.web_url}
    merge_request = scene.opens(files)
    assert scene.verdict(merge_request).state == "live"
    path = f"/{merge_request.project.path}/-/{merge_request.iid}"
    address = f"{scene.stack.places.web_url}{path}"
    wait_for("the picture", lambda: "picture.webp" in httpx.get(address, trust_env=False).text)
    with chromium() as browser, opened(browser, scene.stack.places.web_url) as page:
        page.goto(path)
        width, height, *colour = page.evaluate(_COLOUR)
        assert (width, height) == (WIDTH, HEIGHT)
        red, green, blue, _ = colour
        assert red > 245
        assert 200 < green < 230
        assert blue < 20
