"""The command line of a maintainer, on a machine that has nothing but a token, against a real web process.

What only looks is the same on the machine of the service, with its settings and no server.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from werkzeug.serving import make_server

from deploy.cli import cli
from deploy.stack import settings_environment
from orchestrator import outcome as out
from orchestrator.errors import PreviewError
from orchestrator.settings import PREFIX
from tests.background import Background
from tests.conftest import free_port
from tests.orchestrator.scene import A, B
from tests.orchestrator.test_opinion import BUILDS, REFUSED
from tests.web.house import House
from tests.web.test_tokens import made

NAME = "group/tool!1"


@dataclass(frozen=True)
class Laptop:
    """Has no settings and no database, but perhaps a token; without a server, the settings of the service."""

    server: str
    folder: Path
    token: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    def _line(self, verb: str, *arguments: str) -> list[str]:
        return ["preview", verb, *(("--server", self.server) if self.server else ()), *arguments]

    def runs(self, verb: str, *arguments: str) -> Result:
        """Run one command."""
        given = {"COLUMNS": "200", f"{PREFIX}TOKEN": self.token, **self.settings}
        return CliRunner().invoke(cli, self._line(verb, *arguments), env=given)

    def says(self, verb: str, *arguments: str) -> str:
        """What a command that went well says."""
        done = self.runs(verb, *arguments)
        assert done.exception is None, done.exception
        return done.output

    def is_refused(self, verb: str, *arguments: str) -> str:
        """The one sentence that `main` ends with; nothing was said before it."""
        done = self.runs(verb, *arguments)
        assert isinstance(done.exception, PreviewError), done.exception
        assert done.output == ""
        return str(done.exception)

    def as_a_process(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command as people do."""
        given = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        given |= {
            "BROWSER": f"{sys.executable} {self.folder / 'browser.py'} %s",
            f"{PREFIX}TOKEN": self.token,
            **self.settings,
        }
        command = [sys.executable, "-m", "deploy", *self._line(verb, *arguments)]
        return subprocess.run(command, env=given, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def laptop(house: House, tmp_path: Path) -> Iterator[Laptop]:
    """Of a Developer."""
    written = "import pathlib, sys; pathlib.Path(__file__).with_name('opened').write_text(sys.argv[1])"
    (tmp_path / "browser.py").write_text(written)
    with house.visitor("developer") as visitor:
        yield Laptop(house.url, tmp_path, made(visitor))


@pytest.fixture(params=["by a server", "in the database"])
def either(request: pytest.FixtureRequest, house: House, laptop: Laptop) -> Laptop:
    """That one, or the machine of the service."""
    if request.param == "by a server":
        return laptop
    return Laptop("", laptop.folder, settings=settings_environment(house.web.parts.settings))


def test_previews_are_listed(house: House, laptop: Laptop) -> None:
    told = laptop.says("list")
    for words in (NAME, "live", "https://dev-0.toolforge.org/"):
        assert words in told


def test_a_preview_is_shown(house: House, either: Laptop) -> None:
    house.world.sees(2)
    failure = out.Failure("build", "a package could not be installed", "Pin another version.", "no match")
    house.world.steps(out.BuildStarted("b2"), out.StageFailed(failure), iid=2)
    told = either.says("show", NAME)
    for words in (NAME, "Change 1", f"live, commit {A}", "https://dev-0.toolforge.org/ until "):
        assert words in told
    failed = either.says("show", "group/tool!2")
    for words in ("failed", "a package could not be installed", "Pin another version.", "no match"):
        assert words in failed


def test_what_the_latest_builder_makes_of_it_is_shown(house: House, either: Laptop) -> None:
    house.world.sees(2)
    house.world.steps(out.BuildStarted("b2"), REFUSED, out.OpinionStarted("x"), BUILDS, iid=2)
    assert "second opinion: It will build with the latest builder" in either.says("show", "group/tool!2")


def test_to_look_here_or_by_a_server_is_the_same(house: House, laptop: Laptop) -> None:
    house.world.sees(2, title="a \x1b[31m title \u202e", fork=True)
    with house.web.parts.store.write() as tx:
        tx.put_log(
            house.world.deployment().id, "build", "\x1b[31mone\n\n\x07two", is_truncated=False, now=1.0
        )
    here = Laptop("", laptop.folder, settings=settings_environment(house.web.parts.settings))
    for words in (("show", NAME), ("show", "group/tool!2"), ("logs", NAME)):
        told = here.says(*words)
        assert told == laptop.says(*words)
        assert not {"\x1b", "\x07", "\u202e"} & set(told)
    for refused in (("logs", "group/tool!2"), ("logs", "--job", NAME), ("open", "group/tool!2")):
        assert here.is_refused(*refused) == laptop.is_refused(*refused)


def test_a_preview_is_opened_in_the_browser(house: House, laptop: Laptop, either: Laptop) -> None:
    opened = either.as_a_process("open", NAME)
    assert (opened.returncode, opened.stdout) == (0, "https://dev-0.toolforge.org/\n")
    assert (either.folder / "opened").read_text() == "https://dev-0.toolforge.org/"
    laptop.says("stop", NAME)
    refused = either.as_a_process("open", NAME)
    assert (refused.returncode, refused.stderr) == (2, "Error: Nothing of group/tool!1 is up.\n")


def test_logs_are_printed_line_by_line(house: House, either: Laptop) -> None:
    assert "There is no such log" in either.is_refused("logs", NAME)
    with house.web.parts.store.write() as tx:
        number = house.world.deployment().id
        tx.put_log(number, "build", "one\ntwo", is_truncated=False, now=1.0)
        tx.put_log(number, "job", "served", is_truncated=False, now=1.0)
    assert either.says("logs", NAME) == "one\ntwo\n"
    assert either.says("logs", "-f", NAME) == either.says("logs", NAME)
    assert either.says("logs", "--job", NAME) == "served\n"


def test_what_is_done_is_done_by_the_tokens_person(house: House, laptop: Laptop) -> None:
    world = house.world
    assert "It is kept." in laptop.says("keep", NAME, "2d")
    kept = world.preview().keep_until
    assert kept is not None
    laptop.says("keep", NAME, "1h")
    assert (world.preview().keep_until or 0) < kept
    laptop.says("release", NAME)
    assert world.preview().keep_until is None
    assert f"Commit {A[:12]} is to be built." in laptop.says("redeploy", NAME)
    assert (world.deployment().actor, world.deployment().sha) == ("dana", A)
    assert "It is being taken down." in laptop.says("stop", NAME)
    assert world.preview().stop_reason == "stopped by dana"


def test_a_strangers_commit_is_not_approved_without_its_name(house: House, laptop: Laptop) -> None:
    house.world.sees(2, B, fork=True)
    assert f"look at {B}, then name it with --sha" in laptop.is_refused("redeploy", "group/tool!2")
    assert "is not the head" in laptop.is_refused("redeploy", "group/tool!2", "--sha", A)
    assert house.world.deployment(2).step == "await approval"
    laptop.says("redeploy", "group/tool!2", "--sha", B)
    assert house.world.deployment(2).step == "read file"


@pytest.mark.parametrize("name", ["group/tool!9", "group/tool", "!1", "no/such!1", "../..!1", "a?b#c!1"])
@pytest.mark.parametrize("verb", ["show", "logs", "open"])
def test_what_is_not_there_is_refused_with_where_to_look(either: Laptop, verb: str, name: str) -> None:
    assert f"There is no preview '{name}'" in either.is_refused(verb, name)


def test_without_a_token_that_counts_one_is_told_where_they_are_made(house: House, laptop: Laptop) -> None:
    for token in ("", "tfp_wrong"):
        words = Laptop(house.url, laptop.folder, token).is_refused("stop", NAME)
        assert f"Set TOOLFORGE_PREVIEW_TOKEN to a token; they are made at {house.url}/tokens" in words
    assert NAME in Laptop(house.url, laptop.folder).says("list"), "what everybody may read needs none"
    assert house.world.states() == ["live"]


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("http://previews.example.org", "use https"),
        ("previews.example.org", "is no address of a server"),
        ("file:///etc", "is no address of a server"),
        ("http://127.0.0.1:{port}", "does not answer"),
        ("{gitlab}", "not the API of a Toolforge Preview"),
    ],
)
def test_a_server_that_cannot_be_asked_is_told(house: House, laptop: Laptop, server: str, words: str) -> None:
    given = server.format(port=free_port(), gitlab=house.gitlab.url)
    assert words in Laptop(given, laptop.folder, "tfp_secret").is_refused("list")


