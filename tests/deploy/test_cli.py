"""Bad use of the command line: a clear sentence that names what to do, and nothing is changed."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from deploy.cli import cli
from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import DEVELOPER, MAINTAINER, REPORTER, Project, Seeder
from deploy.local.toolforge import LocalToolforge
from orchestrator import outcome as out
from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.errors import PreviewError
from orchestrator.pool import Account, AccountState
from orchestrator.records import Kind
from orchestrator.settings import PREFIX, Settings, load_settings
from orchestrator.signing import Trusted, refusal, trusted
from orchestrator.toolforge import AccountClient, JobSpec, Toolforge
from tests.orchestrator.scripted import Scripted


@dataclass(frozen=True)
class Told:
    """How a command ended: its exit code, and all that it said."""

    code: int
    words: str


class CommandLine:
    """Runs commands on a database of its own."""

    def __init__(self, database_url: str, **settings: str) -> None:
        self.parts = Parts(load_settings(database_url=database_url, gitlab_token="none"))
        values = {"database_url": database_url} | settings
        self.environment = {f"{PREFIX}{name.upper()}": value for name, value in values.items()}

    def __call__(self, *arguments: str, **more: str) -> Told:
        """Run one command as `main` does."""
        with warnings.catch_warnings():
            # A command leaves its connections to the end of its process; here they go now.
            warnings.simplefilter("ignore", ResourceWarning)
            result = CliRunner().invoke(cli, list(arguments), env={**self.environment, **more})
            gc.collect()
        if isinstance(result.exception, PreviewError):
            return Told(2, f"{result.output}Error: {result.exception}")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Told(result.exit_code, result.output)

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, but for the calls that were counted."""
        with self.parts.store.engine.connect() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(select(table))]
                for table in t.metadata.sorted_tables
                if table is not t.tally
            }

    def refuses(self, *arguments: str, **more: str) -> str:
        """What a refused command says; fails when it was not refused, or changed something."""
        before = self.everything()
        told = self(*arguments, **more)
        assert told.code == 2, told
        assert self.everything() == before
        return told.words


@pytest.fixture(scope="module")
def toolforge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalToolforge]:
    with LocalToolforge(tmp_path_factory.mktemp("toolforge"), ["dev-1", "dev-2"], "synthetic") as running:
        yield running


@pytest.fixture(scope="module")
def gitlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGitLab]:
    with LocalGitLab(state_dir=tmp_path_factory.mktemp("gitlab")) as running:
        yield running


@pytest.fixture(scope="module")
def seeder(gitlab: LocalGitLab) -> Iterator[Seeder]:
    with Seeder(gitlab.url, gitlab.root_token) as opened:
        yield opened


@pytest.fixture
def command(
    database_url: str, toolforge: LocalToolforge, gitlab: LocalGitLab, seeder: Seeder
) -> Iterator[CommandLine]:
    made = CommandLine(
        database_url,
        toolforge_url=toolforge.gateway_url,
        toolforge_ca_file=str(toolforge.ca_file),
        gitlab_url=gitlab.url,
        gitlab_token=seeder.service.token,
    )
    yield made
    made.parts.close()


def certificate(toolforge: LocalToolforge, tool: str) -> Mapping[str, str]:
    home = toolforge.tool_home(tool) / ".toolskube"
    return {"--cert": str(home / "client.crt"), "--key": str(home / "client.key")}


def options(given: Mapping[str, str]) -> list[str]:
    return [word for pair in given.items() for word in pair]


# --- projects -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("healthz", "is no path"),
        ("healthz=200", "is no path"),
        ("//elsewhere.example.org/=200", "is no path"),
        ("http://elsewhere.example.org/", "is no path"),
        ("/a b=200", "is no path"),
        ("/x#y", "is no path"),
        ("", "is no path"),
        ("/=999", "is no HTTP status"),
        ("/=ok", "is no HTTP status"),
        ("/=20", "is no HTTP status"),
        ("/=-200", "is no HTTP status"),
    ],
)
def test_a_wrong_check_is_refused_with_what_is_wrong_about_it(
    command: CommandLine, check: str, words: str
) -> None:
    assert words in command.refuses("project", "add", "tools/some-tool", "--check", check)


