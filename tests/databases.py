"""Database servers of the tests' own: a MariaDB and a PostgreSQL on loopback, as an ordinary user.

Each is started when a test first asks for it, and ends with the process that asked. Nothing of a server that
runs on the machine is used or touched. What a commit wrote survives a killed server, but not a power cut:
nothing is synced to the disk.
"""

from __future__ import annotations

import ctypes
import glob
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from orchestrator.bootstrap import Parts
from orchestrator.settings import load_settings

_PR_SET_PDEATHSIG = 1
_START_SECONDS = 60.0
#: The product's own account on each server: it owns its databases, and is nobody special.
_USER, _PASSWORD = "preview", "p@ss/word"


class NotInstalled(Exception):
    """The server is not there; the text says what to install."""


class Server:
    """A database server in a folder of its own; :meth:`close` ends it and forgets everything."""

    #: Who runs it where the tests run as root: one of these.
    users: Sequence[str]
    #: The statement that counts the product's connections.
    count_connections: str

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._user = self._ordinary_user()
        self._folder = Path(tempfile.mkdtemp(prefix="tp-"))
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self._port = _free_port()
        try:
            self._run(self._install_command())
            self.start()
            self._set_up()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start it, at first or again after :meth:`kill`; returns when it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._server_command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_quit_with_parent,
                **self._as_user(),
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            is_in_vain = self._process.poll() is not None or time.monotonic() > deadline
            assert not is_in_vain, (self._folder / "log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """`kill -9`, as a crash would; all of its connections are cut."""
        self._process.kill()
        self._process.wait()
        self._after_kill()

    def close(self) -> None:
        """End it."""
        if hasattr(self, "_process") and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(20.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def create(self) -> str:
        """The URL of a fresh database without tables."""
        name = f"preview_{next(self._numbers)}"
        with self.administrator() as connection:
            self._create(connection, name)
        return self._url(name)

    def create_like(self, url: str) -> str:
        """The URL of a fresh database with the tables and rows of another, which nobody uses just now."""
        name = f"preview_{next(self._numbers)}"
        with self.administrator() as connection:
            self._copy(connection, str(make_url(url).database), name)
        return self._url(name)

    def drop(self, url: str) -> None:
        """Forget a database; whoever still uses it is cut off."""
        with self.administrator() as connection:
            self._drop(connection, str(make_url(url).database))

    @contextmanager
    def administrator(self) -> Iterator[Connection]:
        """A connection that may do anything, each statement a transaction."""
        engine = create_engine(self._administrator_url(), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            yield connection

    def connections(self, connection: Connection) -> int:
        """How many connections the product has."""
        return int(connection.exec_driver_sql(self.count_connections).scalar_one())

    def _url(self, name: str) -> str:
        url = make_url(self._administrator_url()).set(database=name, username=_USER, password=_PASSWORD)
        return url.render_as_string(hide_password=False)

    def _answers(self) -> bool:
        with suppress(OperationalError), self.administrator():
            return True
        return False

    def _ordinary_user(self) -> pwd.struct_passwd | None:
        """None when the tests are run by one."""
        if os.getuid() != 0:
            return None
        for name in (*self.users, "nobody"):
            with suppress(KeyError):
                return pwd.getpwnam(name)
        raise NotInstalled("no ordinary user to run a database server as")

    def _as_user(self) -> dict[str, object]:
        values: dict[str, object] = {"cwd": self._folder}
        if self._user is not None:
            values |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return values

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, **self._as_user())  # type: ignore[call-overload]
        assert done.returncode == 0, done.stdout + done.stderr

    # --- what differs between servers ---

    def _install_command(self) -> list[str]:
        raise NotImplementedError

    def _server_command(self) -> list[str]:
        raise NotImplementedError

    def _administrator_url(self) -> str:
        raise NotImplementedError

    def _set_up(self) -> None:
        raise NotImplementedError

    def _create(self, connection: Connection, name: str) -> None:
        raise NotImplementedError

    def _copy(self, connection: Connection, name: str, copy: str) -> None:
        raise NotImplementedError

    def _drop(self, connection: Connection, name: str) -> None:
        raise NotImplementedError

    def _after_kill(self) -> None:
        """Tidy up what only this server leaves behind."""


class MariaDB(Server):
    """A MariaDB with the limits and the collation that ToolsDB has."""

    users = ("mysql",)
    count_connections = f"SELECT count(*) FROM information_schema.processlist WHERE user = '{_USER}'"

    def _install_command(self) -> list[str]:
        install = _find("mariadb-install-db", "mariadb-server")
        return [
            *(install, "--no-defaults", f"--datadir={self._folder / 'data'}", "--skip-test-db"),
            # Not the folder that all servers of this machine share.
            f"--tmpdir={self._folder}",
            *("--auth-root-authentication-method=normal", *self._options()),
        ]

    def _server_command(self) -> list[str]:
        return [
            *(_find("mariadbd", "mariadb-server"), "--no-defaults", *self._options()),
            *(f"--datadir={self._folder / 'data'}", f"--port={self._port}", "--bind-address=127.0.0.1"),
            *(f"--socket={self._folder / 'socket'}", f"--pid-file={self._folder / 'pid'}"),
            *(
                "--skip-name-resolve",
                "--character-set-server=utf8mb4",
                "--collation-server=utf8mb4_unicode_ci",
            ),
            *("--wait-timeout=600", "--max-user-connections=20", "--max-allowed-packet=16M"),
            *("--log-bin=binlog", "--binlog-format=MIXED", "--performance-schema=OFF"),
        ]

    def _options(self) -> list[str]:
        return [
            *("--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=2"),
            *("--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M", "--innodb-doublewrite=OFF"),
        ]

    def _administrator_url(self) -> str:
        return f"mariadb+pymysql://root@127.0.0.1:{self._port}/mysql"

    def _set_up(self) -> None:
        with self.administrator() as connection:
            connection.exec_driver_sql(f"CREATE USER {_USER} IDENTIFIED BY '{_PASSWORD}'")
            connection.exec_driver_sql(f"GRANT ALL ON `preview\\_%%`.* TO {_USER}", ())

    def _create(self, connection: Connection, name: str) -> None:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")

    def _copy(self, connection: Connection, name: str, copy: str) -> None:
        self._create(connection, copy)
        connection.exec_driver_sql(f"USE {copy}")
        connection.exec_driver_sql("SET foreign_key_checks = 0")
        for (table,) in connection.exec_driver_sql(f"SHOW TABLES FROM {name}").all():
            _, definition = connection.exec_driver_sql(f"SHOW CREATE TABLE {name}.{table}").one()
            connection.exec_driver_sql(definition.replace("%", "%%"))
            connection.exec_driver_sql(f"INSERT INTO {table} SELECT * FROM {name}.{table}")

    def _drop(self, connection: Connection, name: str) -> None:
        connection.exec_driver_sql(f"DROP DATABASE {name}")


class PostgreSQL(Server):
    """A PostgreSQL as Debian sets it up, with the C collation."""

    users = ("postgres",)
    count_connections = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{_USER}'"

    def _install_command(self) -> list[str]:
        return [
            *(self._binary("initdb"), "--pgdata", str(self._folder / "data"), "--username=postgres"),
            *("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"),
        ]

    def _server_command(self) -> list[str]:
        settings = {
            "port": self._port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self._folder,
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "deadlock_timeout": "200ms",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self._binary("postgres"), "-D", str(self._folder / "data"), *options]

    def _administrator_url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/postgres"

    def _set_up(self) -> None:
        with self.administrator() as connection:
            connection.exec_driver_sql(f"CREATE ROLE {_USER} LOGIN PASSWORD '{_PASSWORD}'")

    def _create(self, connection: Connection, name: str) -> None:
        connection.exec_driver_sql(f"CREATE DATABASE {name} OWNER {_USER}")

    def _copy(self, connection: Connection, name: str, copy: str) -> None:
        connection.exec_driver_sql(f"CREATE DATABASE {copy} OWNER {_USER} TEMPLATE {name}")

    def _drop(self, connection: Connection, name: str) -> None:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")

    def _after_kill(self) -> None:
        # Its children notice that it is gone, but not at once, and a new one does not start beside them.
        owned = self._folder / "data" / "postmaster.pid"
        memory = owned.read_text().splitlines()[6].split()[1]
        deadline = time.monotonic() + _START_SECONDS
        while _attached(memory):
            assert time.monotonic() < deadline, "processes of the killed server do not end"
            time.sleep(0.01)
        owned.unlink()

    def _binary(self, name: str) -> str:
        """Debian keeps them out of PATH, one folder a version."""
        found = glob.glob(f"/usr/lib/postgresql/*/bin/{name}")
        newest = max(found, key=lambda path: int(re.sub(r"\D", "", path.split("/")[4])), default=None)
        return newest or _find(name, "postgresql")


def migrate(url: str) -> None:
    """Make the tables."""
    parts = Parts(load_settings(database_url=url, gitlab_token="none"))
    parts.migrate()
    parts.close()


@contextmanager
def full_disk(engine: Engine) -> Iterator[None]:
    """SQLite finds no room for a further page while the block runs, as where the disk is full."""

    @event.listens_for(engine, "begin")
    def _no_page_more(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")

    try:
        yield
    finally:
        event.remove(engine, "begin", _no_page_more)
        # Connections remember it.
        engine.dispose()


def _find(program: str, package: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        raise NotInstalled(f"{program} is not there: apt-get install --no-install-recommends {package}")
    return found


def _attached(memory: str) -> int:
    """How many processes use a block of System V shared memory, by its id."""
    rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()]
    return next((int(row[6]) for row in rows if row[1] == memory), 0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _quit_with_parent() -> None:
    """Both servers end in good order on SIGQUIT, without waiting for those who are connected."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
