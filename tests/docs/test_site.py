"""The site of the documents is built without a warning, and asks nobody else for anything.

Needs what `make site` installs, and Debian's chromium; skipped where they are not.
"""

from __future__ import annotations

import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, REPOSITORY, blocks
from tests.web.browser import CHROMIUM, chromium, opened

_MKDOCS = REPOSITORY / ".docs" / "bin" / "mkdocs"
_DRAWN = [path for path in sorted(DOCS.rglob("*.md")) if "```mermaid" in path.read_text()]

_SCRIPTS = list((REPOSITORY / "build").glob("mermaid-*.js"))

pytestmark = pytest.mark.skipif(not (_MKDOCS.exists() and _SCRIPTS), reason="`make site` was not run")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built anew; the script that draws is taken from where `make site` has put it."""
    build = Path(tmp_path_factory.mktemp("build"))
    for kept in _SCRIPTS:
        (build / kept.name).symlink_to(kept)
    command = [str(_MKDOCS), "build", "--strict", "--site-dir", str(build / "site")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return build / "site"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_page_is_there_and_nothing_of_the_makers(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    made = {path.relative_to(site) for path in site.rglob("*") if path.is_file()}
    assert pages <= made
    assert not {path for path in made if path.suffix == ".py" or path.name == "requirements.txt"}


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_diagrams_are_drawn_and_nobody_else_is_asked(address: str) -> None:
    assert len(_DRAWN) >= 2
    with chromium() as browser:
        for path in [*_DRAWN, DOCS / "tutorial.md", DOCS / "adr" / "0001-the-database-is-the-truth.md"]:
            wanted = sum(block.language == "mermaid" for block in blocks(path.read_text()))
            with opened(browser, address) as page:
                page.goto(f"/{path.relative_to(DOCS).with_suffix('.html')}")
                page.wait_for_function(
                    "wanted => document.querySelectorAll('code[data-processed] > svg').length == wanted",
                    arg=wanted,
                )
                assert page.get_by_text("Syntax error").count() == 0