def test_a_project_that_gitlab_does_not_know_is_refused(command: CommandLine) -> None:
    words = command.refuses("project", "add", "tools/no-such-tool")
    assert "GitLab knows no project 'tools/no-such-tool'" in words


def test_a_token_that_gitlab_refuses_is_told(command: CommandLine) -> None:
    words = command.refuses("project", "add", "tools/x", TOOLFORGE_PREVIEW_GITLAB_TOKEN="wrong-token")
    assert "scope api" in words
    assert "wrong-token" not in words


def a_token(seeder: Seeder, name: str, *, scopes: list[str], level: int, project: Project) -> str:
    """A token of a new user with a role in one project."""
    email = f"{name}@tools.example"
    user = seeder.api("POST", "/users", username=name, name=name, email=email)["id"]
    seeder.api("POST", f"/projects/{project.id}/members", user_id=user, access_level=level)
    path = f"/users/{user}/personal_access_tokens"
    return str(seeder.api("POST", path, name="weak", scopes=scopes)["token"])


#: A missing scope, and a role that may not make webhooks.
TOO_WEAK = [
    (["read_api"], MAINTAINER),
    (["read_user"], MAINTAINER),
    (["api"], DEVELOPER),
    (["api"], REPORTER),
]


@pytest.mark.parametrize(("scopes", "level"), TOO_WEAK)
def test_a_token_that_is_too_weak_is_told_what_it_needs_and_connects_nothing(
    command: CommandLine, seeder: Seeder, scopes: list[str], level: int
) -> None:
    project = seeder.project(f"weak-{scopes[0]}-{level}")
    token = a_token(seeder, f"new-{scopes[0]}-{level}", scopes=scopes, level=level, project=project)
    words = command.refuses("project", "add", project.path, TOOLFORGE_PREVIEW_GITLAB_TOKEN=token)
    assert f"The GitLab token may not connect '{project.path}'" in words
    assert "needs the scope api, and its user the Maintainer role" in words
    assert "make such a token" in words
    assert token not in words
    assert seeder.api("GET", f"/projects/{project.id}/hooks") == []


@pytest.mark.parametrize(("scopes", "level"), TOO_WEAK)
def test_a_token_that_is_too_weak_changes_nothing_of_a_project_that_is_connected(
    command: CommandLine, seeder: Seeder, scopes: list[str], level: int
) -> None:
    project = seeder.project(f"strong-{scopes[0]}-{level}")
    assert command("project", "add", project.path, "--check", "/=200").code == 0
    hooks = seeder.api("GET", f"/projects/{project.id}/hooks")
    token = a_token(seeder, f"old-{scopes[0]}-{level}", scopes=scopes, level=level, project=project)
    command.refuses(
        "project", "add", project.path, "--check", "/new=204", TOOLFORGE_PREVIEW_GITLAB_TOKEN=token
    )
    assert seeder.api("GET", f"/projects/{project.id}/hooks") == hooks


def test_a_webhook_that_may_have_got_its_new_secret_is_still_believed(
    command: CommandLine, gitlab: LocalGitLab, seeder: Seeder
) -> None:
    project = seeder.project("answer-lost")
    seeder.push_to_branch(project, "main", {"README.md": "A tool.\n"}, "First")
    with Scripted() as receiver:
        here = {"TOOLFORGE_PREVIEW_PUBLIC_URL": receiver.url}
        assert command("project", "add", project.path, **here).code == 0
        gitlab.faults.add("PUT /projects/:id/hooks/:hook_id", "lost")
        assert command("project", "add", project.path, **here).code == 2
        (hook,) = seeder.api("GET", f"/projects/{project.id}/hooks")
        seeder.api("POST", f"/projects/{project.id}/hooks/{hook['id']}/test/push_events")
        ((_, _, headers, _),) = receiver.asked
    with command.parts.store.read() as tx:
        (connected,) = tx.projects()
    assert hashlib.sha256(headers["X-Gitlab-Token"].encode()).hexdigest() in connected.secret_digests


