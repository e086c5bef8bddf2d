"""A repository's own file is read from a real GitLab twin, and what it asks for reaches Toolforge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import MergeRequest, Seeder
from deploy.local.seed import Project as FoundProject
from orchestrator import outcome as out
from orchestrator.belongings import ADDRESS_ENVVAR, PUBLISHED_JOB
from orchestrator.components import Source, sources
from orchestrator.gitlab import GitLab, GitLabBusy
from orchestrator.located import MOST_BYTES
from orchestrator.pool import Account, AccountState
from orchestrator.preview import State, Step
from orchestrator.records import Project
from orchestrator.repoconfig import FILE_NAME, restored
from orchestrator.repovalues import Bounds
from orchestrator.toolforge import AccountClient
from tests.worker.scene import Workshop, a_deployment, a_site, built, sort, until
from worker import deploy, teardown
from worker.repository_file import Reading, read

# --- reading ------------------------------------------------------------------------------------------


class Repository:
    """A project of its own on the local GitLab, with a merge request."""

    def __init__(self, gitlab: LocalGitLab, seeder: Seeder, name: str) -> None:
        self.seeder = seeder
        self.project = seeder.project(name)
        seeder.push_to_branch(self.project, "main", {"README.md": "A tool.\n", "app.py": "1\n"}, "First")
        self.client = GitLab(gitlab.url, seeder.service.token, user_agent="tests (tests@example.org)")
        self.merge_request: MergeRequest | None = None

    def pushes(self, files: Mapping[str, str | bytes | None]) -> str:
        """A commit on the merge request, which is opened with the first one; its id."""
        sha = self.seeder.push_to_branch(self.project, "change", files, "A change")
        self.merge_request = self.seeder.open_merge_request(self.project, "change", "A change")
        return sha

    def edits(self, **changes: object) -> None:
        """Somebody changes the merge request."""
        assert self.merge_request is not None
        path = f"/projects/{self.project.id}/merge_requests/{self.merge_request.iid}"
        self.seeder.api("PUT", path, **changes)

    def reads(self, sha: str, *, trigger: str = "merge_request", is_from_project: bool = True) -> out.Outcome:
        """What reading its file at the commit brings."""
        assert self.merge_request is not None
        deployment = a_deployment(sha=sha, trigger=trigger, state=State.QUEUED, step=Step.READ_FILE)
        preview = a_site(NOBODY, deployment).preview
        preview = replace(preview, iid=self.merge_request.iid, is_from_project=is_from_project)
        url = f"https://gitlab.example.org/{self.project.path}"
        project = Project(1, self.project.id, self.project.path, url, f"{url}.git", (), (), 0.0)
        return read(Reading(self.client, project, preview, deployment, Bounds()))

    def changes(self, sha: str) -> out.FileRead:
        """What it makes of the versions that the target branch asks for."""
        assert self.merge_request is not None
        deployment = a_deployment(sha=sha, state=State.QUEUED, step=Step.READ_FILE)
        preview = replace(
            a_site(NOBODY, deployment).preview, iid=self.merge_request.iid, target_branch="main"
        )
        project = Project(1, self.project.id, self.project.path, "", "", (), (), 0.0)
        reading = Reading(self.client, project, preview, deployment, Bounds(), looks_for_change=True)
        outcome = read(reading)
        assert isinstance(outcome, out.FileRead)
        return outcome

    def asks_for(self, sha: str, *runtimes: str) -> tuple[out.Pin, ...]:
        """The versions of `runtimes` that it names at the commit."""
        assert self.merge_request is not None
        deployment = a_deployment(sha=sha, state=State.QUEUED, step=Step.READ_FILE)
        preview = replace(a_site(NOBODY, deployment).preview, iid=self.merge_request.iid)
        project = Project(1, self.project.id, self.project.path, "", "", (), (), 0.0)
        wanted = frozenset(runtimes)
        outcome = read(Reading(self.client, project, preview, deployment, Bounds(), wanted))
        assert isinstance(outcome, out.FileRead)
        return outcome.pins


NOBODY: Any = None


@pytest.fixture(scope="module")
def gitlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGitLab]:
    with LocalGitLab(state_dir=tmp_path_factory.mktemp("gitlab")) as running:
        yield running


@pytest.fixture
def repository(gitlab: LocalGitLab, request: pytest.FixtureRequest) -> Iterator[Repository]:
    with Seeder(gitlab.url, gitlab.root_token) as seeder:
        made = Repository(gitlab, seeder, f"tool-{abs(hash(request.node.name))}")
        yield made
        made.client.close()
        gitlab.faults.clear()


def test_no_file_asks_for_nothing(repository: Repository) -> None:
    assert repository.reads(repository.pushes({"app.py": "2\n"})) == out.FileRead({})


def test_the_file_counts_as_it_is_at_the_very_commit(repository: Repository) -> None:
    first = repository.pushes({FILE_NAME: "command: one\n"})
    second = repository.pushes({FILE_NAME: "command: two\n"})
    assert repository.reads(first) == out.FileRead({"command": "one"})
    assert repository.reads(second) == out.FileRead({"command": "two"})


def test_a_wrong_file_is_a_failure_that_names_line_and_key(repository: Repository) -> None:
    failed = repository.reads(repository.pushes({FILE_NAME: "run:\n  memry: 1Gi\nlife: 3\n"}))
    assert isinstance(failed, out.StageFailed)
    assert failed.failure.stage == "configuration"
    assert failed.failure.summary == (
        ".toolforge-preview.yaml, line 2, column 3: run.memry: unknown key; did you mean memory? (and 1 more)"
    )
    assert "line 3, column 7: life" in failed.failure.excerpt


def test_of_a_file_without_end_no_more_is_read_than_is_refused(repository: Repository) -> None:
    failed = repository.reads(repository.pushes({FILE_NAME: "# " + "x" * 5_000_000}))
    assert isinstance(failed, out.StageFailed)
    assert f"the file has {MOST_BYTES + 1} bytes" in failed.failure.summary


def test_the_file_of_a_fork_is_read_where_it_was_pushed_to(
    gitlab: LocalGitLab, repository: Repository
) -> None:
    repository.pushes({"app.py": "2\n"})
    assert repository.merge_request is not None
    foreign = repository.seeder.open_sample_from_fork(repository.merge_request)
    shown = repository.client.merge_request(repository.project.id, foreign.iid)
    fork = repository.client.project(shown.source_project_id or 0)
    assert fork["id"] != repository.project.id
    place = FoundProject(fork["id"], fork["path_with_namespace"], "", fork["http_url_to_repo"])
    files = {FILE_NAME: "command: from-outside\n"}
    token = gitlab.root_token
    sha = repository.seeder.push_to_branch(place, shown.source_branch, files, "A file", token=token)
    repository.merge_request = foreign
    assert repository.reads(sha, is_from_project=False) == out.FileRead({"command": "from-outside"})


@pytest.mark.parametrize(
    ("filters", "files", "changes", "why"),
    [
        ("ignore_paths: '*.md'", {"README.md": "More.\n"}, {}, "only *.md are changed"),
        ("ignore_paths: '*.md'", {"README.md": "More.\n", "app.py": "2\n"}, {}, ""),
        ("drafts: false", {}, {"title": "Draft: A change"}, "it is a draft"),
        ("drafts: false", {}, {"title": "A change"}, ""),
        ("labels: preview", {}, {"labels": "other"}, "it has none of the labels preview"),
        ("labels: preview", {}, {"labels": "other,preview"}, ""),
        ("target_branches: release", {}, {}, "its target branch main is none of release"),
    ],
)
def test_filters_are_held_against_what_gitlab_says(
    repository: Repository,
    filters: str,
    files: dict[str, str | bytes | None],
    changes: dict[str, object],
    why: str,
) -> None:
    text = f"filters:\n  {filters}\n"
    # The file itself is on main, so that the merge request does not change it.
    repository.seeder.push_to_branch(repository.project, "main", {FILE_NAME: text}, "The file")
    sha = repository.pushes({"docs.md": "x\n", **files})
    if changes:
        repository.edits(**changes)
    outcome = repository.reads(sha)
    if why:
        assert isinstance(outcome, out.DoesNotApply)
        assert outcome.refusal.why == why
    else:
        assert isinstance(outcome, out.FileRead)
    assert isinstance(repository.reads(sha, trigger="command"), out.FileRead), "a command counts"


def components(web: str, worker: str = "{}") -> dict[str, str | bytes | None]:
    """A file whose components are built as said."""
    run = "{command: web, port: 8000, publish: /}"
    parts = f"web: {{build: {web}, run: {run}}}, worker: {{build: {worker}, run: {{command: worker}}}}"
    return {FILE_NAME: f"components: {{{parts}}}\n"}


def test_what_is_built_from_the_project_itself_is_told_from_other_repositories(
    repository: Repository,
) -> None:
    own = f"https://gitlab.example.org/{repository.project.path}"
    other = "https://gitlab.example.org/group/redis"
    for address in (own, f"{own}.git", f"{own}/"):
        files = components(f"{{repository: '{address}', ref: main}}", f"{{repository: '{other}', ref: v1}}")
        read = repository.reads(repository.pushes(files))
        assert isinstance(read, out.FileRead), address
        parts = restored(read.config).components
        assert parts["web"].build.repository is None
        assert sources(parts) == {"worker": Source(other, "v1")}


@pytest.mark.parametrize(
    ("web", "worker", "said"),
    [
        (
            "{repository: 'https://gitlab.example.org/group/redis'}",
            "{}",
            "what is published has to be built from this project",
        ),
        (
            "{}",
            "{use_latest_versions: true}",
            "build.use_latest_versions differs, and only one image is built of a commit",
        ),
    ],
)
def test_the_published_component_is_the_commits_and_its_image_the_only_one(
    repository: Repository, web: str, worker: str, said: str
) -> None:
    failed = repository.reads(repository.pushes(components(web, worker)))
    assert isinstance(failed, out.StageFailed)
    assert failed.failure.summary == f".toolforge-preview.yaml: components: {said}"


def test_a_gitlab_that_cannot_answer_is_asked_again(gitlab: LocalGitLab, repository: Repository) -> None:
    sha = repository.pushes({FILE_NAME: "command: one\n"})
    repository.client.close()
    repository.client = GitLab("http://127.0.0.1:1", "none", user_agent="tests")
    with pytest.raises(GitLabBusy):
        repository.reads(sha)


def test_what_a_merge_request_makes_of_a_version_is_read_from_both_sides(repository: Repository) -> None:
    old = {".python-version": "3.12\n", "package.json": '{"engines": {"node": "22"}}'}
    repository.seeder.push_to_branch(repository.project, "main", old, "Pins")
    bump = repository.changes(repository.pushes({".python-version": "3.14\n"}))
    assert bump.change == out.PinChange("Python", ".python-version", "3.12", "3.14")
    assert bump.pins == (out.Pin("Python", "3.14", ".python-version"),)
    both = repository.changes(repository.pushes({"package.json": '{"engines": {"node": "24"}}'}))
    assert (both.change, both.pins) == (None, ()), "of two it cannot be told which one fails"


def test_a_version_that_is_asked_for_anew_is_a_change_and_other_files_are_none(
    gitlab: LocalGitLab, repository: Repository
) -> None:
    assert repository.changes(repository.pushes({"app.py": "3\n"})).change is None
    sha = repository.pushes({".python-version": "3.14\n"})
    assert repository.changes(sha).change == out.PinChange("Python", ".python-version", "", "3.14")
    gitlab.faults.add("GET /projects/:id/merge_requests/:iid/diffs", "status", status=403)
    assert repository.changes(sha).change is None, "that is all that is lost"


def test_only_the_versions_that_are_asked_about_are_read(repository: Repository) -> None:
    sha = repository.pushes({".python-version": "3.99\n", "package.json": '{"engines": {"node": "99"}}'})
    assert repository.asks_for(sha) == ()
    assert repository.asks_for(sha, "Python", "Go") == (out.Pin("Python", "3.99", ".python-version"),)
    assert repository.asks_for(sha, "Node.js") == (out.Pin("Node.js", "99", "package.json"),)


# --- what is asked for --------------------------------------------------------------------------------

PLACE = Account(1, "dev-1", AccountState.LEASED, 0.0, None, own_envvars=())
CONFIG: dict[str, object] = {
    "command": "serve --fast",
    "health": "/healthz",
    "build": {"envvars": {"NODE_ENV": "production"}},
    "run": {"memory": "1Gi", "cpu": "500m", "envvars": {"FLASK_ENV": "preview", "CACHE_SIZE": "0"}},
}


def state(workshop: Workshop) -> dict[str, Any]:
    found: dict[str, Any] = workshop.toolforge.state()["tools"][workshop.tool]
    return found


def envvars(workshop: Workshop) -> dict[str, str]:
    """What is set in the account, but for what Toolforge itself sets."""
    return {name: value for name, value in state(workshop)["envvars"].items() if not name.startswith("TOOL_")}


def lent(*names: str, own: tuple[str, ...] | None = ()) -> Account:
    """The account's row, when deployments have asked for envvars of these names."""
    return replace(PLACE, lent_envvars=names, own_envvars=own)