def test_whatever_a_server_says_only_text_reaches_the_terminal(laptop: Laptop, house: House) -> None:
    """Another server than ours, which takes nothing out."""
    evil = "\x07evil\u202e"
    told = house.web.get("/api/v1/projects/group/tool/-/previews/1").json()
    told |= {"title": evil, "address": "javascript:alert(1)"}
    app = Flask(__name__)
    app.add_url_rule("/api/v1/previews", "list", lambda: {"items": [told], "next": None})
    app.add_url_rule("/api/v1/projects/group/tool/-/previews/1", "one", lambda: told)
    app.add_url_rule("/api/v1/deployments/<n>/logs/build", "log", lambda n: {"number": 1, "text": evil})
    app.add_url_rule("/api/v1/deployments/<n>", "deployment", lambda n: {"id": "no number"})
    server = make_server("127.0.0.1", 0, app, threaded=True)
    with Background(server):
        asking = Laptop(f"http://127.0.0.1:{server.port}", laptop.folder, "tfp_x")
        for verb in (["list"], ["logs", NAME]):
            words = asking.says(*verb)
            assert "evil" in words
            assert not {"\x07", "\u202e"} & set(words)
        assert "Nothing of group/tool!1 is up" in asking.is_refused("open", NAME)
        assert "or of another version" in str(asking.runs("show", NAME).exception)
