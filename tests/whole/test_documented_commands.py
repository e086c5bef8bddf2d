"""Every command in the documents' blocks is run, as it stands there, on a whole stack.

Names in them stand for those of this stack: see :meth:`Operator.translated`.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.cli import cli
from deploy.follow import connect, wait_for
from deploy.local.seed import MergeRequest, Person, Project
from deploy.stack import settings_environment
from orchestrator.pool import AccountState
from orchestrator.preview import State
from orchestrator.settings import TOKEN_VARIABLE
from orchestrator.tokens import Scope
from tests.docs.blocks import lines_of, parts_of
from tests.docs.test_commands import PAGES, ours
from tests.whole.conftest import Stacks
from tests.whole.scene import LACKS_PYTHON, Scene, server

#: The third merge request of a project, and those of others, ask for a Python that is not there.
_SCENARIO = {
    "builds": [
        {"match": {"source_url": "*other*"}, "outcome": "failure", "log": LACKS_PYTHON},
        {"match": {"image_name": "mr3-*"}, "outcome": "failure", "log": LACKS_PYTHON},
        {"size": "20Mi", "log": ["built"]},
    ],
}
#: Where nothing may run (``test_backup.py``), and what has a stack of its own (``test_command_line.py``).
ELSEWHERE = {"restore", "try"}


class Operator:
    """Types what the documents say, each once."""

    def __init__(self, scene: Scene, project: Project, folder: Path) -> None:
        self.scene = scene
        self.folder = folder
        self.typed: set[str] = set()
        self.incident = ""
        self.commit = ""
        self._project = project
        self._opened: list[MergeRequest] = []
        with scene.stack.parts.store.read() as tx:
            account = tx.account_named("dev-3")
            assert account is not None
            self._files = dict(tx.credentials(account.id))

    def types(self, command: str, *, given: str = "", person: str | None = None) -> str:
        """What one of the documents' commands says; fails where it does."""
        command = shlex.join(shlex.split(command))
        assert command in documented(), f"no document has {command!r}"
        self.typed.add(command)
        environment = {
            **settings_environment(self.scene.stack.parts.settings),
            TOKEN_VARIABLE: person,
            "DEV1_CRT": Path(self._files["cert"]).read_text(),
            "DEV1_KEY": Path(self._files["key"]).read_text(),
        }
        words = shlex.split(self.translated(command))
        result = CliRunner().invoke(cli, words, env=environment, input=given)
        assert result.exit_code == 0, f"{command}: {result.output} {result.exception!r}"
        return result.output

    def opens(
        self, name: str, files: dict[str, str] | None = None, *, project: Project | None = None
    ) -> MergeRequest:
        """A merge request of the project, or of another one that is connected for it."""
        seeder = self.scene.stack.seeder
        if project is not None:
            seeder.push_to_branch(project, "main", {"README.md": "A tool.\n"}, "First")
            connect(self.scene.stack, project.path)
        target = project or self._project
        seeder.push_to_branch(target, name, server(name) | (files or {}), "A change")
        self._opened.append(seeder.open_merge_request(target, name, "A change"))
        return self._opened[-1]

    def closes_all(self) -> None:
        """Nobody wants anything any more."""
        seeder = self.scene.stack.seeder
        for project_id in {one.project.id for one in self._opened}:
            # Those that were opened as corrections, too.
            path = f"/projects/{project_id}/merge_requests"
            for one in seeder.api("GET", f"{path}?state=opened"):
                seeder.api("PUT", f"{path}/{one['iid']}", state_event="close")

    def token_of(self, person: Person) -> str:
        """A token that the person has made on our pages."""
        return self.scene.stack.parts.tokens.make(
            *(person.id, person.username),
            name="documents",
            scopes=set(Scope),
            seconds=3600.0,
            now=time.time(),
        )

    def is_live(self, merge_request: MergeRequest) -> bool:
        """Whether its newest deployment is up."""
        view = self.scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
        return view is not None and view.newest is not None and view.newest.state is State.LIVE

    def state(self) -> AccountState:
        """That of the account that the documents speak of."""
        with self.scene.stack.parts.store.read() as tx:
            account = tx.account_named("dev-3")
        assert account is not None
        return account.state

    def translated(self, command: str) -> str:
        """The command with this stack's names."""
        path, places = self._project.path, self.scene.stack.places
        certificate = "/etc/toolforge-preview/preview-dev-4/client"
        names = {
            "https://gitlab.wikimedia.org/toolforge-repos/my-tool": f"{places.gitlab_url}/{path}",
            "toolforge-repos/my-tool!7": f"{path}!2",
            "toolforge-repos/my-tool": path,
            "tools/citation-counter": path,
            "--group toolforge-repos": f"--group {path.rpartition('/')[0]}",
            f"{certificate}.crt": self._files["cert"],
            f"{certificate}.key": self._files["key"],
            "preview-dev-1": "dev-1",
            "preview-dev-4": "dev-3",
            "DEV-TOOL": "dev-3",
            "https://previews.example.org": places.web_url,
            "$TOOLFORGE_PREVIEW_PUBLIC_URL": places.web_url,
            "0c1f2a9e": self.incident,
            "--sha COMMIT": f"--sha {self.commit}",
            "/data/project/TOOL/copy-1": str(self.folder / "copy-of-a-tool"),
            "/var/backups/": f"{self.folder}/",
            "backup FILE": f"backup {self.folder / 'copy'}",
        }
        for name, real in names.items():
            command = command.replace(name, real)
        return command


