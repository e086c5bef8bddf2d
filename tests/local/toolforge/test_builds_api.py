"""builds-api: order of checks, texts, codes and shapes (contract 2.1 to 2.3)."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.local.toolforge import Latency
from tests.local.toolforge.rig import Account, Repository, error_of, until

SLOW = {"instant": False, "builds": [{"duration": 1000}]}


def test_start_answers_200_and_echoes_parameters_without_image_name(account: Account) -> None:
    answer = account.start(image_name="mr1-d2", use_latest_versions=True, envvars={"abc": "1"}, unknown_key=1)
    assert answer.status_code == 200
    body = answer.json()
    assert body["messages"] == {"warning": []}
    assert re.fullmatch(
        r"one-buildpacks-pipelinerun-[bcdfghjklmnpqrstvwxz2456789]{5}", body["new_build"]["name"]
    )
    assert "image_name" not in body["new_build"]["parameters"]
    build = account.build(body["new_build"]["name"])
    assert build["parameters"]["image_name"] == "mr1-d2"
    assert build["parameters"]["envvars"] == {"abc": "1"}
    assert build["resolved_ref"] == body["new_build"]["resolved_ref"]


def test_an_empty_ref_is_head_and_the_default_image_is_named_after_the_tool(account: Account) -> None:
    name = account.builds("POST", json={"source_url": "https://example.org/x.git"}).json()["new_build"][
        "name"
    ]
    build = account.build(name)
    assert build["parameters"]["ref"] == "HEAD"
    assert "/tool-one/tool-one:latest@sha256:" in build["destination_image"]


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "{}",
        '{"source_url": 1}',
        '{"source_url": "x", "envvars": []}',
        '{"source_url": "x", "use_latest_versions": "no"}',
    ],
)
def test_a_body_that_does_not_fit_is_400_in_the_validators_shape(account: Account, body: str) -> None:
    answer = account.builds("POST", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert list(answer.json()) == ["message"]


def test_a_form_is_not_json(account: Account) -> None:
    assert account.builds("POST", data={"source_url": "x"}).status_code == 400


@pytest.mark.parametrize("name", ["ab", "1abc", "a-bc", "abc\n", ""])
def test_build_time_names_need_three_characters(account: Account, name: str) -> None:
    answer = account.start(envvars={name: "1"})
    assert answer.status_code == 400
    assert error_of(answer) == (
        "Not valid environment variables passed: not valid environment variable name, "
        f"must match '^[A-Za-z_][A-Za-z_0-9]{{2,}}$', got '{name}'"
    )
    assert account.start(envvars={"abc": "1"}).status_code == 200


def test_a_bad_name_is_refused_before_anything_is_created(account: Account) -> None:
    account.start(envvars={"a": "1"})
    assert account.toolforge.state()["tools"]["one"]["project_exists"] is False


def test_harbor_trouble_at_start_is_503(account: Account) -> None:
    account.toolforge.faults.add("harbor_down", tool="one")
    answer = account.start()
    assert answer.status_code == 503
    assert error_of(answer) == ("Failed to create harbor project for tool one: harbor connection refused")
    assert account.start().status_code == 200


def test_too_many_builds_is_409_with_the_numbers(serve) -> None:
    account = serve(scenario=SLOW)
    for _ in range(4):
        account.started()
    answer = account.start()
    assert answer.status_code == 409
    assert error_of(answer).startswith("Got too many builds running (4 out of 4 max), ")


def test_the_limit_is_per_tool(serve) -> None:
    account = serve(scenario=SLOW, max_parallel_builds=1)
    other = Account(account.toolforge, "two")
    account.started()
    assert account.start().status_code == 409
    assert other.start().status_code == 200
    other.close()


def test_the_limit_is_checked_before_the_ref(serve) -> None:
    scenario = {"builds": [{"match": {"ref": "no*"}, "ref_error": "none"}, {"duration": 1000}]}
    account = serve(scenario=scenario, max_parallel_builds=1)
    account.started()
    assert account.start(ref="nowhere").status_code == 409


def test_simultaneous_starts_can_all_pass_the_limit(serve) -> None:
    account = serve(scenario=SLOW, max_parallel_builds=1)
    account.toolforge.faults.add("limit_race", tool="one", count=None, seconds=0.3)
    accounts = [Account(account.toolforge, "one") for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        codes = [answer.status_code for answer in pool.map(lambda one: one.start(), accounts)]
    for one in accounts:
        one.close()
    assert codes == [200, 200, 200]
    assert account.start().status_code == 409


def test_a_cancelled_build_counts_until_it_has_ended(serve) -> None:
    account = serve(scenario=SLOW, max_parallel_builds=1, latency=Latency(cancel=0.8))
    name = account.started()
    assert account.builds("PUT", f"/builds/{name}/cancel").json() == {"id": name, "messages": {}}
    assert account.build(name)["status"] == "BUILD_CANCELLED"
    assert account.build(name)["end_time"] == ""
    assert account.start().status_code == 409
    account.ended(name)
    assert account.start().status_code == 200


def test_cancelling_twice_or_too_late_is_409(serve) -> None:
    account = serve(
        scenario={"builds": [{"match": {"image_name": "slow"}, "duration": 1000}, {"duration": 0}]}
    )
    done, slow = account.started(), account.started(image_name="slow")
    account.builds("PUT", f"/builds/{slow}/cancel")
    again = account.builds("PUT", f"/builds/{slow}/cancel")
    assert again.status_code == 409
    assert error_of(again) == f"Build {slow} cannot be cancelled again. It has already been cancelled"
    late = account.builds("PUT", f"/builds/{done}/cancel")
    assert late.status_code == 409
    assert error_of(late) == f"Build {done} cannot be cancelled because it has already completed"


def test_another_tools_build_is_401_not_404(account: Account) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("PUT", "/cancel"), ("GET", "/logs")):
        answer = account.builds(method, f"/builds/two-buildpacks-pipelinerun-bbbbb{path}")
        assert answer.status_code == 401
        assert error_of(answer) == (
            "Build 'two-buildpacks-pipelinerun-bbbbb' does not exist or belong to tool 'one'. "
            "Double check the name and try again."
        )


def test_a_missing_build_is_404_with_a_dot_only_in_get(account: Account) -> None:
    missing = "one-buildpacks-pipelinerun-bbbbb"
    assert error_of(account.builds("GET", f"/builds/{missing}")) == f"Build with id {missing} not found."
    assert error_of(account.builds("DELETE", f"/builds/{missing}")) == f"Build with id {missing} not found"
    assert error_of(account.builds("GET", f"/builds/{missing}/logs")) == (
        f"Unable to find build with id '{missing}'"
    )


def test_the_list_is_newest_first_and_latest_is_its_first(account: Account) -> None:
    names = [account.started() for _ in range(3)]
    listed = account.builds("GET").json()
    assert [build["build_id"] for build in listed["builds"]] == names[::-1]
    assert listed["messages"] == {}
    assert account.builds("GET", "/builds/latest").json()["build"]["build_id"] == names[-1]


def test_deprecated_builders_warn_and_are_then_refused(serve) -> None:
    account = serve()
    assert account.start(use_deprecated_versions=True).json()["messages"]["warning"]
    assert account.start(use_deprecated_versions=True, use_latest_versions=True).json()["messages"] == {
        "warning": []
    }
    strict = serve(folder="strict", deprecated_builder="refuse")
    answer = strict.start(use_deprecated_versions=True)
    assert answer.status_code == 400
    assert error_of(answer).startswith("Deprecated version are not supported anymore")


def test_a_commit_sha_cannot_be_built(serve, repository) -> None:
    account, source = serve(scenario={"resolve": "git"}), repository({"a": "1"})
    sha = source.git("rev-parse", "HEAD")
    answer = account.start(source.url, ref=sha)
    assert answer.status_code == 400
    assert error_of(answer) == (
        f"Failed to resolve ref {sha}, maybe the repository URL is not public? "
        f"Error: failed to resolve ref: unable to resolve ref {sha} from {source.url}"
    )
    assert account.start(source.url).json()["new_build"]["resolved_ref"] == sha


def test_a_short_branch_name_can_build_another_branch(serve, repository) -> None:
    account, source = serve(scenario={"resolve": "git"}), repository({"a": "1"})
    other = source.commit({"a": "2"}, branch="feature/main")
    resolved = account.start(source.url, ref="main").json()["new_build"]["resolved_ref"]
    assert resolved == other
    full = account.start(source.url, ref="refs/heads/main").json()["new_build"]["resolved_ref"]
    assert full != other


def test_an_annotated_tag_resolves_to_the_tag(serve, repository) -> None:
    account, source = serve(scenario={"resolve": "git"}), repository({"a": "1"})
    source.git("tag", "--annotate", "--message=one", "v1")
    resolved = account.start(source.url, ref="v1").json()["new_build"]["resolved_ref"]
    assert resolved == source.git("rev-parse", "refs/tags/v1")
    assert resolved != source.git("rev-parse", "HEAD")


def test_a_repository_that_is_not_there_is_exit_status_128(serve, tmp_path) -> None:
    account = serve(scenario={"resolve": "git"})
    answer = account.start((tmp_path / "none").as_uri())
    assert answer.status_code == 400
    assert error_of(answer).endswith("failed to resolve ref: exit status 128")


def test_an_address_cannot_be_an_option_or_run_a_program(serve, tmp_path) -> None:
    account = serve(scenario={"resolve": "git"})
    proof = tmp_path / "proof"
    for url in (f"--upload-pack=touch {proof}", f"ext::sh -c touch% {proof}"):
        assert account.start(url).status_code == 400
    assert not proof.exists()


def test_a_slow_ls_remote_outlasts_the_client_and_the_build_exists_all_the_same(serve, repository) -> None:
    import requests

    account = serve()
    account.toolforge.faults.add("ls_remote_slow", tool="one", seconds=0.6)
    with pytest.raises(requests.exceptions.ReadTimeout):
        account.builds("POST", json={"source_url": "https://example.org/x.git"}, timeout=0.2)
    until(lambda: account.builds("GET").json()["builds"])


def test_a_failed_start_has_pruned_all_the_same(serve) -> None:
    account = serve(scenario={"builds": [{"match": {"ref": "no*"}, "ref_error": "none"}, {"duration": 0}]})
    names = [account.started() for _ in range(5)]
    assert len(account.builds("GET").json()["builds"]) == 5
    assert account.start(ref="nowhere").status_code == 400
    assert account.builds("GET", f"/builds/{names[0]}").status_code == 404
    assert len(account.builds("GET").json()["builds"]) == 4


def test_a_moved_branch_shows_in_the_resolved_ref(serve, repository) -> None:
    account = serve(scenario={"resolve": "git"})
    source: Repository = repository({"a": "1"})
    first = account.start(source.url).json()["new_build"]["resolved_ref"]
    second = source.commit({"a": "2"})
    assert account.start(source.url).json()["new_build"]["resolved_ref"] == second != first
