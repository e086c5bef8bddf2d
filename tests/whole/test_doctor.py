"""`toolforge-preview doctor` tells what is wrong with a set-up, and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.follow import pool_is_clean, wait_for
from deploy.stack import Stack, settings_environment


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose pool is at rest."""
    state = Path(tmp_path_factory.mktemp("doctor"))
    with Stack(state, tools=("dev-1", "dev-2"), toolforge_options=("--engine", "synthetic")) as made:
        wait_for("the pool", lambda: pool_is_clean(made))
        yield made


def doctor(stack: Stack, **changes: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings, with settings changed."""
    changed = {f"TOOLFORGE_PREVIEW_{name.upper()}": value for name, value in changes.items()}
    done = subprocess.run(
        [sys.executable, "-m", "deploy", "doctor", "--json"],
        env=dict(os.environ) | settings_environment(stack.parts.settings) | changed,
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


def test_a_healthy_set_up_is_told_as_such(stack: Stack) -> None:
    code, findings = doctor(stack)
    assert wrong(findings) == {}
    assert code == 0
    subjects = [finding["subject"] for finding in findings]
    assert subjects == ["settings", "database", "redis", "gitlab", "account dev-1", "account dev-2"]


@pytest.mark.parametrize(
    ("changes", "subject", "remedy"),
    [
        ({"job_port": "0"}, "settings", "settings"),
        ({"gitlab_token": "glpat-of-nobody"}, "gitlab", "gitlab_token"),
        ({"redis_url": "redis://127.0.0.1:1/0"}, "redis", "redis_url"),
        ({"database_url": "sqlite:////nowhere/at/all.db"}, "database", "database_url"),
        ({"toolforge_url": "https://127.0.0.1:1"}, "account dev-1", "toolforge_url"),
    ],
)
def test_each_part_that_is_wrong_is_named_with_its_remedy(
    stack: Stack, changes: dict[str, str], subject: str, remedy: str
) -> None:
    code, findings = doctor(stack, **changes)
    assert code == 1
    assert remedy in wrong(findings)[subject]["remedy"]


def test_a_new_database_has_to_be_migrated(stack: Stack, tmp_path: Path) -> None:
    _, findings = doctor(stack, database_url=f"sqlite:///{tmp_path / 'new.db'}")
    assert "migrate" in wrong(findings)["database"]["remedy"]


def test_a_token_with_too_few_scopes_is_named(stack: Stack) -> None:
    user = stack.seeder.service.id
    made = stack.seeder.api("POST", f"/users/{user}/personal_access_tokens", name="few", scopes=["read_api"])
    _, findings = doctor(stack, gitlab_token=made["token"])
    assert "scope api" in wrong(findings)["gitlab"]["remedy"]


def test_leftovers_in_a_free_account_are_named(stack: Stack) -> None:
    with stack.parts.store.read() as tx:
        account = tx.account_named("dev-2")
        assert account is not None
        credentials = tx.credentials(account.id)
    project = stack.seeder.project("left-behind")
    stack.seeder.push_to_branch(project, "main", {"requirements.txt": ""}, "First")
    with stack.parts.toolforge.account("dev-2", credentials) as client:
        client.start_build(source_url=project.clone_url, ref="refs/heads/main", image_name="foreign")
    _, findings = doctor(stack)
    assert "1 builds" in wrong(findings)["account dev-2"]["message"]


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