@cache
def documented() -> frozenset[str]:
    """Every command in a block of a document, as one would type it; not the forms that commands may have."""
    lines = (line for path in PAGES for line in lines_of(path.read_text()))
    calls = (arguments for line in lines for part in parts_of(line) for arguments in ours(part))
    return frozenset(shlex.join(words) for words in calls if not any("[" in word for word in words))


@pytest.fixture(scope="module")
def scene(stacks: Stacks) -> Iterator[Scene]:
    settings = {"check_seconds": 2.0, "stable_seconds": 0.1, "quiet_seconds": 0.2}
    with stacks("dev-1", "dev-2", "dev-3", scenario=_SCENARIO, time_scale=0.05, **settings) as stack:
        yield Scene(stack)


@pytest.fixture
def operator(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """Somebody in a folder with the files that the documents speak of."""
    monkeypatch.chdir(tmp_path)
    seeder = scene.stack.seeder
    project = seeder.project("my-tool")
    files = {name: str(text) for name, text in server().items()}
    seeder.push_to_branch(project, "main", files, "First")
    made = Operator(scene, project, tmp_path)
    with scene.stack.parts.store.read() as tx:
        accounts = [(one.name, tx.credentials(one.id)) for one in tx.accounts()]
    tables = [
        f"[[account]]\ntool = {json.dumps(name)}\n"
        f"cert = {json.dumps(places['cert'])}\nkey = {json.dumps(places['key'])}\n"
        for name, places in accounts
    ]
    Path("pool.toml").write_text("\n".join(tables))
    Path("projects.txt").write_text(f"{project.path}\n")
    Path(".toolforge-preview.yaml").write_text("config_version: v1beta1\n")
    Path("ours.csv").write_text(
        "at,project,merge_request,who,check_only,build_seconds,image_bytes\n0,tool,1,person,no,60,20000000\n"
    )
    return made


def test_every_command_of_the_documents_is_run(operator: Operator, scene: Scene) -> None:
    for part in (_without_a_service, _projects, _previews, _incidents, _stops, _accounts, _the_end):
        part(operator, scene)
    left = {command for command in documented() - operator.typed if command.split()[0] not in ELSEWHERE}
    assert left == set()


def _without_a_service(operator: Operator, scene: Scene) -> None:
    types = operator.types
    types("--version")
    types("config check .toolforge-preview.yaml")
    types("simulate --accounts 3-6")
    types("simulate --accounts 1-10 --chart waits.svg")
    assert Path("waits.svg").read_text().startswith("<")
    types("simulate --accounts 4-8 --trace ours.csv")


def _projects(operator: Operator, scene: Scene) -> None:
    types = operator.types
    types("project add toolforge-repos/my-tool")
    types("project add https://gitlab.wikimedia.org/toolforge-repos/my-tool")
    types("project add toolforge-repos/my-tool --check /healthz=200")
    types("project add --group toolforge-repos")
    types("project add --group toolforge-repos --check /healthz=200")
    types("project add --file projects.txt")
    types("project set toolforge-repos/my-tool --forks never")
    types("project set toolforge-repos/my-tool --build merged-result")
    types("project set toolforge-repos/my-tool --drafts wait --ignore-path 'docs/*' --no-label no-preview")
    shown = types("project show toolforge-repos/my-tool")
    for words in ("never", "merged-result", "docs/*", "no-preview"):
        assert words in shown
    assert "my-tool" in types("project list")
    assert types("project rotate-secret toolforge-repos/my-tool")


def _previews(operator: Operator, scene: Scene) -> None:
    types, seeder = operator.types, scene.stack.seeder
    # What was set for the sake of the words; the checks of the documents are not those of this tool.
    types("project remove toolforge-repos/my-tool")
    types("project add toolforge-repos/my-tool")
    first, second = (operator.opens(name) for name in ("first", "second"))
    for merge_request in (first, second):
        assert scene.verdict(merge_request).state is State.LIVE
    operator.commit = second.sha
    developer, maintainer = operator.token_of(seeder.developer), operator.token_of(seeder.service)
    for command in ("preview list", "preview list --server https://previews.example.org"):
        assert f"{first.project.path}!1" in types(command, person=developer)
    for number in (1, 2):
        command = f"preview show tools/citation-counter!{number} --server $TOOLFORGE_PREVIEW_PUBLIC_URL"
        assert "live" in types(command, person=developer)
    command = "preview logs tools/citation-counter!1 --server $TOOLFORGE_PREVIEW_PUBLIC_URL"
    assert "built" in types(command, person=developer)
    for verb in ("keep tools/citation-counter!2 48h", "release tools/citation-counter!2"):
        types(f"preview {verb} --server $TOOLFORGE_PREVIEW_PUBLIC_URL", person=developer)
    server_option = "--server https://previews.example.org"
    types(f"preview redeploy toolforge-repos/my-tool!7 --sha COMMIT {server_option}", person=developer)
    wait_for("it to be live again", lambda: operator.is_live(second), seconds=60.0)
    secret = f"toolforge-repos/my-tool API_KEY {server_option}"
    types(f"project secret set {secret}", given="a-key-of-somebody\na-key-of-somebody\n", person=maintainer)
    listed = f"project secret list toolforge-repos/my-tool {server_option}"
    assert "API_KEY" in types(listed, person=maintainer)
    types(f"project secret remove {secret}", person=maintainer)
    assert "API_KEY" not in types(listed, person=maintainer)
    types("preview stop tools/citation-counter!2 --server $TOOLFORGE_PREVIEW_PUBLIC_URL", person=developer)
    wait_for("its end", lambda: scene.account(second) is None, seconds=60.0)


def _incidents(operator: Operator, scene: Scene) -> None:
    types = operator.types
    asks = {".python-version": "3.14\n"}
    others = [scene.stack.seeder.project(f"other-{number}") for number in (1, 2)]
    failing = [operator.opens("third", asks), *(operator.opens("other", asks, project=one) for one in others)]
    for merge_request in failing:
        assert scene.verdict(merge_request).state is State.FAILED
    (line,) = [line for line in types("incident list").splitlines() if "3 projects" in line]
    operator.incident = line.split()[0]
    assert "Python 3.14" in types("incident show 0c1f2a9e")
    assert " -> 3.13" in types("incident pins 0c1f2a9e --to 3.13")
    assert "/merge_requests/" in types("incident pins 0c1f2a9e --to 3.13 --open-merge-requests")


def _stops(operator: Operator, scene: Scene) -> None:
    types, stopped = operator.types, scene.stack.parts.views.switches
    for command in (
        "switch freeze --why 'maintenance until 14:00 UTC'",
        "switch freeze --why 'Toolforge maintenance until 14:00 UTC'",
        "switch pause --why 'looking into leaked credentials'",
        "switch pause --why 'moving, back at 10:00 UTC'",
    ):
        types(command)
        assert shlex.split(command)[-1] in types("switch list")
        types("switch resume")
        assert stopped() == []
    types("switch pause --project toolforge-repos/my-tool --why 'its builds hang'")
    types("switch resume --project toolforge-repos/my-tool")
    assert "its builds hang" in types("switch list --history")


def _accounts(operator: Operator, scene: Scene) -> None:
    types = operator.types
    operator.closes_all()
    types("project remove toolforge-repos/my-tool")
    wait_for("dev-3 to be free", lambda: operator.state() is AccountState.FREE, seconds=60.0)
    types("pool drain preview-dev-4")
    wait_for("it to be drained", lambda: operator.state() is AccountState.DRAINED, seconds=60.0)
    types("pool remove preview-dev-4")
    types(
        "pool add preview-dev-4 --cert /etc/toolforge-preview/preview-dev-4/client.crt "
        "--key /etc/toolforge-preview/preview-dev-4/client.key"
    )
    wait_for("it to be clean", lambda: operator.state() is AccountState.FREE, seconds=60.0)
    assert "free" in types("pool show preview-dev-4")
    assert "dev-1" in types("pool show preview-dev-1")
    types("pool drain preview-dev-4")
    types("pool remove preview-dev-4")
    types("pool add DEV-TOOL --env DEV1")
    # The workers have no such variables.
    wait_for("trouble", lambda: operator.state() is AccountState.QUARANTINED, seconds=60.0)
    types("pool clean preview-dev-4 --all", given="dev-3\ny\n")
    types("pool apply pool.toml --dry-run")
    types("pool apply pool.toml")
    wait_for("it to be free", lambda: operator.state() is AccountState.FREE, seconds=60.0)


def _the_end(operator: Operator, scene: Scene) -> None:
    types = operator.types
    for command in (
        "backup FILE",
        "backup copy-1",
        "backup /data/project/TOOL/copy-1",
        "backup /var/backups/toolforge-preview-2026-03-01",
    ):
        assert "rows are in" in types(command)
    types("doctor")
