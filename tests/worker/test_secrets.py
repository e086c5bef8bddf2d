"""A secret that a build prints is not seen in the kept log, nor in the excerpt, nor by who follows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.livelog import BEGIN, LiveLog
from orchestrator.preview import State
from tests.worker.scene import LEAKED, LEAKING, OURS, Service, until
from worker.follow import Followers


@pytest.fixture(params=["of the installation", "of the project"])
def service(serve: Callable[..., Service], redis_url: str, request: pytest.FixtureRequest) -> Service:
    """A service that knows the secret that is ours, or one of the project's."""
    is_own = request.param == "of the installation"
    token = OURS if is_own else "none"
    made = serve(gitlab_token=token, secret_key="k" * 40, redis_url=redis_url, queue_prefix="secrets")
    made.cleans()
    if not is_own:
        made.parts.secrets.put(made.project_id, "API_KEY", OURS, "max", made.now)
    return made


def test_what_a_build_printed_is_kept_excerpted_and_followed_without_its_secrets(service: Service) -> None:
    deployment = service.looks(service.sees(LEAKING))
    live = LiveLog(service.parts.redis, "secrets", deployment.id)
    live.want()
    thread = Followers(service.parts).follow(deployment.id)
    assert thread is not None
    thread.join(20)
    until(lambda: service.looks(service.deployment(LEAKING)).state is State.FAILED)
    failure = service.deployment(LEAKING).failure
    log = service.parts.views.log(deployment.id, "build")
    followed = "\n".join(line for batch in live.after(BEGIN, wait_seconds=0) for line in batch.lines)
    assert failure is not None
    assert log is not None
    for text in (log, followed, failure.excerpt):
        assert "the last words" in text
        assert text.count("[masked]") == 2
        assert not any(secret in text for secret in (OURS, LEAKED))
