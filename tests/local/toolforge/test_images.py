"""The image store: digests, the moving tag, quotas, clean (contract 2.6, 2.7, 3.3, 5)."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from deploy.local.toolforge.registry import Artifact, Project, QuotaExceeded, format_bytes
from tests.local.toolforge.rig import Account, error_of

SIZED = {
    "builds": [
        {"match": {"image_name": "big"}, "duration": 0, "size": "95Mi"},
        {"match": {"image_name": "huge"}, "duration": 0, "size": "200Mi"},
        {"duration": 0, "size": "10Mi", "shared": {"base": "5Mi"}},
    ]
}
MIB = 1024**2


def quota(account: Account) -> dict[str, str]:
    categories = account.builds("GET", "/quotas").json()["quota"]["categories"]
    assert [category["name"] for category in categories] == ["Registry"]
    return categories[0]["items"][0]


def test_quotas_are_strings_in_the_services_own_units(serve) -> None:
    account = serve(scenario=SIZED, quota_bytes=100 * MIB)
    assert quota(account) == {
        "name": "Storage",
        "limit": "100.00Mi",
        "used": "0B",
        "available": "100.00Mi",
        "capacity": "0%",
    }
    account.built(image_name="a")
    account.built(image_name="b")
    assert quota(account)["used"] == "25.00Mi"  # two of 10, and the layer they share once
    account.toolforge.set_quota("one", 10 * MIB)
    assert quota(account)["available"] == f"-{15 * MIB}B"
    assert quota(account)["capacity"] == "250%"
    account.toolforge.set_quota("one", -1)
    assert quota(account) | {"used": ""} == {
        "name": "Storage",
        "limit": "Unlimited",
        "used": "",
        "available": "Unlimited",
        "capacity": "0%",
    }


def test_asking_for_quotas_creates_the_project(account: Account) -> None:
    answer = account.builds("POST", "/clean")
    assert answer.status_code == 500
    assert error_of(answer) == (
        "Error cleaning up: the project tool-one does not exist, have you started a build yet?"
    )
    quota(account)
    assert account.builds("POST", "/clean").json() == {"messages": {"info": ["Nothing to clean up"]}}


def test_clean_wipes_every_image_of_the_account(serve) -> None:
    account = serve(scenario=SIZED)
    image = account.built(image_name="a")
    account.built(image_name="b")
    info = account.builds("POST", "/clean").json()["messages"]["info"]
    assert info == [
        "Deleted 1 artifacts from harbor repository tool-one/a\n"
        "Deleted 1 artifacts from harbor repository tool-one/b\n"
    ]
    assert quota(account)["used"] == "0B"
    assert error_of(account.run(image)).startswith("No such image ")


def test_clean_stops_at_the_first_artifact_that_fails_and_may_be_repeated(serve) -> None:
    account = serve(scenario=SIZED)
    for name in ("a", "b", "c"):
        account.built(image_name=name)
    account.toolforge.faults.add("clean_fails", tool="one", name="b", count=2)
    for _ in range(2):
        answer = account.builds("POST", "/clean")
        assert answer.status_code == 500
        assert error_of(answer).startswith("Error cleaning up: error trying to delete artifact sha256:")
        held = [one["repository"] for one in account.toolforge.state()["tools"]["one"]["images"]]
        assert held == ["b", "c"]
    assert account.builds("POST", "/clean").status_code == 200
    assert quota(account)["used"] == "0B"


def test_a_build_that_ends_after_clean_pushes_a_fresh_image(serve) -> None:
    account = serve(scenario={"instant": False, "builds": [{"duration": 0.3}]})
    name = account.started()
    account.builds("POST", "/clean")
    account.ended(name)
    assert quota(account)["used"] != "0B"


def test_more_than_ninety_percent_is_warned_of_at_the_next_start(serve) -> None:
    account = serve(scenario=SIZED, quota_bytes=100 * MIB)
    assert account.start(image_name="big").json()["messages"]["warning"]
    warning = account.start(image_name="big").json()["messages"]["warning"]
    assert "has used up 95% of it's alloted quota" in warning[0]


def test_over_quota_a_build_fails_in_its_export(serve) -> None:
    account = serve(scenario=SIZED, quota_bytes=100 * MIB)
    build = account.ended(account.started(image_name="huge"))
    assert build["status"] == "BUILD_FAILURE"
    text = account.log_text(build["build_id"])
    assert "ERROR: failed to export: failed to write image to the following tags:" in text
    assert "will exceed the configured upper limit of 100.0 MiB" in text
    assert account.ended(account.started(image_name="other"))["status"] == "BUILD_SUCCESS"


def test_latest_moves_and_the_older_digest_cannot_be_deployed_any_more(account: Account) -> None:
    first = account.built(image_name="same", ref="refs/heads/one")
    second = account.built(image_name="same", ref="refs/heads/two")
    assert first != second
    refused = account.run(first)
    assert refused.status_code == 400
    assert error_of(refused) == f"No such image '{first}'"
    account.jobs("DELETE", "/jobs/web")
    assert account.run(second).status_code == 200


def test_images_of_their_own_name_stay_deployable_side_by_side(account: Account) -> None:
    first, second = account.built(image_name="d1"), account.built(image_name="d2")
    assert account.run(first).status_code == 200
    assert account.run(second).status_code == 200
    assert account.run(first).status_code == 200


def test_another_tools_image_may_be_run(account: Account, other: Account) -> None:
    assert other.run(account.built(image_name="lent")).status_code == 200


def test_a_harbor_that_is_down_looks_like_a_missing_image(account: Account) -> None:
    image = account.built()
    account.toolforge.faults.add("harbor_down", tool="one", operation="builds", count=2)
    assert account.builds("GET", "/quotas").status_code == 503
    assert account.builds("POST", "/clean").status_code == 500
    account.toolforge.faults.add("harbor_down", tool="one", operation="images")
    assert error_of(account.run(image)).startswith("No such image ")
    assert account.run(image).status_code == 200


@given(amount=st.integers(min_value=0, max_value=10**14))
def test_amounts_are_written_with_a_unit_and_two_digits(amount: int) -> None:
    text = format_bytes(amount)
    number, unit = text.rstrip("TGMKiB"), text.lstrip("0123456789.")
    factor = {"B": 1, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4}[unit]
    assert abs(float(number) * factor - amount) <= factor * 0.005 + 1
    assert ("." in number) == (unit != "B")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.dictionaries(st.sampled_from("uvwxyz"), st.just(10)))))
def test_a_project_never_holds_more_than_its_quota_and_one_latest_a_repository(
    pushes: list[tuple[str, dict[str, int]]],
) -> None:
    project = Project("tool-x", 40)
    for number, (repository, layers) in enumerate(pushes):
        artifact = Artifact(f"sha256:{sorted(layers)}{number % 2}", repository, layers, ["latest"], 0.0)
        with contextlib.suppress(QuotaExceeded):
            project.push(artifact)
    assert project.used <= 40
    for repository in project.repositories():
        tagged = [a for a in project.artifacts if a.repository == repository and a.tags]
        assert len(tagged) == 1
