"""Clone and push over HTTP: who may, what is refused, and what follows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.local.gitlab import LocalGitLab
from tests.local.gitlab.world import Scene, git


def test_anybody_clones_a_public_project(shared_scene: Scene, tmp_path: Path) -> None:
    git("clone", "-q", shared_scene.project.clone_url, "clone", cwd=tmp_path)
    assert (tmp_path / "clone/app.py").read_text() == "one\n"


def test_a_shallow_clone_of_any_commit_works(shared_scene: Scene, tmp_path: Path) -> None:
    git("init", "-q", cwd=tmp_path)
    git("fetch", "-q", "--depth=1", shared_scene.project.clone_url, shared_scene.mr.sha, cwd=tmp_path)
    assert git("show", "FETCH_HEAD:app.py", cwd=tmp_path).stdout == "two\n"


def test_pushing_needs_a_developers_token(scene: Scene, tmp_path: Path) -> None:
    git("clone", "-q", scene.project.clone_url, "clone", cwd=tmp_path)
    clone = tmp_path / "clone"
    git("commit", "-q", "--allow-empty", "-m", "x", cwd=clone)
    for token, refusal in (
        ("", "could not read Username"),
        ("wrong", "Authentication failed"),
        (scene.seeder.reporter.token, "not allowed to push"),
    ):
        url = scene.seeder.push_url(scene.project, token) if token else scene.project.clone_url
        pushed = git("push", "-q", url, "HEAD:refs/heads/x", cwd=clone, check=False)
        assert pushed.returncode != 0
        assert refusal in pushed.stderr
    git("push", "-q", scene.seeder.push_url(scene.project), "HEAD:refs/heads/x", cwd=clone)
    assert scene.service.get(f"{scene.path}/repository/branches/x").status_code == 200


def test_a_private_project_needs_a_members_token_for_reading(scene: Scene, tmp_path: Path) -> None:
    scene.service.put(scene.path, json={"visibility": "private"})
    anonymous = git("clone", "-q", scene.project.clone_url, "a", cwd=tmp_path, check=False)
    assert "could not read Username" in anonymous.stderr
    git("clone", "-q", scene.seeder.push_url(scene.project, scene.seeder.reporter.token), "b", cwd=tmp_path)


def test_nobody_pushes_to_gitlabs_own_refs(shared_scene: Scene, tmp_path: Path) -> None:
    git("clone", "-q", shared_scene.seeder.push_url(shared_scene.project), "clone", cwd=tmp_path)
    pushed = git(
        "push", "-q", "origin", "HEAD:refs/merge-requests/1/head", cwd=tmp_path / "clone", check=False
    )
    assert "deny updating a hidden ref" in pushed.stderr


def test_the_address_without_dot_git_leads_to_the_one_with_it(shared_scene: Scene, tmp_path: Path) -> None:
    git("clone", "-q", shared_scene.project.web_url, "clone", cwd=tmp_path)
    assert (tmp_path / "clone/app.py").exists()


def test_large_pushes_go_through(scene: Scene, tmp_path: Path) -> None:
    """Above git's buffer (1 MiB) the client sends in chunks, after a probe."""
    git("clone", "-q", scene.seeder.push_url(scene.project), "clone", cwd=tmp_path)
    clone = tmp_path / "clone"
    (clone / "large.bin").write_bytes(os.urandom(3 * 1024 * 1024))
    git("add", ".", cwd=clone)
    git("commit", "-q", "-m", "large", cwd=clone)
    git("push", "-q", "origin", "HEAD:refs/heads/feature", "--force", cwd=clone)
    assert scene.show()["sha"] == git("rev-parse", "HEAD", cwd=clone).stdout.strip()


def test_a_push_whose_answer_is_lost_has_happened(scene: Scene, gl: LocalGitLab, tmp_path: Path) -> None:
    git("clone", "-q", scene.seeder.push_url(scene.project), "clone", cwd=tmp_path)
    clone = tmp_path / "clone"
    git("commit", "-q", "--allow-empty", "-m", "x", cwd=clone)
    gl.faults.add("git receive-pack", "lost")
    assert git("push", "-q", "origin", "HEAD:refs/heads/x", cwd=clone, check=False).returncode != 0
    assert scene.service.get(f"{scene.path}/repository/branches/x").status_code == 200


@pytest.mark.parametrize("kind", ["status", "cut_before", "cut_mid", "lost"])
def test_a_clone_fails_on_demand_and_then_works(
    shared_scene: Scene, gl: LocalGitLab, tmp_path: Path, kind: str
) -> None:
    # Always: git's HTTP library tries again by itself when a connection that it had kept is closed.
    gl.faults.add("git upload-pack", kind, status=502, skip=1, count=-1)
    broken = git("clone", "-q", shared_scene.project.clone_url, "a", cwd=tmp_path, check=False)
    assert broken.returncode != 0
    gl.faults.clear()
    git("clone", "-q", shared_scene.project.clone_url, "b", cwd=tmp_path)


def test_an_annotated_tag_is_pushed(shared_scene: Scene, tmp_path: Path) -> None:
    git("clone", "-q", shared_scene.seeder.push_url(shared_scene.project), "clone", cwd=tmp_path)
    git("tag", "-a", "-m", "one", "v1", cwd=tmp_path / "clone")
    git("push", "-q", "origin", "v1", cwd=tmp_path / "clone")
    commit = shared_scene.service.get(f"{shared_scene.path}/repository/commits/v1")
    assert commit.json()["title"] == "First"
