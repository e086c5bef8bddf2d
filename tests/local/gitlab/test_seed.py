"""Seeding: samples, any repository, and all of it again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest

from deploy.local import seed, seed_git
from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import Seeder, SeedError
from tests.local.gitlab.world import git


def commits(gl: LocalGitLab, mr: seed.MergeRequest, branch: str) -> list[str]:
    url = f"{gl.url}/api/v4/projects/{mr.project.id}/repository/commits"
    return [item["id"] for item in httpx.get(url, params={"ref_name": branch}).json()]


def file(gl: LocalGitLab, mr: seed.MergeRequest, path: str, ref: str) -> httpx.Response:
    place = path.replace("/", "%2F")
    url = f"{gl.url}/api/v4/projects/{mr.project.id}/repository/files/{place}/raw"
    return httpx.get(url, params={"ref": ref})


@pytest.mark.parametrize("name", seed.sample_names())
def test_every_sample_opens_a_merge_request_that_changes_something(
    gl: LocalGitLab, seeder: Seeder, name: str
) -> None:
    mr = seeder.open_sample(name)
    url = f"{gl.url}/api/v4/projects/{mr.project.id}/merge_requests/{mr.iid}"
    shown = httpx.get(url).json()
    assert (shown["state"], shown["sha"]) == ("opened", mr.sha)
    assert httpx.get(f"{url}/diffs").json()
    assert seeder.open_sample(name) == mr


def test_samples_are_what_the_builder_looks_for(gl: LocalGitLab, seeder: Seeder) -> None:
    wanted = {
        "citation-counter": ("Procfile", "requirements.txt"),
        "coordinate-converter": ("public/index.html",),
        "interwiki-links": ("package.json", "Procfile"),
        "editathon-clock": ("Procfile", "requirements.txt"),
    }
    for name, files in wanted.items():
        mr = seeder.open_sample(name)
        for path in files:
            assert file(gl, mr, path, mr.sha).status_code == 200
    assert "web:" not in file(gl, seeder.open_sample("no-web"), "Procfile", "rename-process").text


def test_an_unknown_sample_is_named_with_those_there_are(seeder: Seeder) -> None:
    with pytest.raises(SeedError, match="there is no sample 'nope'; there are: check-fails"):
        seeder.open_sample("nope")


def repository(tmp_path: Path, count: int) -> Path:
    place = tmp_path / "My Tool"
    place.mkdir()
    git("init", "-q", "-b", "trunk", cwd=place)
    for number in range(count):
        (place / "file.txt").write_text(f"{number}\n")
        git("add", ".", cwd=place)
        git("commit", "-q", "-m", f"Commit {number}", cwd=place)
    return place


def test_any_repository_becomes_a_merge_request_of_its_last_commit(
    gl: LocalGitLab, seeder: Seeder, tmp_path: Path
) -> None:
    place = repository(tmp_path, 3)
    mr = seeder.open_merge_request_from_repository(place)
    head, parent = git("rev-parse", "HEAD", "HEAD^", cwd=place).stdout.split()
    assert mr.sha == head
    assert mr.title == "Commit 2"
    assert mr.project.path == "tools/My-Tool"
    assert commits(gl, mr, "main")[0] == parent


@pytest.mark.parametrize("ref", ["trunk", "v1", "short", "full"])
def test_a_ref_is_a_branch_a_tag_or_a_commit(
    gl: LocalGitLab, seeder: Seeder, tmp_path: Path, ref: str
) -> None:
    place = repository(tmp_path, 3)
    git("tag", "v1", "HEAD^", cwd=place)
    sha = git("rev-parse", "HEAD" if ref == "trunk" else "HEAD^", cwd=place).stdout.strip()
    asked = {"short": sha[:9], "full": sha}.get(ref, ref)
    assert seeder.open_merge_request_from_repository(place, asked, name=f"ref-{ref}").sha == sha


def test_a_single_commit_stands_on_an_empty_one(gl: LocalGitLab, seeder: Seeder, tmp_path: Path) -> None:
    mr = seeder.open_merge_request_from_repository(repository(tmp_path, 1), name="single")
    assert file(gl, mr, "file.txt", mr.sha).text == "0\n"
    assert file(gl, mr, "file.txt", "main").status_code == 404
    assert len(commits(gl, mr, mr.source_branch)) == 2


@pytest.mark.parametrize("depth", [1, 2])
def test_a_shallow_clone_works_too(gl: LocalGitLab, seeder: Seeder, tmp_path: Path, depth: int) -> None:
    place = repository(tmp_path, 4)
    shallow = f"--depth={depth}"
    git("clone", "-q", shallow, place.as_uri(), "shallow", cwd=tmp_path)
    mr = seeder.open_merge_request_from_repository(tmp_path / "shallow", name=f"shallow-{depth}")
    assert file(gl, mr, "file.txt", mr.sha).text == "3\n"
    before = file(gl, mr, "file.txt", "main")
    assert before.text == "2\n" if depth == 2 else before.status_code == 404
    git("clone", "-q", mr.project.clone_url, f"whole-{depth}", cwd=tmp_path)


def test_a_repository_is_cloned_from_an_address(gl: LocalGitLab, seeder: Seeder) -> None:
    origin = seeder.open_sample("editathon-clock")
    mr = seeder.open_merge_request_from_repository(
        origin.project.clone_url, origin.source_branch, name="from-address"
    )
    assert mr.sha == origin.sha


def test_what_cannot_be_cloned_is_said(seeder: Seeder, tmp_path: Path) -> None:
    with pytest.raises(SeedError, match="git fetch"):
        seeder.open_merge_request_from_repository(tmp_path / "nothing")
    with pytest.raises(SeedError, match="has no branch, tag or commit 'nope'"):
        seeder.open_merge_request_from_repository(repository(tmp_path, 1), "nope")
    with pytest.raises(SeedError, match="is no name of a repository or commit"):
        seeder.open_merge_request_from_repository(tmp_path, "--upload-pack=touch x")


def test_a_change_deletes_and_writes_files(gl: LocalGitLab, seeder: Seeder) -> None:
    mr = seeder.open_sample("editathon-clock", project_name="changed")
    sha = seeder.push_change(mr, {"README.md": None, "deep/new.bin": b"\x00"}, "Change")
    assert file(gl, mr, "README.md", sha).status_code == 404
    assert file(gl, mr, "deep/new.bin", sha).content == b"\x00"
    with pytest.raises(SeedError, match="outside"):
        seeder.push_change(mr, {"../escape": "x"}, "Escape")


def test_seeding_again_finds_what_is_there(gl: LocalGitLab, seeder: Seeder) -> None:
    with Seeder(gl.url, gl.root_token) as again:
        assert again.service.id == seeder.service.id
        assert again.service.token != seeder.service.token
        assert again.project("changed-not") == again.project("changed-not")


def test_samples_describe_themselves() -> None:
    for name in seed.sample_names():
        about = json.loads((seed.SAMPLES / name / "sample.json").read_text())
        assert {"title", "description", "branch", "project", "commit"} <= set(about)
        sample = seed.load_sample(name)
        assert sample.main.is_dir()
        assert sample.change.is_dir()


def test_a_change_of_the_same_size_and_age_is_a_change_all_the_same(tmp_path: Path) -> None:
    for folder, text in (("before", "3.13\n"), ("after", "3.14\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / ".python-version").write_text(text)
        os.utime(tmp_path / folder / ".python-version", (1_700_000_000, 1_700_000_000))
    with seed_git.worktree() as tree:
        for folder in ("before", "after"):
            seed_git.copy_over(tmp_path / folder, tree)
            seed_git.commit(tree, folder)
        assert seed_git.git(tree, "diff", "--name-only", "HEAD^", "HEAD") == ".python-version"