def test_what_gitlab_uses_after_lost_answers_goes_on_to_count(
    command: CommandLine, gitlab: LocalGitLab, seeder: Seeder
) -> None:
    project = seeder.project("answers-lost")
    seeder.push_to_branch(project, "main", {"README.md": "A tool.\n"}, "First")
    key, later = "k" * 32, time.time() + 86400

    def connected() -> Trusted:
        with command.parts.store.read() as tx:
            (found,) = tx.projects()
        return trusted(found, key, later)

    def believed() -> bool:
        (hook,) = seeder.api("GET", f"/projects/{project.id}/hooks")
        receiver.asked.clear()
        seeder.api("POST", f"/projects/{project.id}/hooks/{hook['id']}/test/push_events")
        ((_, _, headers, body),) = receiver.asked
        sent = {name.lower(): value for name, value in headers.items()}
        return refusal(connected(), sent, body, time.time()) is None

    with Scripted() as receiver:
        here = {"TOOLFORGE_PREVIEW_PUBLIC_URL": receiver.url, "TOOLFORGE_PREVIEW_SECRET_KEY": key}
        assert command("project", "add", project.path, **here).code == 0
        operation = "PUT /projects/:id/hooks/:hook_id"
        # Now the request does not arrive, now its answer; GitLab uses the first secret, then the third.
        for fault in ("cut_before", "cut_before", "lost"):
            gitlab.faults.add(operation, fault)
            assert command("project", "rotate-secret", project.path, **here).code == 2
            assert believed(), fault
        assert command("project", "rotate-secret", project.path, **here).code == 0
        assert believed()
    assert len(connected().keys) == 1, "known again, the older ones do not count for long"


def test_deliveries_are_signed_with_a_key_that_can_be_changed(command: CommandLine, seeder: Seeder) -> None:
    project = seeder.project("signed")
    key = "k" * 32
    with Scripted() as receiver:
        here = {"TOOLFORGE_PREVIEW_PUBLIC_URL": receiver.url, "TOOLFORGE_PREVIEW_SECRET_KEY": key}
        assert command("project", "add", project.path, **here).code == 0
        (hook,) = seeder.api("GET", f"/projects/{project.id}/hooks")
        test = f"/projects/{project.id}/hooks/{hook['id']}/test/push_events"
        seeder.push_to_branch(project, "main", {"README.md": "A tool.\n"}, "First")
        seeder.api("POST", test)
        assert command("project", "rotate-secret", project.path, **here).code == 0
        seeder.api("POST", test)
        deliveries = [
            ({name.lower(): value for name, value in headers.items()}, body)
            for _, _, headers, body in receiver.asked
        ]
    with command.parts.store.read() as tx:
        (connected,) = tx.projects()
    now = time.time()
    for headers, body in deliveries:
        assert refusal(trusted(connected, key, now), headers, body, now) is None
        assert refusal(trusted(connected, key, now), headers, body + b" ", now) is not None
    later = now + 700
    before, after = (d[0] for d in deliveries)
    assert before["webhook-signature"] != after["webhook-signature"]
    assert trusted(connected, key, later).keys == trusted(connected, key, now).keys[:1]


def test_only_a_connected_project_gets_new_secrets(command: CommandLine) -> None:
    assert "is not connected" in command.refuses("project", "rotate-secret", "tools/never")


def test_a_gitlab_that_is_away_is_told(command: CommandLine) -> None:
    words = command.refuses("project", "add", "tools/x", TOOLFORGE_PREVIEW_GITLAB_URL="http://127.0.0.1:1")
    assert "GitLab did not answer" in words


def test_a_project_is_connected_with_its_checks_and_its_open_merge_requests(
    command: CommandLine, seeder: Seeder
) -> None:
    project = seeder.project("connected")
    seeder.push_to_branch(project, "main", {"README.md": "A tool.\n"}, "First")
    seeder.push_to_branch(project, "change", {"app.py": "pass\n"}, "A change")
    seeder.open_merge_request(project, "change", "A change")
    told = command(
        "project", "add", project.path, "--check", "/=200", "--check", "/a?b=c=204", "--check", "/x"
    )
    assert told.code == 0, told
    assert "1 open merge requests" in told.words
    with command.parts.store.read() as tx:
        (connected,) = tx.projects()
    assert connected.checks == (("/", 200), ("/a?b=c", 204), ("/x", None))
    assert project.path in command("project", "list").words
    hooks = seeder.api("GET", f"/projects/{project.id}/hooks")
    assert [hook["url"] for hook in hooks] == ["http://127.0.0.1:8000/webhook/gitlab"]


