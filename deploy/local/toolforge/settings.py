"""What a local Toolforge can be told: limits, waits and versions. Defaults are production's where they are
known.

Waits are in Toolforge's own seconds; `time_scale` turns them into seconds of this machine. Real work
(cloning, installing, a process starting) takes what it takes and is not scaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

GIB = 1024**3
MIB = 1024**2

#: Names passed from the server's environment to builds and jobs: where packages come from, nothing secret.
PASSED_ENVIRONMENT = (
    "PATH",
    "LANG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "PIP_FIND_LINKS",
    "PIP_DEFAULT_TIMEOUT",
)


@dataclass(frozen=True)
class Latency:
    """How long Toolforge takes over things, in its own seconds.

    The first group is short by default, so that a preview on one machine is quick; the second is what the
    contract says (jobs-api probes, restart back-off, termination), and only `time_scale` shortens it.
    """

    build_pending: float = 0.2
    build_started: float = 0.1
    cancel: float = 0.2
    schedule: float = 0.05
    image_pull: float = 0.05
    probe: float = 0.1
    log_lag: float = 0.0

    startup_timeout: float = 120.0
    liveness: float = 10.0
    unavailable: float = 600.0
    crash_backoff: float = 10.0
    crash_backoff_max: float = 300.0
    termination_grace: float = 15.0
    delete_wait: float = 30.0
    log_start_wait: float = 600.0
    log_keep: float = 3600.0

    def instant(self) -> Latency:
        """The same, with nothing taking any time that is not a limit."""
        return replace(self, build_pending=0, build_started=0, cancel=0, schedule=0, image_pull=0)


@dataclass(frozen=True)
class JobLimits:
    """jobs-api quotas. Production's vary per tool, so clients must read them."""

    pods: int = 16
    continuous_jobs: int = 16
    cron_jobs: int = 50
    cpu: float = 8.0
    memory: int = 8 * GIB
    job_cpu: float = 3.0
    job_memory: int = 6 * GIB
    min_cpu: float = 0.05
    min_memory: int = 50 * MIB


#: heroku/cnb-builder-images builder-24/builder.toml, as it was in September 2025; the static web server is
#: none of its, and has a version of its own (heroku/buildpacks-frontend-web).
BUILDPACKS = {
    "heroku/deb-packages": "0.2.0",
    "heroku/dotnet": "0.9.0",
    "heroku/go": "2.1.2",
    "heroku/java": "7.0.4",
    "heroku/nodejs": "5.1.1",
    "heroku/php": "1.0.8",
    "heroku/procfile": "4.2.1",
    "heroku/python": "2.5.1",
    "heroku/ruby": "12.1.0",
    "heroku/scala": "7.0.4",
    "heroku/static-web-server": "0.1.0",
}


@dataclass(frozen=True)
class Builder:
    """What a builder image offers. `python` are minor versions, `node` the newest release of each line.

    `buildpacks` are the versions of its buildpacks, by their names.
    """

    name: str
    python: tuple[str, ...]
    node: tuple[str, ...]
    buildpacks: Mapping[str, str] = field(default_factory=lambda: BUILDPACKS)


CURRENT_BUILDER = Builder("heroku-builder:24", ("3.10", "3.11", "3.12", "3.13"), ("20.19.5", "22.20.0"))
LATEST_BUILDER = Builder(
    "heroku-builder:24-latest",
    ("3.10", "3.11", "3.12", "3.13", "3.14"),
    ("20.19.5", "22.20.0", "24.9.0"),
    # The first one that has Python 3.14 is 2.7.0 (heroku/buildpacks-python CHANGELOG.md).
    BUILDPACKS | {"heroku/python": "2.7.0"},
)


@dataclass(frozen=True)
class Settings:
    """Everything about one local Toolforge.

    `engine` is `real` or `synthetic`; `scenario` is the parsed scenario of the latter (see `scenario.py`).
    `kept_successes` and `kept_failures` are production's 4 and 2, `quota_bytes` its 1 GiB (-1 = unlimited).
    `base_layer_bytes` is what every image shares, counted once per project. `wrapped_job_errors` answers
    jobs-api errors as `{"messages": {"error": [...]}}` like newer servers; `jobs_publish=False` is a server
    older than `publish`. `deprecated_builder` is `warn`, or `refuse` once past its deadline.
    """

    state: Path
    tools: tuple[str, ...]
    engine: str = "real"
    scenario: Mapping[str, Any] = field(default_factory=dict)
    gateway_port: int = 0
    web_port: int = 0
    admin_port: int = 0
    time_scale: float = 1.0
    latency: Latency = Latency()
    job_limits: JobLimits = JobLimits()
    max_parallel_builds: int = 4
    kept_successes: int = 4
    kept_failures: int = 2
    quota_bytes: int = GIB
    base_layer_bytes: int = 0
    harbor_host: str = "harbor.toolforge.localhost"
    builder: Builder = CURRENT_BUILDER
    latest_builder: Builder = LATEST_BUILDER
    deprecated_builder: str = "warn"
    build_timeout: float = 3600.0
    max_log_bytes: int = 4 * MIB
    max_image_bytes: int = 4 * GIB
    log_content_type: str = "text/plain; charset=utf-8"
    wrapped_job_errors: bool = False
    jobs_publish: bool = True
    passed_environment: tuple[str, ...] = PASSED_ENVIRONMENT
