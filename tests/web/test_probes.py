"""The repository of the probes, as git itself clones it, and what the page and the API say of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator import probes, probing
from orchestrator.probes import Probe, Tried
from orchestrator.runtimes import DEFAULT, LATEST, PROBE, RuntimeSeen
from orchestrator.tinygit import ADVERTISEMENT
from tests.web.scene import WebScene

NOW = 1_700_000_000.0
REFS = "/probes.git/info/refs?service=git-upload-pack"
FETCH = "/probes.git/git-upload-pack"


def has(web: WebScene, *names: str) -> None:
    """There are these branches."""
    with web.parts.store.write() as tx:
        for name in names:
            tried = Tried(Probe(name, DEFAULT), 7, NOW, checked_at=NOW + 60, was_built=False, why="<b>")
            probing.put(tx, tried)


def git(folder: Path, *arguments: str) -> str:
    """What git says, as a build service runs it."""
    environment = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "no_proxy": "*",
    }
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder: Path) -> Mapping[str, str]:
    return {one.name: one.read_text() for one in folder.iterdir() if one.name != ".git"}


@pytest.fixture
def url(web: WebScene) -> str:
    has(web, "python", "python-3.14", "nodejs")
    return probing.git_url(str(web.client.base_url).rstrip("/"))


@pytest.mark.parametrize("version", ["0", "2"])
def test_git_resolves_and_clones_a_branch_one_commit_deep(url: str, tmp_path: Path, version: str) -> None:
    protocol = ("-c", f"protocol.version={version}")
    sha = probes.branch("python-3.14").sha
    assert git(tmp_path, *protocol, "ls-remote", "--", url, "refs/heads/python-3.14") == (
        f"{sha}\trefs/heads/python-3.14\n"
    )
    git(tmp_path, "init", "--quiet", "by-commit")
    git(tmp_path / "by-commit", *protocol, "fetch", "--quiet", "--depth=1", "--", url, sha)
    git(tmp_path / "by-commit", "checkout", "--quiet", "--detach", sha)
    git(tmp_path, *protocol, "clone", "--quiet", "--depth=1", "--branch", "python-3.14", url, "by-branch")
    found = files(tmp_path / "by-branch")
    assert found == files(tmp_path / "by-commit")
    assert found[".python-version"] == "3.14\n"
    assert git(tmp_path / "by-branch", "fsck", "--full", "--strict") == ""


def test_a_clone_is_brought_up_to_date(web: WebScene, url: str, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--branch", "nodejs", url, "all")
    has(web, "go")
    git(tmp_path / "all", "fetch", "--quiet")
    git(tmp_path / "all", "checkout", "--quiet", "go")
    assert files(tmp_path / "all").keys() == {"go.mod", "main.go", "Procfile"}
    git(tmp_path / "all", "fsck", "--full", "--strict")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"0000",
        b"zzzz",
        b"0009done\n",
        b"ffff",
        b"0032want " + b"a" * 40 + b"\n00000009done\n",
        b"0009want\xff" * 9,
        b"0004" * 10_000,
        b"00" * 10_000,
    ],
)
def test_what_git_would_not_ask_is_refused(web: WebScene, url: str, body: bytes) -> None:
    assert url
    assert web.client.post(FETCH, content=body).status_code == 400


def test_nobody_pushes_and_without_probes_there_is_no_repository(web: WebScene) -> None:
    assert web.get(REFS).status_code == 404
    assert web.client.post(FETCH, content=b"0000").status_code == 404
    has(web, "python")
    assert web.get(REFS).headers["Content-Type"] == ADVERTISEMENT
    assert web.get(REFS.replace("upload", "receive")).status_code == 404
    assert web.client.post(FETCH.replace("upload", "receive"), content=b"").status_code == 404


def test_page_and_api_say_when_each_was_tried_and_what_it_has_shown(web: WebScene) -> None:
    assert "There are none" in web.get("/builders").text
    has(web, "python-3.14")
    with web.parts.store.write() as tx:
        probing.put(tx, Tried(Probe("go", LATEST), 8, NOW))
        tx.put_runtime(RuntimeSeen("Python", "3.13", seen_at=NOW, source=PROBE), NOW)
    first, second = web.get("/api/v1/builders/probes").json()["items"]
    assert (first["name"], first["builder"], first["was_built"], first["checked_at"]) == (
        *("go", "latest", None),
        None,
    )
    assert (second["name"], second["was_built"], second["why"]) == ("python-3.14", False, "<b>")
    (seen,) = web.get("/api/v1/builders").json()["items"]
    assert seen["source"] == "probe"
    page = web.get("/builders").text
    assert "python-3.14" in page
    assert "a probe" in page
    assert "<b>" not in page


def test_what_is_ours_is_no_project_to_others(web: WebScene) -> None:
    with web.parts.store.write() as tx:
        probing.set_up(tx, "https://previews.example.org", NOW)
    assert [one["path"] for one in web.get("/api/v1/projects").json()["items"]] == ["group/tool"]
    away = web.get("/probes/-/")
    assert (away.status_code, away.headers["Location"]) == (302, "/builders#probes")
    delivery = {"object_kind": "merge_request", "project": {"id": 0}, "object_attributes": {"iid": 1}}
    assert web.delivers(delivery, secret="").status_code == 400, "GitLab counts from 1"