def test_a_build_and_its_job_are_as_the_file_says(workshop: Workshop, account: AccountClient) -> None:
    deployment = built(account, config=CONFIG)
    assert state(workshop)["builds"][0]["envvars"] == {"NODE_ENV": "production"}
    site = a_site(
        account, deployment, place=lent("CACHE_SIZE", "FLASK_ENV"), address="https://a.example.org/"
    )
    assert deploy.publish(site) == out.JobStarted()
    (job,) = state(workshop)["jobs"]
    spec = job["spec"]
    assert spec["cmd"].removeprefix("launcher ") == "serve --fast"
    assert (spec["health_check"]["type"], spec["health_check"]["path"]) == ("http", "/healthz")
    assert (spec["memory"], spec["cpu"]) == ("1Gi", "500m")
    assert envvars(workshop) == {
        "FLASK_ENV": "preview",
        "CACHE_SIZE": "0",
        ADDRESS_ENVVAR: "https://a.example.org/",
    }


def test_a_push_that_asks_for_other_envvars_gets_those_only(
    workshop: Workshop, account: AccountClient
) -> None:
    place = lent("CACHE_SIZE", "FLASK_ENV", "OTHER_ONE")
    deploy.publish(a_site(account, built(account, config=CONFIG), place=place))
    other = built(account, config={"run": {"envvars": {"OTHER_ONE": "x"}}})
    deploy.publish(a_site(account, other, place=place))
    assert set(envvars(workshop)) == {"OTHER_ONE", ADDRESS_ENVVAR}