def test_projects_are_connected_by_group_file_and_address(
    command: CommandLine, gitlab: LocalGitLab, seeder: Seeder, tmp_path: Path
) -> None:
    with Seeder(gitlab.url, gitlab.root_token, group="herd") as herd:
        for name in ("one", "two"):
            herd.project(name)
    listed = tmp_path / "projects.txt"
    by_address = seeder.project("by-address")
    by_file = seeder.project("by-file")
    listed.write_text(f"# ours\n{by_file.path}  # with a remark\n\ntools/never-was\n")
    told = command("project", "add", "--group", "herd", "--file", str(listed), f"{by_address.web_url}.git")
    assert told.code == 1, told
    assert "tools/never-was is not connected: GitLab knows no project 'tools/never-was'" in told.words
    with command.parts.store.read() as tx:
        paths = {one.path for one in tx.projects()}
    assert paths == {"herd/one", "herd/two", by_address.path, by_file.path}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--group", "never"], "GitLab knows no group 'never'"),
        (["https://gitlab.example.org/a/b"], "is not at http://127.0.0.1"),
        (["alone"], "is no project: give group/name"),
        ([], "Say which: a PROJECT, --group or --file."),
    ],
)
def test_what_names_no_project_is_refused(command: CommandLine, arguments: list[str], words: str) -> None:
    assert words in command.refuses("project", "add", *arguments)


def test_a_project_is_disconnected_and_connected_again(command: CommandLine, seeder: Seeder) -> None:
    project = seeder.project("leaving")
    assert command("project", "add", project.path).code == 0
    assert command("project", "remove", project.path).code == 0
    assert seeder.api("GET", f"/projects/{project.id}/hooks") == []
    assert project.path not in command("project", "list").words
    for again in ("remove", "show", "rotate-secret"):
        assert "is not connected" in command.refuses("project", again, project.path)
    assert command("project", "add", project.path, "--check", "/=200").code == 0
    assert project.path in command("project", "list").words


def test_a_webhook_that_cannot_be_deleted_is_told(
    command: CommandLine, gitlab: LocalGitLab, seeder: Seeder
) -> None:
    project = seeder.project("leaving-late")
    assert command("project", "add", project.path).code == 0
    gitlab.faults.add("DELETE /projects/:id/hooks/:hook_id", "status", status=403)
    told = command("project", "remove", project.path)
    assert told.code == 0
    assert "Delete its webhook in GitLab by hand" in told.words
    assert project.path not in command("project", "list").words


def test_another_project_of_the_same_name_can_follow(command: CommandLine, seeder: Seeder) -> None:
    project = seeder.project("phoenix")
    assert command("project", "add", project.path).code == 0
    assert command("project", "remove", project.path).code == 0
    seeder.api("DELETE", f"/projects/{project.id}")
    assert seeder.project("phoenix").id != project.id
    assert command("project", "add", project.path).code == 0
    assert command("project", "list").words.count(f"{project.path}  ") == 1


# --- the pool -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [["--cert", "/c"], ["--key", "/k"], ["--env", "A", "--kubeconfig", "/k"], ["--env", ""]]
)
def test_an_account_without_credentials_of_one_kind_is_refused(
    command: CommandLine, given: list[str]
) -> None:
    assert "--kubeconfig, or --cert and --key, or --env" in command.refuses("pool", "add", "dev-1", *given)


