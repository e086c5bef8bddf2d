"""The alerts fire in a real Prometheus while a part of a running service is stopped, and not after that."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.follow import TookTooLong, wait_for
from deploy.stack import Stack
from orchestrator.errors import PreviewError
from orchestrator.preview import State
from tests.databases import Server
from tests.deploy.test_monitoring import panels, rules
from tests.whole.prometheus import Prometheus
from tests.whole.scene import Scene, server

PROGRAM = shutil.which("prometheus")
TOKEN = "a-token-for-prometheus"
#: Later than the alert of late work bears.
_MINUTES_LATE = 5

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no prometheus (apt-get install prometheus)")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgresql: Server) -> Iterator[Stack]:
    """A stack of this module's own, on a database that can be stopped, with a token for its metrics."""
    url = postgresql.create()
    overrides = {"database_url": url, "metrics_token": TOKEN, "check_seconds": 2.0, "stable_seconds": 0.5}
    state = Path(tmp_path_factory.mktemp("stack"))
    with Stack(state, tools=("dev-1", "dev-2", "dev-3"), overrides=overrides) as made:
        yield made
    postgresql.drop(url)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> Iterator[Prometheus]:
    assert PROGRAM is not None
    address = urlsplit(stack.places.web_url).netloc
    folder = Path(tmp_path_factory.mktemp("prometheus"))
    with Prometheus(PROGRAM, folder, address=address, token=TOKEN) as made:
        yield made


def wait_until_these_fire(prometheus: Prometheus, *names: str) -> None:
    """These, and no others."""
    wanted = {f"ToolforgePreview{name}" for name in names}
    try:
        wait_for("alerts", lambda: prometheus.firing() == wanted, seconds=120)
    except TookTooLong:
        raise AssertionError(f"wanted {wanted}, not {prometheus.alerts()}") from None


def test_each_panel_and_rule_is_answered_with_what_goes_on(
    stack: Stack, scene: Scene, prometheus: Prometheus
) -> None:
    wait_for("the first scrape", lambda: prometheus.ask('up{job="toolforge-preview"}') == [1.0])
    live, failing = scene.opens(), scene.opens(server("failing", status=500))
    assert (scene.verdict(live).state, scene.verdict(failing).state) == (State.LIVE, State.FAILED)

    def shown(title: str) -> list[float]:
        (panel,) = (panel for panel in panels() if panel["title"] == title)
        return [value for target in panel["targets"] for value in prometheus.ask(target["expr"])]

    def wait_until(title: str, shows: Callable[[list[float]], bool]) -> None:
        # Until it was scraped; calls and answers are counted some seconds later.
        wait_for(f"{title}, not {shown(title)}", lambda: shows(shown(title)), seconds=30)

    wait_until("Live previews", lambda values: values == [1.0])
    wait_until("Accounts that can be used", lambda values: values == [3.0])
    moving = (
        *("Wait for an account and a build slot", "Time in each stage, 95 %", "Verdicts an hour"),
        *("Calls a second by outcome", "Answers to webhooks"),
    )
    for title in moving:
        wait_until(title, lambda values: any(value > 0 for value in values))
    with pytest.raises(PreviewError):
        stack.parts.gitlab.project("nobody/nothing")
    stack.parts.counting.flush()
    for panel in panels():
        wait_until(panel["title"], bool)
    for rule in rules():
        assert prometheus.ask(rule["expr"]) == [], f"{rule['alert']} though all is well"


@pytest.mark.parametrize(
    ("stopped", "alert"),
    [
        (("web",), "Down"),
        (("redis",), "RedisDown"),
        (("beat",), "WorkIsLate"),
        (("worker-builds", "worker-gitlab"), "WorkIsLate"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_an_alert_fires_while_a_part_is_stopped(
    stopped: tuple[str, ...], alert: str, stack: Stack, prometheus: Prometheus
) -> None:
    wait_until_these_fire(prometheus)
    for name in stopped:
        stack.kill(name, and_keep_down=True)
    try:
        if alert == "WorkIsLate":
            stack.parts.lifecycle.inspect_all(time.time() - _MINUTES_LATE * 60)
        wait_until_these_fire(prometheus, alert)
    finally:
        for name in stopped:
            stack.start_again(name)
    wait_until_these_fire(prometheus)


def test_a_stopped_database_is_told_and_so_are_the_deliveries_that_were_refused_meanwhile(
    stack: Stack, postgresql: Server, prometheus: Prometheus
) -> None:
    wait_until_these_fire(prometheus)
    postgresql.kill()
    try:
        delivery = httpx.post(
            f"{stack.places.web_url}/webhook/gitlab", json={"project": {"id": 1}}, trust_env=False, timeout=60
        )
        assert delivery.status_code == 503
        wait_until_these_fire(prometheus, "Down")
    finally:
        postgresql.start()
    wait_until_these_fire(prometheus, "WebhooksFail")


def test_deliveries_with_wrong_secrets_are_told(stack: Stack, scene: Scene, prometheus: Prometheus) -> None:
    project_id = scene.opens().project.id
    for _ in range(10):
        answer = httpx.post(
            f"{stack.places.web_url}/webhook/gitlab",
            json={"project": {"id": project_id}},
            headers={"X-Gitlab-Token": "wrong"},
            trust_env=False,
        )
        assert answer.status_code == 401
    name = "ToolforgePreviewWebhooksRefused"
    wait_for(name, lambda: name in prometheus.firing(), seconds=60)