def test_with_the_good_image_its_envvars_and_limits_come_back(
    workshop: Workshop, account: AccountClient
) -> None:
    place = lent("CACHE_SIZE", "FLASK_ENV", "OTHER_ONE")
    good, bad = built(account, config=CONFIG), built(account, config={"run": {"envvars": {"OTHER_ONE": "x"}}})
    deploy.publish(a_site(account, bad, place=place))
    assert deploy.roll_back(a_site(account, bad, place=place, serving=good)) == out.RolledBack()
    (job,) = state(workshop)["jobs"]
    assert (job["name"], job["spec"]["memory"]) == (PUBLISHED_JOB, "1Gi")
    assert set(envvars(workshop)) == {"CACHE_SIZE", "FLASK_ENV", ADDRESS_ENVVAR}


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_candidate_that_is_taken_away_leaves_the_good_one_its_envvars(
    workshop: Workshop, account: AccountClient, is_busy: bool
) -> None:
    place = lent("CACHE_SIZE", "FLASK_ENV", "OTHER_ONE")
    good, bad = built(account, config=CONFIG), built(account, config={"run": {"envvars": {"OTHER_ONE": "x"}}})
    deploy.publish(a_site(account, good, place=place))
    bad = replace(bad, had_candidate=True)
    deploy.start_candidate(a_site(account, bad, place=place, serving=good))
    assert set(envvars(workshop)) == {"OTHER_ONE", ADDRESS_ENVVAR}
    failed = replace(bad, state=State.FAILED, step=Step.TIDY)
    site = a_site(account, failed, place=place, serving=good, address_busy=is_busy)
    assert teardown.tidy(site) == out.Tidied()
    # Where a newer one is tried at the address, it has set its own.
    expected = {"OTHER_ONE"} if is_busy else {"CACHE_SIZE", "FLASK_ENV"}
    assert set(envvars(workshop)) == {*expected, ADDRESS_ENVVAR}


