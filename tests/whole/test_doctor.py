"""`toolforge-preview doctor` tells what is wrong with a set-up, and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from deploy.follow import connect
from deploy.stack import Stack, settings_environment
from tests.whole.clock import Clock
from tests.whole.conftest import Stacks
from tests.whole.faults import arm_toolforge, disarm_toolforge


@pytest.fixture(scope="module")
def stack(stacks: Stacks) -> Iterator[Stack]:
    """A stack whose pool is at rest."""
    with stacks("dev-1", "dev-2", scenario={}) as made:
        yield made


def doctor(
    stack: Stack, *, environment: Mapping[str, str] | None = None, **changes: str
) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings, with settings changed."""
    changed = {f"TOOLFORGE_PREVIEW_{name.upper()}": value for name, value in changes.items()}
    done = subprocess.run(
        [sys.executable, "-m", "deploy", "doctor", "--json"],
        env=dict(os.environ) | settings_environment(stack.parts.settings) | changed | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def wrong(findings: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is wrong, by subject."""
    return {finding["subject"]: finding for finding in findings if not finding["is_well"]}


def credentials_of(stack: Stack, tool: str) -> dict[str, str]:
    """The places of an account's certificate and key."""
    with stack.parts.store.read() as tx:
        account = tx.account_named(tool)
        assert account is not None
        return dict(tx.credentials(account.id))


def is_told(finding: dict[str, Any]) -> bool:
    """Whether it is of those whose words are the same on every machine and day."""
    return finding["subject"].startswith(("image store", "jobs")) or finding["subject"].endswith("-api")


def test_a_healthy_set_up_is_told_as_such(stack: Stack) -> None:
    code, findings = doctor(stack)
    assert wrong(findings) == {}
    assert code == 0
    assert not any(finding["remedy"] for finding in findings)
    assert {finding["subject"]: finding["message"] for finding in findings if is_told(finding)} == {
        "builds-api": "is well",
        "jobs-api": "is well",
        "envvars-api": "is well",
        "image store of dev-1": "0 of 1024 MiB used",
        "image store of dev-2": "0 of 1024 MiB used",
        "jobs of dev-1": "0 of 16 pods, 0 of 16 continuous jobs",
        "jobs of dev-2": "0 of 16 pods, 0 of 16 continuous jobs",
    }
    subjects = [finding["subject"] for finding in findings]
    outside = [
        "settings",
        "database",
        "redis",
        "gitlab",
        "clock",
        "sign-in",
        "reports",
        "secrets",
        "builds-api",
        "jobs-api",
        "envvars-api",
    ]
    each = ("certificate of", "account", "image store of", "jobs of")
    assert subjects == [*outside, *(f"{what} {tool}" for tool in ("dev-1", "dev-2") for what in each)]


@pytest.mark.parametrize(
    ("changes", "subject", "remedy"),
    [
        ({"job_port": "0"}, "settings", "settings"),
        ({"gitlab_token": "glpat-of-nobody"}, "gitlab", "gitlab_token"),
        ({"redis_url": "redis://127.0.0.1:1/0"}, "redis", "redis_url"),
        ({"database_url": "sqlite:////nowhere/at/all.db"}, "database", "database_url"),
        ({"toolforge_url": "https://127.0.0.1:1"}, "toolforge", "toolforge_url"),
        ({"gitlab_application_secret": "gloas-wrong"}, "sign-in", "gitlab_application_secret"),
        ({"public_url": "http://previews.example.org"}, "sign-in", "https"),
    ],
)
def test_each_part_that_is_wrong_is_named_with_its_remedy(
    stack: Stack, changes: dict[str, str], subject: str, remedy: str
) -> None:
    code, findings = doctor(stack, **changes)
    assert code == 1
    assert remedy in wrong(findings)[subject]["remedy"]


@pytest.mark.parametrize(("seconds", "words"), [(3720, "62 min ahead of"), (-240, "4 min behind")])
def test_a_clock_that_is_wrong_is_told(stack: Stack, clock: Clock, seconds: int, words: str) -> None:
    clock.set(seconds)
    code, findings = doctor(stack, environment=clock.environment)
    assert code == 1
    assert words in wrong(findings)["clock"]["message"]
    assert "NTP" in wrong(findings)["clock"]["remedy"]


def test_a_new_database_has_to_be_migrated(stack: Stack, tmp_path: Path) -> None:
    _, findings = doctor(stack, database_url=f"sqlite:///{tmp_path / 'new.db'}")
    assert "migrate" in wrong(findings)["database"]["remedy"]


def test_a_token_with_too_few_scopes_is_named(stack: Stack) -> None:
    user = stack.seeder.service.id
    made = stack.seeder.api("POST", f"/users/{user}/personal_access_tokens", name="few", scopes=["read_api"])
    _, findings = doctor(stack, gitlab_token=made["token"])
    assert "scope api" in wrong(findings)["gitlab"]["remedy"]


def test_secrets_that_need_something_to_be_done_are_named(stack: Stack) -> None:
    project = stack.seeder.project("with-secret")
    stack.seeder.push_to_branch(project, "main", {"README.md": "A tool.\n"}, "First")
    connect(stack, project.path)
    with stack.parts.store.read() as tx:
        connected = tx.project_at(project.path)
    assert connected is not None
    stack.parts.secrets.put(connected.id, "API_KEY", "hunter2-hunter2", "max", time.time())
    settings = stack.parts.settings
    assert settings.secret_key is not None
    old, new = settings.secret_key.get_secret_value(), "n" * 40
    _, findings = doctor(stack, secret_key=new)
    lost = wrong(findings)["secrets"]
    assert lost["message"] == (
        f"no key opens API_KEY of {project.path}: deployments that would get them fail"
    )
    assert "old_secret_keys" in lost["remedy"]
    _, findings = doctor(stack, secret_key=new, old_secret_keys=old)
    assert "project secret reseal" in wrong(findings)["secrets"]["remedy"]
    _, findings = doctor(stack, old_secret_keys=new)
    (told,) = [finding for finding in findings if finding["subject"] == "secrets"]
    assert (told["is_well"], told["message"]) == (
        True,
        "the present key opens all; old_secret_keys is not needed any more",
    )
    stack.parts.secrets.remove(connected.id, "API_KEY", "max", time.time())


# --- certificates -------------------------------------------------------------------------------------


@contextmanager
def certificate_of_dev_2(stack: Stack, *, days: float) -> Iterator[Path]:
    """Another certificate, by Toolforge's authority, in the place of the one of dev-2."""
    credentials = credentials_of(stack, "dev-2")
    authority = Path(str(stack.parts.settings.toolforge_ca_file))
    ca = trustme.CA.from_pem(authority.read_bytes(), authority.with_name("ca.key").read_bytes())
    end = datetime.now(UTC) + timedelta(days=days)
    leaf = ca.issue_cert(common_name="dev-2", not_before=end - timedelta(days=90), not_after=end)
    made = {"cert": leaf.cert_chain_pems[0].bytes(), "key": leaf.private_key_pem.bytes()}
    before = {name: Path(place).read_bytes() for name, place in credentials.items()}
    try:
        for name, content in made.items():
            Path(credentials[name]).write_bytes(content)
        yield Path(credentials["cert"])
    finally:
        for name, content in before.items():
            Path(credentials[name]).write_bytes(content)


@pytest.mark.parametrize(("days", "word"), [(13, "ends soon"), (-1, "ended")])
def test_a_certificate_that_ends_is_named_with_its_day_and_its_place(
    stack: Stack, days: float, word: str
) -> None:
    with certificate_of_dev_2(stack, days=days) as place:
        code, findings = doctor(stack)
    day = datetime.now(UTC) + timedelta(days=days)
    found = wrong(findings)["certificate of dev-2"]
    assert code == 1
    assert word in found["message"]
    assert f"{day:%Y-%m-%d}" in found["message"]
    assert str(place) in found["remedy"]
    # The gateway does not take one that has ended.
    assert ("account dev-2" in wrong(findings)) is (days < 0)
    assert not any("dev-1" in subject for subject in wrong(findings))


def test_a_certificate_that_lasts_is_told_with_its_day(stack: Stack) -> None:
    with certificate_of_dev_2(stack, days=20):
        code, findings = doctor(stack)
    (found,) = [finding for finding in findings if finding["subject"] == "certificate of dev-2"]
    assert code == 0
    assert found["message"] == f"ends on {datetime.now(UTC) + timedelta(days=20):%Y-%m-%d}"


def test_a_certificate_that_is_gone_is_named_and_the_apis_are_asked_by_another(stack: Stack) -> None:
    cert = Path(credentials_of(stack, "dev-1")["cert"])
    cert.rename(cert.with_suffix(".gone"))
    try:
        code, findings = doctor(stack)
    finally:
        cert.with_suffix(".gone").rename(cert)
    assert code == 1
    assert wrong(findings).keys() == {"certificate of dev-1"}
    assert str(cert) in wrong(findings)["certificate of dev-1"]["message"]
    assert {"builds-api", "jobs-api", "envvars-api"} <= {finding["subject"] for finding in findings}


def test_certificates_are_looked_at_even_where_the_gateway_is_not_reached(stack: Stack) -> None:
    _, findings = doctor(stack, toolforge_url="https://127.0.0.1:1")
    assert wrong(findings).keys() == {"toolforge"}
    assert {"certificate of dev-1", "certificate of dev-2"} <= {finding["subject"] for finding in findings}


# --- quotas and health --------------------------------------------------------------------------------


def test_a_free_account_whose_store_is_full_is_named(stack: Stack) -> None:
    quota = {"name": "Storage", "limit": "1.00Gi", "used": "922.00Mi", "capacity": "90%"}
    with answering(stack, "builds.quotas", storage(quota)):
        code, findings = doctor(stack)
    found = wrong(findings)["image store of dev-1"]
    assert code == 1
    assert "no room for a build: 922 of 1024 MiB used" in found["message"]
    assert "drain dev-1" in found["remedy"]


def test_a_store_that_is_nearly_full_or_has_no_limit_is_well(stack: Stack) -> None:
    for used, limit, words in (
        ("921.00Mi", "1.00Gi", "921 of 1024 MiB used"),
        ("5.00Gi", "Unlimited", "5120 MiB used, without a limit"),
    ):
        with answering(stack, "builds.quotas", storage({"name": "Storage", "limit": limit, "used": used})):
            _, findings = doctor(stack)
        (found,) = [finding for finding in findings if finding["subject"] == "image store of dev-1"]
        assert (found["is_well"], found["message"]) == (True, words)


def test_a_store_that_cannot_be_read_is_named(stack: Stack) -> None:
    with answering(stack, "builds.quotas", storage({"name": "Storage", "used": "some"})):
        code, findings = doctor(stack)
    found = wrong(findings)["image store of dev-2"]
    assert code == 1
    assert "a quota that cannot be read: 'some'" in found["message"]
    assert found["remedy"]


def test_an_account_that_may_run_one_job_only_is_named(stack: Stack) -> None:
    item = {"name": "Continuous jobs (including web services)", "limit": "1", "used": "0"}
    body = {"quota": {"categories": [{"name": "Job definitions", "items": [item]}]}}
    with answering(stack, "jobs.quotas", body):
        code, findings = doctor(stack)
    found = wrong(findings)["jobs of dev-1"]
    assert code == 1
    assert "0 of 1 continuous jobs" in found["message"]
    assert "Help:Toolforge/Quota" in found["remedy"]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [(503, None, "503"), (200, {"health": {"status": "ERROR"}}, "says that it is not well")],
)
def test_an_api_that_is_not_well_is_named_once(
    stack: Stack, status: int, body: dict[str, Any] | None, words: str
) -> None:
    with answering(stack, "jobs.healthz", body, status=status):
        code, findings = doctor(stack)
    assert code == 1
    assert wrong(findings).keys() == {"jobs-api"}
    assert words in wrong(findings)["jobs-api"]["message"]


def storage(item: dict[str, str]) -> dict[str, Any]:
    """builds-api's answer about the image store."""
    return {"quota": {"categories": [{"name": "Registry", "items": [item]}]}, "messages": {}}


@contextmanager
def answering(
    stack: Stack, operation: str, body: dict[str, Any] | None, *, status: int = 200
) -> Iterator[None]:
    """Let the local Toolforge answer this to every call of an operation."""
    given = {} if body is None else {"body": json.dumps(body)}
    rule = arm_toolforge(stack, "status", operation, status=status, count=None, **given)
    try:
        yield
    finally:
        disarm_toolforge(stack, rule)


# --- what is left behind ------------------------------------------------------------------------------


def test_leftovers_in_a_free_account_are_named(stack: Stack) -> None:
    credentials = credentials_of(stack, "dev-2")
    project = stack.seeder.project("left-behind")
    stack.seeder.push_to_branch(project, "main", {"requirements.txt": ""}, "First")
    with stack.parts.toolforge.account("dev-2", credentials) as client:
        client.start_build(source_url=project.clone_url, ref="refs/heads/main", image_name="foreign")
    _, findings = doctor(stack)
    assert "build dev-2-" in wrong(findings)["account dev-2"]["message"]


def test_a_switch_is_told_and_found_wrong_when_it_seems_forgotten(stack: Stack) -> None:
    now = time.time()
    stack.parts.lifecycle.freeze("olga", "maintenance", now)
    _, findings = doctor(stack)
    (told,) = [finding for finding in findings if finding["subject"] == "switch"]
    assert told["is_well"]
    assert "builds are frozen since" in told["message"]
    assert told["message"].endswith("by olga: maintenance")
    stack.parts.lifecycle.resume("olga", now)
    stack.parts.lifecycle.freeze("olga", "maintenance", now - 90000)
    code, findings = doctor(stack)
    stack.parts.lifecycle.resume("olga", now)
    assert code == 1
    assert "toolforge-preview switch resume" in wrong(findings)["switch"]["remedy"]
