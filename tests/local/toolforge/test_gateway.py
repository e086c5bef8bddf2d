"""The gateway: who is asking, and what needs no credentials (contract section 1)."""

from __future__ import annotations

import pytest
import requests
import urllib3
from toolforge_weld.api_client import ToolforgeClient
from toolforge_weld.kubernetes_config import Kubeconfig

from tests.local.toolforge import contract
from tests.local.toolforge.rig import Account, error_of, until

OPEN = [
    "/openapi.json",
    "/builds/openapi.json",
    "/jobs/openapi.json",
    "/envvars/openapi.json",
    "/builds/v1/healthz",
    "/jobs/v1/healthz",
    "/builds/v1/metrics",
    "/jobs/v1/metrics",
]


def bare(account: Account, path: str, **headers: str) -> requests.Response:
    """A request without a client certificate."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(account.toolforge.ca_file)
        return session.get(account.toolforge.gateway_url + path, headers=headers, timeout=5)


@pytest.mark.parametrize("path", OPEN)
def test_descriptions_health_and_metrics_need_no_certificate(account: Account, path: str) -> None:
    assert bare(account, path).status_code == 200
    contract.check("GET", path, bare(account, path))


def test_every_operation_that_is_described_has_a_name_of_its_own(account: Account) -> None:
    paths = bare(account, "/openapi.json").json()["paths"]
    names = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(names) == len(set(names)) > 25


def test_a_service_can_be_made_to_say_that_it_is_not_well(account: Account) -> None:
    account.toolforge.faults.add("status", operation="jobs.healthz", status=503)
    assert [bare(account, f"/{api}/v1/healthz").status_code for api in ("builds", "jobs", "jobs")] == [
        200,
        503,
        200,
    ]


def test_everything_else_needs_one(account: Account) -> None:
    assert bare(account, "/builds/v1/tool/one/builds").status_code == 401


def test_another_tools_path_is_403_in_plain_text(account: Account) -> None:
    for service in ("builds/v1/tool/two/builds", "jobs/v1/tool/two/jobs", "envvars/v1/tool/two/envvars"):
        answer = account.call("GET", f"/{service}")
        assert answer.status_code == 403
        assert answer.headers["Content-Type"].startswith("text/plain")


def test_a_token_is_as_good_as_a_certificate(account: Account) -> None:
    token = (account.toolforge.tool_home("one") / ".toolskube" / "token").read_text()
    path = "/envvars/v1/tool/one/envvars"
    assert bare(account, path, Authorization=f"Bearer {token}").status_code == 200
    assert bare(account, path, Authorization="Bearer wrong").status_code == 401
    assert bare(account, path.replace("one", "two"), Authorization=f"Bearer {token}").status_code == 403


def test_an_expired_certificate_is_refused_in_nginx_words(account: Account) -> None:
    requests.post(
        f"{account.toolforge.admin_url}/tools/one/certificate", json={"expired": True}, timeout=5
    ).raise_for_status()
    account.session.close()
    answer = account.builds("GET")
    assert answer.status_code == 400
    assert "The SSL certificate error" in answer.text


def test_a_certificate_of_another_authority_is_no_identity(account: Account, serve: object, tmp_path) -> None:
    stranger = serve(folder="elsewhere")  # type: ignore[operator]
    account.session.close()
    account.session.cert = stranger.session.cert
    with pytest.raises(requests.exceptions.ConnectionError):
        account.builds("GET")


def test_builds_has_no_path_with_a_trailing_slash_and_jobs_has(account: Account) -> None:
    assert account.builds("GET", "/builds/").status_code == 404
    assert "message" in account.builds("GET", "/builds/").json()
    assert account.jobs("GET", "/jobs/").status_code == 200
    assert account.jobs("GET", "/quotas/").status_code == 200


def test_errors_have_the_shape_of_their_producer(account: Account) -> None:
    assert "message" in account.builds("POST", json={}).json()
    assert error_of(account.builds("GET", "/builds/latest")) == "No builds exist yet."
    assert error_of(account.jobs("GET", "/jobs/none")) == "Job 'none' does not exist"
    assert isinstance(account.jobs("POST", json={}).json()["detail"], list)
    logs = account.call("GET", "/logs/v1/tool/one/job/none/logs").json()
    assert list(logs["messages"]) == ["error"]
    assert account.call("GET", "/nothing").headers["Content-Type"].startswith("text/html")


def test_newer_servers_wrap_the_errors_of_jobs(serve) -> None:
    account = serve(wrapped_job_errors=True)
    assert account.jobs("GET", "/jobs/none").json() == {"messages": {"error": ["Job 'none' does not exist"]}}


def test_toolforges_own_client_library_works_with_the_kubeconfig(account: Account) -> None:
    home = account.toolforge.tool_home("one")
    kubeconfig = Kubeconfig.load(path=home / ".kube" / "config")
    assert kubeconfig.current_namespace == "tool-one"
    client = ToolforgeClient(server=account.toolforge.gateway_url, kubeconfig=kubeconfig, user_agent="tests")
    client.session.trust_env = False
    client.session.verify = str(account.toolforge.ca_file)
    try:
        new = client.post("/builds/v1/tool/one/builds", json={"source_url": "https://example.org/x.git"})
        name = new["new_build"]["name"]
        lines = list(
            client.get_raw_lines(f"/builds/v1/tool/one/builds/{name}/logs", params={"follow": "true"})
        )
        assert any("RESULT_SHA=" in line for line in lines)
        assert client.get("/jobs/v1/tool/one/jobs/")["jobs"] == []
    finally:
        client.session.close()
        urllib3.warnings.resetwarnings()


def test_the_calls_are_counted(account: Account) -> None:
    account.builds("GET")
    account.builds("GET", "/builds/nothing")
    account.call("GET", "/openapi.json")
    account.call("GET", "/jobs/v1/healthz")
    calls = account.toolforge.calls()
    by_operation = {"builds.list": 1, "builds.get": 1, "openapi": 1, "jobs.healthz": 1}
    assert calls["by_operation"] == by_operation
    assert calls["by_status"] == {"200": 3, "401": 1}
    assert 'operation="builds.list"' in bare(account, "/builds/v1/metrics").text
    url = f"{account.toolforge.admin_url}/calls"
    assert requests.delete(url, timeout=5).json()["total"] == 0


def test_the_admin_page_shows_what_tools_hold_and_escapes_it(account: Account) -> None:
    account.started("https://example.org/<script>.git")
    page = requests.get(account.toolforge.admin_url, timeout=5)
    assert "&lt;script&gt;" in page.text
    assert "<script>" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_the_admin_port_answers_to_loopback_names_only(account: Account) -> None:
    answer = requests.get(
        f"{account.toolforge.admin_url}/state", headers={"Host": "attacker.example"}, timeout=5
    )
    assert answer.status_code == 403
    form = requests.post(f"{account.toolforge.admin_url}/faults", data={"kind": "slow"}, timeout=5)
    assert form.status_code == 415


def test_the_raw_state_tells_everything(account: Account) -> None:
    image = account.built(image_name="i")
    account.run(image, publish="/")
    until(lambda: account.ready())
    one = requests.get(f"{account.toolforge.admin_url}/state", timeout=5).json()["tools"]["one"]
    assert [build["status"] for build in one["builds"]] == ["BUILD_SUCCESS"]
    assert one["published"] == "web"
    assert one["jobs"][0]["status_short"] == "Running"
    assert one["images"][0]["tags"] == ["latest"]
    assert one["quota"]["used_bytes"] > 0