def test_who_gives_no_credentials_is_walked_through_giving_a_tool_away(command: CommandLine) -> None:
    told = command("pool", "add", "preview-dev-4")
    assert told.code == 1
    for words in (
        "cat ~/.toolskube/client.crt ~/.toolskube/client.key",
        "toolforge-preview pool add preview-dev-4 --cert FILE --key FILE",
        "toolforge-preview pool drain preview-dev-4",
        "Nothing was added.",
    ):
        assert words in told.words
    assert "preview-dev-4" not in command("pool", "list").words


@pytest.mark.parametrize(
    "tool", ["", "Dev", "1dev", "dev--1", "dev-_1", "dev 1", "dev/1", "../dev", "d" * 65]
)
def test_a_name_that_no_tool_can_have_is_refused(
    command: CommandLine, toolforge: LocalToolforge, tool: str
) -> None:
    words = command.refuses("pool", "add", tool, *options(certificate(toolforge, "dev-1")))
    assert "no usable tool name" in words


def test_credentials_that_toolforge_refuses_are_refused(
    command: CommandLine, toolforge: LocalToolforge
) -> None:
    words = command.refuses("pool", "add", "dev-2", *options(certificate(toolforge, "dev-1")))
    assert "Toolforge refuses the credentials of 'dev-2'" in words


def test_credentials_that_cannot_be_read_are_refused_by_their_path(command: CommandLine) -> None:
    words = command.refuses("pool", "add", "dev-1", "--cert", "/nowhere/c.crt", "--key", "/nowhere/c.key")
    assert "/nowhere/c.crt" in words


def test_variables_that_are_not_set_are_refused_by_their_name(command: CommandLine) -> None:
    assert "NO_SUCH_THING_CRT" in command.refuses("pool", "add", "dev-1", "--env", "NO_SUCH_THING")


def test_a_toolforge_that_is_away_is_told(command: CommandLine, toolforge: LocalToolforge) -> None:
    words = command.refuses(
        "pool",
        "add",
        "dev-1",
        *options(certificate(toolforge, "dev-1")),
        TOOLFORGE_PREVIEW_TOOLFORGE_URL="https://127.0.0.1:1",
    )
    assert "could not be tried" in words


def test_an_account_is_added_once(command: CommandLine, toolforge: LocalToolforge) -> None:
    add = ("pool", "add", "dev-1", *options(certificate(toolforge, "dev-1")))
    assert command(*add).code == 0
    assert "dev-1  cleaning" in command("pool", "list").words
    words = command.refuses(*add)
    assert "in the pool already" in words
    assert "toolforge-preview pool apply" in words


@pytest.mark.parametrize("verb", ["drain", "undrain", "show", "clean", "remove"])
def test_an_account_that_is_not_in_the_pool_is_refused(command: CommandLine, verb: str) -> None:
    words = command.refuses("pool", verb, "dev-9")
    assert "no account 'dev-9'" in words
    assert "toolforge-preview pool list" in words


@pytest.fixture
def put_away(command: CommandLine, toolforge: LocalToolforge) -> Iterator[AccountClient]:
    """dev-1 is in the pool, and in quarantine, since somebody runs a job and has set a secret there."""
    assert command("pool", "add", "dev-1", *options(certificate(toolforge, "dev-1"))).code == 0
    parts = command.parts
    with parts.store.read() as tx:
        credentials = tx.credentials(1)
    with Toolforge(toolforge.gateway_url, user_agent="tests", ca_file=toolforge.ca_file).account(
        "dev-1", credentials
    ) as client:
        client.put_job(JobSpec("cronjob", "python3.11", "sleep 1000", 8001, publish=False))
        client.set_envvar("DUMMY_SECRET", "x")
        outcome = out.FoundForeign("somebody else uses it: found job cronjob")
        recorded(parts, outcome)
        yield client
        client.delete_job("cronjob")
        client.delete_envvar("DUMMY_SECRET")
        client.close()


def recorded(parts: Parts, outcome: out.CleaningOutcome) -> Account:
    """What a cleaning of the first account brought is written down."""
    with parts.store.write() as tx:
        account = tx.account(1)
        claim = tx.claim(Kind.ACCOUNT, 1, now=time.time() + 4000, seconds=60)
    assert claim is not None
    parts.lifecycle.record_cleaning(claim, account, outcome, time.time(), bytes_seen=0)
    with parts.store.read() as tx:
        return tx.account(1)


