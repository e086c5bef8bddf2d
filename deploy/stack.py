"""Everything on this machine: the product's processes, and a local Toolforge and GitLab for them.

All of it listens on loopback, keeps its state in one folder, and ends with this process, however that ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import SecretStr

from deploy.local.seed import Seeder
from deploy.redis import configuration, redis_binary
from orchestrator.bootstrap import Parts
from orchestrator.connect import add_account
from orchestrator.errors import BadInput
from orchestrator.settings import PREFIX, Settings, load_settings
from web.sign_in import back_url

_PR_SET_PDEATHSIG = 1
_PORTS = ("redis", "web", "gitlab", "gateway", "tools", "toolforge_admin")
_BUILDERS_QUEUES = "toolforge,teardown,clock"
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
#: How long processes of a killed stack may hold their ports.
_LINGER_SECONDS = 5.0
#: Those that use others end first.
_USERS = ("beat", "worker", "web")
_USED = ("toolforge", "gitlab", "redis")


@dataclass(frozen=True)
class LocalPlaces:
    """Where the parts of a stack are reached."""

    web_url: str
    gitlab_url: str
    #: The local GitLab's administrator; the product itself has a token of its own with fewer rights.
    gitlab_root_token: str
    toolforge_admin_url: str


class Stack:
    """A whole set-up in `state`, with `tools` dev tool accounts; a context manager.

    `overrides` are settings that differ from the stack's own; `builders` is how many worker processes build,
    which makes sense beside a `database_url` of a server. Raises :class:`BadInput` when a part does not
    come up, with the end of its log.
    """

    def __init__(
        self,
        state: Path,
        *,
        tools: Sequence[str],
        overrides: Mapping[str, Any] | None = None,
        toolforge_options: Sequence[str] = (),
        builders: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment`: more variables for the product's own processes."""
        self._state = state.resolve()
        self._tools = tools
        self._overrides = dict(overrides or {})
        self._toolforge_options = toolforge_options
        self._builders = builders
        self._environment = dict(environment or {})
        self._commands: dict[str, tuple[list[str], Mapping[str, str] | None]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        #: Set once it has started.
        self.parts: Parts
        self.places: LocalPlaces
        #: Opens merge requests and pushes to them, as people would.
        self.seeder: Seeder

    @property
    def logs(self) -> Path:
        """The folder in which each process has a file with what it wrote."""
        return self._state / "logs"

    def __enter__(self) -> Stack:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        kept = _kept(self._state / "stack.json")
        ports, password = kept["ports"], kept["redis_password"]
        self._start_redis(ports["redis"], password)
        self._start_twin(
            "toolforge",
            *("--tools", ",".join(self._tools), "--gateway-port", str(ports["gateway"])),
            *("--web-port", str(ports["tools"]), "--admin-port", str(ports["toolforge_admin"])),
            *self._toolforge_options,
        )
        self._start_twin("gitlab", "--port", str(ports["gitlab"]))
        toolforge = self._ready("toolforge")
        gitlab = self._ready("gitlab")
        self.seeder = Seeder(gitlab["url"], gitlab["root_token"])
        web_url = f"http://127.0.0.1:{ports['web']}"
        application = self._application(kept, back_url(web_url))
        settings = load_settings(
            **{
                "database_url": f"sqlite:///{self._state / 'toolforge-preview.db'}",
                "redis_url": f"redis://:{password}@127.0.0.1:{ports['redis']}/0",
                "public_url": web_url,
                "gitlab_url": gitlab["url"],
                "gitlab_token": self.seeder.service.token,
                "secret_key": kept["secret_key"],
                "gitlab_application_id": application["id"],
                "gitlab_application_secret": application["secret"],
                "operators": self.seeder.operator.username,
                "toolforge_url": toolforge["gateway_url"],
                "toolforge_ca_file": Path(toolforge["ca_file"]),
                "preview_url": f"http://{{tool}}.localhost:{toolforge['web_port']}",
                "log_format": "text",
                "poll_min_seconds": 0.2,
                "quiet_seconds": 1.0,
                "bot_quiet_seconds": 2.0,
                "stable_seconds": 1.0,
                "check_seconds": 10.0,
                "start_seconds": 60.0,
                # Who measures wants the processors; who shows asks for pictures, or for probes.
                "chromium": "",
                "probe_days": 0,
            }
            | self._overrides
        )
        self.parts = Parts(settings)
        self.parts.migrate()
        self.places = LocalPlaces(web_url, gitlab["url"], gitlab["root_token"], toolforge["admin_url"])
        self._add_accounts(toolforge["tools"])
        self._start_product(settings, ports["web"])

    def _start_twin(self, name: str, *options: str) -> None:
        module = [sys.executable, "-m", f"deploy.local.{name}"]
        self._spawn(name, [*module, "--state", str(self._state / name), *options])

    def _application(self, kept: dict[str, Any], redirect_uri: str) -> Mapping[str, str]:
        """The OAuth application through which people sign in; GitLab tells its secret only once."""
        if "application" not in kept:
            made = self.seeder.application("Toolforge Preview", redirect_uri)
            kept["application"] = {"id": made.id, "secret": made.secret}
            _keep(self._state / "stack.json", kept)
        application: Mapping[str, str] = kept["application"]
        return application

    def _add_accounts(self, tools: Mapping[str, Mapping[str, str]]) -> None:
        with self.parts.store.read() as tx:
            known = {account.name for account in tx.accounts()}
        for name, files in tools.items():
            if name not in known:
                credentials = {"cert": files["client_cert"], "key": files["client_key"]}
                add_account(self.parts, name, credentials, time.time())

    def _start_redis(self, port: int, password: str) -> None:
        config = self._state / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(
            configuration(port=port, password=password, bind="127.0.0.1") + f"dir {self._state}\n"
        )
        self._spawn("redis", [redis_binary(), str(config)])
        self._wait("redis", lambda: _accepts(port))

    def _start_product(self, settings: Settings, web_port: int) -> None:
        environment = settings_environment(settings) | self._environment
        danas_token = {"DANAS_TOKEN": self.seeder.developer.token}
        _write_environment(self._state / "settings.env", environment | danas_token)
        celery = [sys.executable, "-m", "celery", "--quiet", "--app", "worker.app"]
        threads = [
            "worker",
            "--pool",
            "threads",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
        bind = ["--bind", f"127.0.0.1:{web_port}", "--workers", "1"]
        # A stream has a thread for itself; and who watches one must not hold the end up.
        bind += ["--threads", str(settings.max_streams + 16), "--graceful-timeout", "2"]
        self._spawn(
            "web",
            [sys.executable, "-m", "gunicorn", *bind, "--no-control-socket", "web.app:create_app()"],
            environment,
        )
        more = [(f"builds-{number}", _BUILDERS_QUEUES) for number in range(2, self._builders + 1)]
        for name, queues in (("builds", _BUILDERS_QUEUES), *more, ("gitlab", "gitlab,clock")):
            self._spawn(
                f"worker-{name}",
                [*celery, *threads, "--concurrency", "12", "--queues", queues, "--hostname", f"{name}@local"],
                environment,
            )
        self._spawn("beat", [*celery, "beat", "--pidfile", ""], environment)
        self._wait("web", lambda: _answers(f"http://127.0.0.1:{web_port}/readyz"))
        self._supervisor.start()

    def _spawn(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        self._commands[name] = (command, environment)
        with (self.logs / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_clean_environment() | dict(environment or {}),
                # Ctrl-C is for this process, which then stops the others in their order.
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def _ready(self, name: str) -> dict[str, Any]:
        """What a local twin says of itself once it listens."""
        path = self._state / name / "ready.json"
        pid = self._processes[name].pid

        def is_ready() -> bool:
            with suppress(OSError, ValueError):
                return bool(json.loads(path.read_text())["pid"] == pid)
            return False

        self._wait(name, is_ready)
        answer: dict[str, Any] = json.loads(path.read_text())
        return answer

    def _wait(self, name: str, is_up: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not is_up():
            ended = self._processes[name].poll() is not None
            if ended or time.monotonic() > deadline:
                log = self.logs / f"{name}.log"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise BadInput(
                    f"{name} {'ended' if ended else 'did not come up'}; its log {log} ends:\n{tail}"
                )
            time.sleep(0.05)

    def _supervise(self) -> None:
        """Start again what ends by itself, as any process manager in service does.

        A Celery worker, for one, can end when Redis goes away at a bad moment.
        """
        while not self._stopping.wait(0.5):
            with self._lock:
                for name, process in list(self._processes.items()):
                    if process.poll() is not None and not self._stopping.is_set():
                        self._spawn(name, *self._commands[name])

    def pid(self, name: str) -> int:
        """Process id of a part."""
        return self._processes[name].pid

    def kill(self, name: str, *, and_keep_down: bool = False) -> None:
        """`kill -9` one process, for those who want to see that it does no harm; it is started again.

        With `and_keep_down` only by :meth:`start_again`.
        """
        with self._lock:
            process = self._processes.pop(name) if and_keep_down else self._processes[name]
            process.kill()
            process.wait()

    def start_again(self, name: str) -> None:
        """Start a process that was kept down."""
        with self._lock:
            self._spawn(name, *self._commands[name])

    def stop(self) -> None:
        """End all processes, those that use others first, and wait until each is gone."""
        self._stopping.set()
        for part in ("seeder", "parts"):
            if hasattr(self, part):
                getattr(self, part).close()
        for group in (_USERS, _USED):
            ending = [process for name, process in self._processes.items() if name.startswith(group)]
            for process in ending:
                process.terminate()
            deadline = time.monotonic() + _STOP_SECONDS
            for process in ending:
                try:
                    process.wait(max(deadline - time.monotonic(), 0.1))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self._processes.clear()
        if self._supervisor.is_alive():
            # Not before: what it started again ends with it.
            self._supervisor.join()


def settings_environment(settings: Settings) -> dict[str, str]:
    """The environment variables that give another process the same settings."""
    values = settings.model_dump(exclude_none=True)
    plain = (
        (name, value.get_secret_value() if isinstance(value, SecretStr) else value)
        for name, value in values.items()
    )
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in plain}


def _write_environment(path: Path, environment: Mapping[str, str]) -> None:
    """The same for a shell, so that the commands for operators can be tried on the running stack."""
    path.touch(mode=0o600)
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    path.write_text("".join(lines))


def _clean_environment() -> dict[str, str]:
    """Our environment without settings that were meant for another set-up."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def _kept(path: Path) -> dict[str, Any]:
    """Ports, secrets and what GitLab knows us by: chosen once, so that they survive a restart."""
    if not path.exists():
        _keep(
            path,
            {"ports": dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))}
            | {"redis_password": secrets.token_hex(16), "secret_key": secrets.token_hex(32)},
        )
    kept: dict[str, Any] = json.loads(path.read_text())
    deadline = time.monotonic() + _LINGER_SECONDS
    for name, port in kept["ports"].items():
        while _accepts(port):
            if time.monotonic() > deadline:
                raise BadInput(
                    f"Port {port} ({name}) is in use: this state folder is running already, or another "
                    "program took the port. Stop it, or start anew with `make demo-clean`."
                )
            time.sleep(0.1)
    return kept


def _keep(path: Path, kept: Mapping[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(kept))
    fresh.replace(path)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as response:  # noqa: S310 - our own loopback address
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _die_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends, even by kill -9."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
