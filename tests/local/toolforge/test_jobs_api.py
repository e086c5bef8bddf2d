"""jobs-api: bodies, texts, codes, storage before runtime, publish (contract 3.1 to 3.4, 3.6)."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.local.toolforge import JobLimits
from tests.local.toolforge.rig import Account, error_of, until

GIB = 1024**3


@pytest.fixture
def image(account: Account) -> str:
    """An image of the account."""
    return account.built(image_name="app")


def test_create_is_201_with_a_default_status_and_reads_back_normalised(account: Account, image: str) -> None:
    answer = account.run(image, method="POST", memory="512Mi", cpu="100m")
    assert answer.status_code == 201
    job = answer.json()["job"]
    assert job["status_short"] == "Unknown"
    assert job["status"]["short"] == "unknown"
    job = account.job()
    assert (job["memory"], job["cpu"], job["mount"], job["filelog"]) == ("0.5Gi", "0.1", "none", False)
    assert job["imagename"] == job["image"] == image.removeprefix("harbor.toolforge.localhost/")
    assert account.jobs("GET").json()["messages"] == {"info": [], "warning": [], "error": []}


def test_an_existing_name_is_409_whatever_its_state(account: Account, image: str) -> None:
    account.run(image, method="POST")
    again = account.run(image, method="PUT")
    assert again.status_code == 409
    assert error_of(again) == "A job with the name web already exists"


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"surprise": 1}, "surprise"),
        ({"port": 0}, "port"),
        ({"memory": None}, "memory"),
        ({"publish": "/else"}, "publish"),
        ({"mount": "some"}, "mount"),
        ({"health_check": {"type": "other"}}, "health_check"),
        ({"replicas": -1}, "replicas"),
    ],
)
def test_what_the_models_refuse_is_422_in_fastapis_shape(
    account: Account, image: str, fields: dict[str, Any], place: str
) -> None:
    answer = account.run(image, **fields)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert all(set(one) == {"type", "loc", "msg", "input"} for one in detail)
    assert {one["loc"][0] for one in detail} == {"body"}
    kinds = {"NewOneOffJob", "NewScheduledJob", "NewContinuousJob"}
    assert {one["loc"][1] for one in detail} == kinds  # the union has no discriminator
    assert any(place in one["loc"] for one in detail)


def test_a_body_that_is_no_json_is_422(account: Account) -> None:
    answer = account.jobs("PATCH", data="{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] == "json_invalid"


def test_an_older_server_knows_no_publish(serve) -> None:
    account = serve(jobs_publish=False)
    image = account.built()
    assert account.run(image, publish="/").status_code == 422
    assert account.run(image).status_code == 200
    assert "publish" not in account.job()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "Web"}, "Invalid job name. See the documentation"),
        ({"name": "web\n"}, "Invalid job name. See the documentation"),
        ({"name": "a" * 53}, "it can't be longer than 52 characters"),
        ({"port": None, "publish": "/"}, "publish requires port to be set"),
        ({"port_protocol": "udp", "publish": "/"}, "publish requires port_protocol set to tcp"),
        ({"port": None, "health_check": {"type": "http", "path": "/"}}, "Port must be set for HTTP health"),
        ({"memory": "7Gi"}, "Requested memory 7Gi is over maximum allowed per container (6Gi)"),
        ({"cpu": "4"}, "Requested cpu 4 is over maximum allowed per container (3)"),
        ({"memory": "1Mi"}, "less than minimum"),
    ],
)
def test_what_the_rules_refuse_is_400(
    account: Account, image: str, fields: dict[str, Any], text: str
) -> None:
    answer = account.run(image, **fields)
    assert answer.status_code == 400
    assert text in error_of(answer)


def test_pydantics_own_words_reach_the_client(account: Account, image: str) -> None:
    text = error_of(account.run(image, port=None, publish="/"))
    assert text.startswith("1 validation error for ContinuousJob\n  Value error, publish requires port")


def test_patch_is_an_upsert_that_says_what_it_did(account: Account, image: str) -> None:
    first = account.run(image).json()
    assert first["job_changed"] is True
    assert first["messages"]["info"] == ["Job web created in storage and runtime"]
    same = account.run(image).json()
    assert (same["job_changed"], same["messages"]["info"]) == (False, ["Job web is already up to date"])
    changed = account.run(image, memory="1Gi").json()
    assert changed["messages"]["info"] == ["Job web was updated in storage and runtime"]


def test_a_field_equal_to_its_default_counts_as_a_change(account: Account, image: str) -> None:
    account.run(image)
    assert account.run(image, mount="none").json()["job_changed"] is True


def test_a_rebuilt_tag_without_its_digest_changes_nothing(account: Account) -> None:
    account.built(image_name="app", ref="refs/heads/one")
    tag = "tool-one/app:latest"
    account.run(tag)
    pod = until(lambda: account.toolforge.state()["tools"]["one"]["jobs"][0]["pods"])[0]["name"]
    account.built(image_name="app", ref="refs/heads/two")
    assert account.run(tag).json()["messages"]["info"] == ["Job web is already up to date"]
    assert account.toolforge.state()["tools"]["one"]["jobs"][0]["pods"][0]["name"] == pod


def test_the_host_is_cut_off_and_a_missing_tag_is_latest(account: Account, image: str) -> None:
    account.run("harbor.toolforge.localhost/tool-one/app")
    assert account.job()["imagename"] == "tool-one/app:latest"


def test_a_failed_creation_leaves_the_definition_stored(account: Account, image: str) -> None:
    answer = account.run("tool-one/none:latest", method="POST")
    assert answer.status_code == 400
    assert error_of(answer) == "No such image 'harbor.toolforge.localhost/tool-one/none:latest'"
    job = account.job()
    assert job["status"]["up_to_date"] is False
    assert job["status"]["short"] == "unknown"
    assert job["status_long"] == (
        "The running version of job 'web' is different from what was configured, please recreate or redeploy."
    )
    assert account.run(image, method="POST").status_code == 409
    assert account.jobs("DELETE", "/jobs/web").status_code == 200
    assert account.run(image, method="POST").status_code == 201


def test_a_failed_update_leaves_storage_ahead_of_the_runtime(account: Account, image: str) -> None:
    account.run(image)
    account.ready()
    account.toolforge.faults.add("runtime_fails", tool="one")
    answer = account.run(image, memory="1Gi")
    assert answer.status_code == 500
    assert error_of(answer) == "Failed to {action}, likely an internal bug in the jobs api."
    assert account.job()["status"]["up_to_date"] is False
    assert account.job()["status_short"] == "Running"
    info = account.run(image, memory="1Gi").json()["messages"]["info"]
    assert info == ["Job web was updated in runtime only"]


def test_only_one_job_of_a_tool_is_published(account: Account, image: str) -> None:
    assert account.run(image, "web", publish="/").status_code == 200
    answer = account.run(image, "candidate", publish="/")
    assert answer.status_code == 400
    assert "are already in use by another public job or webservice." in error_of(answer)
    assert account.run(image, "web", publish="/", memory="1Gi").status_code == 200
    account.jobs("DELETE", "/jobs/candidate")
    assert account.run(image, "candidate").status_code == 200


def test_another_tool_publishes_on_its_own_address(account: Account, other: Account, image: str) -> None:
    assert account.run(image, publish="/").status_code == 200
    assert other.run(image, publish="/").status_code == 200


def test_too_many_jobs_are_a_500(serve) -> None:
    account = serve(job_limits=JobLimits(continuous_jobs=1))
    image = account.built()
    account.run(image, "first")
    answer = account.run(image, "second", method="POST")
    assert answer.status_code == 500
    assert error_of(answer) == (
        "Out of quota for this kind of job. Please see https://w.wiki/6YLP for details."
    )


def test_too_many_pods_show_only_in_the_status(serve) -> None:
    account = serve(job_limits=JobLimits(pods=1, memory=GIB))
    image = account.built()
    account.run(image, "first", memory="1Gi")
    account.ready("first")
    assert account.run(image, "second", method="POST", memory="1Gi").status_code == 201
    job = account.job("second")
    assert job["status"]["short"] == "failed"
    assert job["status"]["messages"] == ["Unable to start, out of quota for memory, pods"]
    assert job["status_short"] == "Unable to start, out of quota for memory, pods"
    account.jobs("DELETE", "/jobs/first")
    account.ready("second")


def test_delete_with_an_empty_name_flushes_all_jobs(account: Account, image: str) -> None:
    account.run(image, "a")
    account.run(image, "b")
    assert account.jobs("DELETE", "/jobs/").status_code == 200
    assert account.jobs("GET").json()["jobs"] == []


def test_missing_jobs_are_404_everywhere(account: Account) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/restart"), ("GET", "/logs")):
        answer = account.jobs(method, f"/jobs/none{path}")
        assert answer.status_code == 404
        assert error_of(answer) == "Job 'none' does not exist"


def test_unset_fields_can_be_left_out_of_the_list(account: Account, image: str) -> None:
    account.run(image)
    whole = account.jobs("GET").json()["jobs"][0]
    short = account.jobs("GET", "/jobs?include_unset=false").json()["jobs"][0]
    assert "filelog" in whole
    assert "filelog" not in short
    assert short["port"] == 8000


@pytest.mark.parametrize(("word", "status"), [("0", 200), ("Yes", 200), ("OFF", 200), ("2", 422), ("", 422)])
def test_what_is_no_boolean_is_fastapis_422(account: Account, word: str, status: int) -> None:
    answer = account.jobs("GET", f"/jobs?include_unset={word}")
    assert answer.status_code == status
    if status == 422:
        (problem,) = answer.json()["detail"]
        assert (problem["type"], problem["loc"]) == ("bool_parsing", ["query", "include_unset"])


def test_quotas_have_their_three_categories(account: Account, image: str) -> None:
    account.run(image, replicas=2)
    account.ready()
    categories = account.jobs("GET", "/quotas").json()["quota"]["categories"]
    assert [category["name"] for category in categories] == [
        "Running jobs",
        "Per-job limits",
        "Job definitions",
    ]
    pods = categories[0]["items"][0]
    assert pods == {"name": "Total running jobs at once (Kubernetes pods)", "limit": "16", "used": "2"}
    assert all("used" not in item for item in categories[1]["items"])


def test_images_list_the_tools_own_tagged_ones(account: Account, image: str) -> None:
    images = account.jobs("GET", "/images").json()["images"]
    assert image.removeprefix("harbor.toolforge.localhost/") in [one["shortname"] for one in images]


def test_a_one_off_job_cannot_be_restarted(serve) -> None:
    account = serve(scenario={"jobs": [{"health": "crash", "exit_code": 0}]})
    body = {"name": "once", "cmd": "x", "imagename": account.built(), "job_type": "one-off"}
    assert account.jobs("POST", json=body).status_code == 201
    until(lambda: account.job("once")["status"]["short"] == "succeeded")
    assert account.job("once")["status_short"] == "Completed"
    assert account.jobs("POST", "/jobs/once/restart").status_code == 400
    assert account.jobs("POST", json=body).status_code == 201  # completed: the name is free again


def test_a_scheduled_job_waits(account: Account, image: str) -> None:
    body = {"name": "cron", "cmd": "x", "imagename": image, "job_type": "scheduled", "schedule": "@daily"}
    assert account.jobs("POST", json=body).status_code == 201
    assert account.job("cron")["status_short"] == "Waiting for scheduled time"