def test_an_account_is_shown_with_whose_the_things_in_it_are(
    command: CommandLine, put_away: AccountClient
) -> None:
    put_away.set_envvar("PREVIEW_URL", "http://x/")
    told = command("pool", "show", "dev-1")
    assert told.code == 0, told
    lines = told.words.splitlines()
    assert lines[0].startswith("dev-1  quarantined  since ")
    assert lines[0].endswith("somebody else uses it: found job cronjob")
    assert "store: 0 bytes used, 1073741824 bytes" in lines
    assert "foreign  job cronjob (python3.11)" in lines
    assert "ours  envvar PREVIEW_URL" in lines
    assert "operators'  envvar DUMMY_SECRET" in lines
    assert lines[0] == command("pool", "list").words.strip()
    put_away.delete_envvar("PREVIEW_URL")


def test_an_account_that_cannot_be_asked_is_shown_as_far_as_it_is_known(
    command: CommandLine, put_away: AccountClient
) -> None:
    told = command("pool", "show", "dev-1", TOOLFORGE_PREVIEW_TOOLFORGE_URL="https://127.0.0.1:1")
    assert told.code == 2
    assert "dev-1  quarantined" in told.words
    assert "What is in it could not be seen" in told.words


def test_a_cleaning_is_asked_for_and_of_everything_only_after_a_question(
    command: CommandLine, put_away: AccountClient
) -> None:
    def clean_all() -> bool:
        with command.parts.store.read() as tx:
            return tx.account(1).clean_all

    assert command("pool", "clean", "dev-1").words == "dev-1 is being cleaned.\n"
    assert not clean_all()
    before = command.everything()
    refused = command("pool", "clean", "dev-1", "--all")
    assert refused.code == 1
    assert "This will be deleted from dev-1:\n  foreign  job cronjob (python3.11)\n" in refused.words
    assert "DUMMY_SECRET" not in refused.words
    assert command.everything() == before
    assert command("pool", "clean", "dev-1", "--all", "--yes").words.endswith(
        "is being cleaned of everything.\n"
    )
    assert clean_all()


def test_an_account_that_is_free_is_not_cleaned(command: CommandLine, toolforge: LocalToolforge) -> None:
    command("pool", "add", "dev-1", *options(certificate(toolforge, "dev-1")))
    recorded(command.parts, out.Cleaned(0, 0))
    assert "'dev-1' is free" in command.refuses("pool", "clean", "dev-1", "--all", "--yes")


def test_an_account_is_removed_once_it_is_drained_and_can_be_added_again(
    command: CommandLine, toolforge: LocalToolforge
) -> None:
    add = ("pool", "add", "dev-1", *options(certificate(toolforge, "dev-1")))
    command(*add)
    assert "drain it first" in command.refuses("pool", "remove", "dev-1")
    command("pool", "drain", "dev-1")
    assert recorded(command.parts, out.Cleaned(0, 0)).state is AccountState.DRAINED
    assert command("pool", "remove", "dev-1").code == 0
    assert command("pool", "list").words == ""
    assert "no account 'dev-1'" in command.refuses("pool", "show", "dev-1")
    assert command(*add).code == 0
    assert "dev-1  cleaning" in command("pool", "list").words


def a_file(folder: Path, toolforge: LocalToolforge, *tools: str) -> str:
    entries = [
        f"[[account]]\ntool = '{tool}'\ncert = '{files['--cert']}'\nkey = '{files['--key']}'\n"
        for tool in tools
        for files in [certificate(toolforge, tool)]
    ]
    (folder / "pool.toml").write_text("".join(entries))
    return str(folder / "pool.toml")