def test_what_operators_have_set_is_not_overwritten(workshop: Workshop, account: AccountClient) -> None:
    account.set_envvar("CACHE_SIZE", "of the operators")
    place = lent("CACHE_SIZE", "FLASK_ENV", own=("CACHE_SIZE",))
    failed = deploy.publish(a_site(account, built(account, config=CONFIG), place=place))
    assert isinstance(failed, out.StageFailed)
    assert failed.failure.summary == (
        ".toolforge-preview.yaml: run.envvars: operators have set CACHE_SIZE in the dev account"
    )
    assert envvars(workshop) == {"CACHE_SIZE": "of the operators"}
    assert account.jobs() == []


def test_none_is_set_before_it_is_known_what_operators_have_set(
    workshop: Workshop, account: AccountClient
) -> None:
    place = lent("CACHE_SIZE", "FLASK_ENV", own=None)
    assert isinstance(deploy.publish(a_site(account, built(account, config=CONFIG), place=place)), out.NotNow)
    assert envvars(workshop) == {}
    assert deploy.publish(a_site(account, built(account, config={}), place=place)) == out.JobStarted()


def test_a_cleaning_deletes_what_was_set_for_deployments_and_nothing_else(
    workshop: Workshop, account: AccountClient
) -> None:
    account.set_envvar("DUMMY_SECRET", "x")
    place = lent("CACHE_SIZE", "FLASK_ENV", own=("DUMMY_SECRET",))
    deploy.publish(a_site(account, built(account, config=CONFIG), place=place))
    ours = sort(account, envvars=place.our_envvars)

    def cleaned() -> out.Cleaned | None:
        outcome, _ = teardown.clean(account, ours, lambda: None, is_late=False)
        return outcome if isinstance(outcome, out.Cleaned) else None

    clean = until(cleaned)
    assert clean.envvars == ("DUMMY_SECRET",)
    assert envvars(workshop) == {"DUMMY_SECRET": "x"}


def test_more_memory_than_toolforge_gives_fails_with_its_words(account: AccountClient) -> None:
    deployment = built(account, config={"run": {"memory": "100Gi"}})
    failed = deploy.publish(a_site(account, deployment))
    assert isinstance(failed, out.StageFailed)
    assert "over maximum allowed per container" in failed.failure.summary
