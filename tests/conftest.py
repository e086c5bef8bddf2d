"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.redis import redis_binary
from orchestrator.bootstrap import Parts
from orchestrator.settings import load_settings
from tests.databases import MariaDB, NotInstalled, PostgreSQL, Server, migrate
from tests.fresh import KINDS, Databases

# A shell starts what it runs in the background with these ignored, and every process that a test starts
# would inherit that: `make test &` must tell the same as `make test`.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=KINDS, default=KINDS[0], help="the kind of database to test on")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On another database than usual, only what uses one is run."""
    if config.getoption("database") == KINDS[0]:
        return

    def is_concerned(item: pytest.Item) -> bool:
        uses_one = "databases" in getattr(item, "fixturenames", ())
        return uses_one and item.get_closest_marker("only_sqlite") is None

    concerned = [item for item in items if is_concerned(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(concerned)])
    items[:] = concerned


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Empty databases with all tables, of the kind that this run is on."""
    kind = request.config.getoption("database")
    server = None if kind == KINDS[0] else request.getfixturevalue(kind)
    return Databases(tmp_path_factory.mktemp("databases"), server)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """The URL of an empty database with all tables."""
    url = databases.new()
    yield url
    databases.forget(url)


@pytest.fixture
def parts(database_url: str) -> Iterator[Parts]:
    """The product's parts on an empty database of their own."""
    made = Parts(load_settings(database_url=database_url, gitlab_token="none"))
    yield made
    made.close()


def _running(kind: type[Server]) -> Iterator[Server]:
    try:
        server = kind()
    except NotInstalled as error:
        pytest.skip(str(error))
    yield server
    server.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A running MariaDB."""
    yield from _running(MariaDB)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A running PostgreSQL."""
    yield from _running(PostgreSQL)


@pytest.fixture(params=KINDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables; the test runs once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server: Server = request.getfixturevalue(request.param)
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture
def any_parts(empty_url: str) -> Iterator[Parts]:
    """The product's parts on a database of their own; the test runs once on each kind."""
    migrate(empty_url)
    made = Parts(load_settings(database_url=empty_url, gitlab_token="none"))
    yield made
    made.close()


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "nobody listens"
            time.sleep(0.02)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis."""
    port = free_port()
    folder = str(tmp_path_factory.mktemp("redis"))
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    with subprocess.Popen([redis_binary(), *options], stdout=subprocess.DEVNULL) as server:
        _wait_for(port)
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()