def test_the_pool_becomes_as_the_file_says(
    command: CommandLine, toolforge: LocalToolforge, tmp_path: Path
) -> None:
    both = a_file(tmp_path, toolforge, "dev-1", "dev-2")
    before = command.everything()
    assert command("pool", "apply", both, "--dry-run").words == "would add dev-1\nwould add dev-2\n"
    assert command.everything() == before
    assert command("pool", "apply", both).words == "done: add dev-1\ndone: add dev-2\n"
    assert command("pool", "apply", both).words == "The pool is as the file says.\n"
    one = a_file(tmp_path, toolforge, "dev-1")
    assert command("pool", "apply", one).words == "done: drain dev-2, which the file does not name\n"
    assert "dev-2  cleaning (to be drained)" in command("pool", "list").words
    again = command("pool", "apply", a_file(tmp_path, toolforge, "dev-1", "dev-2")).words
    assert "left as it is: dev-2 is out of use" in again
    home = toolforge.tool_home("dev-1") / ".toolskube"
    for suffix in ("crt", "key"):
        (tmp_path / f"copy.{suffix}").write_bytes((home / f"client.{suffix}").read_bytes())
    Path(one).write_text("[[account]]\ntool = 'dev-1'\ncert = 'copy.crt'\nkey = 'copy.key'\n")
    assert "done: change the credentials of dev-1" in command("pool", "apply", one).words
    with command.parts.store.read() as tx:
        expected = {"cert": str(tmp_path / "copy.crt"), "key": str(tmp_path / "copy.key")}
        assert tx.credentials(1) == expected


def test_a_file_with_one_bad_entry_changes_nothing(
    command: CommandLine, toolforge: LocalToolforge, tmp_path: Path
) -> None:
    path = Path(a_file(tmp_path, toolforge, "dev-1"))
    files = certificate(toolforge, "dev-1")
    for tool, cert, words in [
        ("dev-2", files["--cert"], "account 'dev-2': Toolforge refuses the credentials"),
        ("dev-2", "/nowhere/c.crt", "account 'dev-2': "),
        ("dev--2", files["--cert"], "account 'dev--2': 'dev--2' is no usable tool name"),
    ]:
        bad = f"[[account]]\ntool = '{tool}'\ncert = '{cert}'\nkey = '{files['--key']}'\n"
        path.with_name("bad.toml").write_text(path.read_text() + bad)
        assert words in command.refuses("pool", "apply", str(path.with_name("bad.toml")))


# --- previews -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["stop", "redeploy"])
@pytest.mark.parametrize(
    "name", ["", "!", "!1", "tools/x", "tools/x!", "tools/x!y", "tools/x!-1", "tools/x!1", "!!1"]
)
def test_a_preview_that_is_not_there_is_refused_with_where_to_look(
    command: CommandLine, verb: str, name: str
) -> None:
    words = command.refuses("preview", verb, "--", name)
    assert f"There is no preview '{name}'" in words
    assert "toolforge-preview preview list" in words


def test_nothing_is_listed_where_there_is_nothing(command: CommandLine) -> None:
    for group in ("project", "pool", "preview"):
        assert command(group, "list").code == 0


# --- settings -----------------------------------------------------------------------------------------


def test_a_wrong_setting_is_refused_by_its_name_whatever_the_command(command: CommandLine) -> None:
    words = command.refuses("pool", "list", TOOLFORGE_PREVIEW_JOB_PORT="0")
    assert "TOOLFORGE_PREVIEW_JOB_PORT" in words


def test_a_maintainers_token_is_no_unknown_setting(command: CommandLine) -> None:
    assert command("pool", "list", TOOLFORGE_PREVIEW_TOKEN="tfp_x").code == 0


def test_every_setting_is_listed_and_no_secret_is_shown(command: CommandLine) -> None:
    told = command("settings", TOOLFORGE_PREVIEW_GITLAB_TOKEN="very-secret")
    assert told.code == 0
    assert all(f"{PREFIX}{name.upper()} " in told.words for name in Settings.model_fields)
    assert "very-secret" not in told.words


def test_a_refusal_is_one_sentence_on_stderr_and_exit_code_2(command: CommandLine) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from deploy.cli import main; main()", "preview", "stop", "tools/x!1"],
        env={**os.environ, **command.environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: There is no preview 'tools/x!1'")
    assert "Traceback" not in done.stderr


# --- switches -----------------------------------------------------------------------------------------


def test_what_is_stopped_is_listed_until_it_goes_on(command: CommandLine, seeder: Seeder) -> None:
    assert command("switch", "list").words == "Nothing is stopped.\n"
    path = seeder.project("stopped").path
    assert command("project", "add", path).code == 0
    assert command("switch", "freeze", "--why", "Toolforge  maintenance").code == 0
    assert command("switch", "pause", "--project", path, "--why", "too much").code == 0
    words = command("switch", "list").words
    assert "builds are frozen  since" in words
    assert "Toolforge maintenance" in words
    assert f"project {path} is paused  since" in words
    assert command("switch", "pause", "--why", "something is wrong").code == 0
    assert "everything is paused" in command("switch", "list").words
    assert command("switch", "resume").code == 0
    words = command("switch", "list").words
    assert "frozen" not in words
    assert path in words
    assert command("switch", "resume", "--project", path).code == 0
    told = command("switch", "list", "--history").words
    assert told.startswith("Nothing is stopped.\n")
    assert told.count("end of pause") == 2
    assert "Nothing of that kind is stopped" in command.refuses("switch", "resume")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pause", "--project", "no/such", "--why", "x"), "'no/such' is not connected"),
        (("resume", "--project", "no/such"), "'no/such' is not connected"),
        (("freeze", "--why", " "), "Say why"),
        (("freeze",), "--why"),
    ],
)
def test_a_switch_without_a_reason_or_for_an_unknown_project_is_refused(
    command: CommandLine, arguments: tuple[str, ...], words: str
) -> None:
    assert words in command.refuses("switch", *arguments)


# --- shares and kept previews -------------------------------------------------------------------------


def test_a_project_is_given_another_share(command: CommandLine, seeder: Seeder) -> None:
    path = seeder.project("shared").path
    assert command("project", "add", path).code == 0
    assert "weight" not in command("project", "list").words
    assert command("project", "set", path, "--weight", "2.5").code == 0
    assert "weight 2.5" in command("project", "list").words


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("forks", "never"),
        ("drafts", "wait"),
        ("build", "merged-result"),
        ("refused-versions", "fail"),
        ("check-only-bots", "no"),
    ],
)
def test_a_rule_is_set_by_the_word_that_is_shown(
    command: CommandLine, seeder: Seeder, option: str, word: str
) -> None:
    path = seeder.project(f"rules-{option}").path
    assert command("project", "add", path).code == 0
    assert f"{option}  {word}\n" not in command("project", "show", path).words
    assert command("project", "set", path, f"--{option}", word).code == 0
    assert f"{option}  {word}\n" in command("project", "show", path).words


@pytest.mark.parametrize("weight", ["0", "-1", "101", "nan", "inf", "much"])
def test_a_share_out_of_bounds_is_refused(command: CommandLine, seeder: Seeder, weight: str) -> None:
    path = seeder.project(f"weighty-{weight}").path
    assert command("project", "add", path).code == 0
    words = command.refuses("project", "set", path, "--weight", weight)
    assert "above 0 and at most 100" in words or "not a valid float" in words


@pytest.mark.parametrize("duration", ["", "3", "d", "3w", "-3d", "1.5h", "9999999d"])
def test_a_duration_that_is_none_is_refused(command: CommandLine, duration: str) -> None:
    assert "no duration such as" in command.refuses("preview", "keep", "--", "tools/x!1", duration)


@pytest.mark.parametrize("arguments", [("keep", "tools/x!1", "3d"), ("release", "tools/x!1")])
def test_only_a_preview_that_is_there_is_kept(command: CommandLine, arguments: tuple[str, ...]) -> None:
    assert "There is no preview 'tools/x!1'" in command.refuses("preview", *arguments)


# --- incidents ----------------------------------------------------------------------------------------


def test_without_incidents_there_is_nothing_to_show_or_to_correct(command: CommandLine) -> None:
    assert "Nothing fails in several projects" in command("incident", "list").words
    for arguments in (["show", "0c1f2a9e"], ["pins", "0c1f2a9e", "--to", "3.13", "--open-merge-requests"]):
        assert "There is no incident '0c1f2a9e'" in command.refuses("incident", *arguments)
