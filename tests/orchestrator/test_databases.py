"""SQLite, MariaDB and PostgreSQL behave alike in what they differ in."""

from __future__ import annotations

import random
import select
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, make_url
from sqlalchemy.exc import DatabaseError

from orchestrator import engines
from orchestrator import outcome as out
from orchestrator import tables as t
from orchestrator.bootstrap import MIGRATIONS, Parts
from orchestrator.engines import AWAY
from orchestrator.errors import BadInput, Conflict
from orchestrator.outcome import KeptLog
from orchestrator.records import Delivery, Kind
from orchestrator.settings import load_settings
from orchestrator.store import Store
from tests.background import Background
from tests.databases import Server, migrate
from tests.orchestrator.scene import PASSED, World

#: One character of four bytes, which MariaDB's older character sets cannot hold.
_WIDE = "\U0001f9ea"


@pytest.fixture
def world(any_parts: Parts) -> World:
    return World(any_parts)


@pytest.fixture(params=["mariadb", "postgresql"])
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with tables on a server; the test runs once on each kind."""
    server: Server = request.getfixturevalue(request.param)
    url = server.create()
    migrate(url)
    yield url
    server.drop(url)


@pytest.fixture
def server(server_url: str, request: pytest.FixtureRequest) -> Server:
    """The server that `server_url` is on."""
    found: Server = request.getfixturevalue("mariadb" if server_url.startswith("mariadb") else "postgresql")
    return found


# --- tables -------------------------------------------------------------------------------------------


def test_the_migrations_make_the_tables_that_the_code_knows(any_parts: Parts) -> None:
    with any_parts.store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), t.metadata) == []


def test_the_migrations_can_be_taken_back(any_parts: Parts) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with any_parts.store.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
    any_parts.migrate()


# --- text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["KEY", "key ", "kéy", "key\t"])
def test_keys_that_only_look_alike_are_different(world: World, other: str) -> None:
    with world.store.write() as tx:
        taken = [
            tx.add_delivery(world.project_id, key, kind="note", iid=1, facts={}, now=1.0)
            for key in ("key", other, "key")
        ]
    assert taken[0] is not None
    assert taken[1] is not None
    assert taken[2] is None


def test_an_account_is_found_by_its_exact_name_only(world: World) -> None:
    with world.store.read() as tx:
        assert tx.account_named("dev-0") is not None
        assert [tx.account_named(name) for name in ("DEV-0", "dev-0 ", "dév-0")] == [None] * 3


def test_a_claim_is_held_by_its_exact_token_only(world: World) -> None:
    world.sees()
    claim = world.claim(Kind.DEPLOYMENT, world.deployment().id)
    with world.store.read() as tx:
        assert tx.holds(claim, world.now)
        assert not tx.holds(replace(claim, token=claim.token.upper() + " "), world.now)


def test_text_of_people_comes_back_as_it_was(world: World) -> None:
    title = f"Añade 百 {_WIDE} to 'quoted' \"words\" 100% \\ ; -- %s :name"
    with world.store.write() as tx:
        tx.put_preview(world.project_id, replace(world.merge_request(), title=title), as_of=1.0)
    assert world.preview().title == title


@pytest.mark.parametrize(
    "words", ["nul \0 in it", "half \ud83d a character", _WIDE * 100_000], ids=["nul", "surrogate", "long"]
)
def test_text_that_a_database_would_refuse_is_made_fit_and_strands_nothing(world: World, words: str) -> None:
    world.sees()
    seen = replace(world.merge_request(), title=words, author=words, source_branch=words)
    with world.store.write() as tx:
        tx.put_preview(world.project_id, seen, as_of=world.now)
        tx.set_preview(world.preview().id, expires_at=None, stop_reason=words)
        account = tx.account(1)
        tx.put_account(account, replace(account, reason=words))
        tx.add_event("account", 1, "a", "b", who=words, why=words, now=1.0, preview_id=None)
        tx.mark_report(world.preview().id, world.now)
    claim = world.claim(Kind.REPORT, world.preview().id)
    with world.store.write() as tx:
        tx.put_told(claim, {"words": words})
        tx.postpone(claim, due_at=world.now, error=words)
    claim = world.claim(Kind.REPORT, world.preview().id)
    with world.store.write() as tx:
        told, version, _ = tx.told(claim.id)
        tx.close_report(claim, version, error=words)
    assert told == {"words": words.replace("\ud83d", "?")}, "JSON holds nearly any text"
    kept = world.account().reason
    assert kept.startswith(words[:4])
    assert "\0" not in kept


def test_a_large_log_that_cannot_be_compressed_is_kept(world: World) -> None:
    world.sees()
    noise = random.Random(1).randbytes(1_000_000).decode("latin-1")
    with world.store.write() as tx:
        tx.put_log(world.deployment().id, "build", noise, is_truncated=False, now=1.0)
        tx.put_log(world.deployment().id, "job", "\0\ud83d", is_truncated=False, now=1.0)
    with world.store.read() as tx:
        assert tx.log(world.deployment().id, "build") == noise
        assert tx.log(world.deployment().id, "job") == "\0?"


@pytest.mark.parametrize("path", ["", "group/tool\0", "group/\ud83d", "GROUP/TOOL", "group/tool "])
def test_no_other_address_names_a_project(world: World, path: str) -> None:
    with world.store.read() as tx:
        found = tx.project_at("group/tool")
        assert found is not None
        assert found.id == world.project_id
        assert tx.project_at(path) is None


def test_a_comment_knows_of_an_earlier_one_that_is_not_answered_yet(world: World) -> None:
    def comments(key: str, iid: int = 1, kind: str = "note") -> Delivery:
        with world.store.write() as tx:
            made = tx.add_delivery(world.project_id, key, kind=kind, iid=iid, facts={}, now=world.now)
            assert made is not None
            return tx.delivery(made)

    def has_earlier(delivery: Delivery) -> bool:
        with world.store.read() as tx:
            return tx.has_earlier_comment(delivery)

    comments("elsewhere", iid=2)
    comments("a push", kind="merge_request")
    first, second = comments("first"), comments("second")
    assert (has_earlier(first), has_earlier(second)) == (False, True)
    claim = world.claim(Kind.DELIVERY, first.id)
    assert has_earlier(second), "it is being answered"
    world.lifecycle.ignore(claim, "answered", world.now)
    assert not has_earlier(second)


def test_only_the_newest_deployments_of_a_preview_keep_their_logs(world: World) -> None:
    world.sees(2)
    for sha in ("a" * 40, "b" * 40, "c" * 40):
        world.sees(sha=sha)
    with world.store.write() as tx:
        ids = [deployment.id for deployment in tx.deployments_of(world.preview().id)]
        for deployment_id in (*ids, world.deployment(2).id):
            tx.put_log(deployment_id, "build", "text", is_truncated=False, now=1.0)
        tx.put_log(ids[1], "job", "text", is_truncated=False, now=1.0)
        tx.forget_logs(world.preview().id, keep=2)
        assert tx.kept_logs(ids) == {(ids[0], "build"), (ids[1], "build"), (ids[1], "job")}
        assert tx.log(world.deployment(2).id, "build") == "text", "another preview's stay"


# --- numbers ------------------------------------------------------------------------------------------


def test_times_and_sizes_come_back_to_the_last_digit(world: World) -> None:
    now, size = 1_790_000_000.123456, 2**40 + 1
    with world.store.write() as tx:
        account = tx.account(1)
        tx.put_account(account, replace(account, since=now, due_at=now / 3, bytes_before=size))
    account = world.account()
    assert (account.since, account.due_at, account.bytes_before) == (now, now / 3, size)


def test_a_write_that_changes_nothing_has_found_its_row_all_the_same(world: World) -> None:
    world.sees()
    claim = world.claim(Kind.DEPLOYMENT, world.deployment().id)
    with world.store.write() as tx:
        assert tx.renew(claim, until=claim.until)
        assert tx.renew(claim, until=claim.until)
        assert not tx.renew(replace(claim, token="another"), until=claim.until)


# --- transactions -------------------------------------------------------------------------------------


def test_a_look_sees_one_moment(world: World) -> None:
    with world.store.read() as tx:
        before = tx.account(1)
        with world.store.write() as other:
            other.put_account(before, replace(before, reason="meanwhile"))
        assert tx.account(1) == before
    assert world.account().reason == "meanwhile"


def test_who_waited_for_a_row_sees_what_became_of_it(world: World) -> None:
    account = world.account()
    with world.store.write() as tx:
        tx.put_account(account, replace(account, reason="first"))
    with world.store.write() as tx, pytest.raises(Conflict):
        tx.put_account(account, replace(account, reason="second"))


@pytest.mark.parametrize("eager_seconds", [0.0, 60.0], ids=["patiently", "eagerly"])
def test_who_waited_for_a_file_sees_what_became_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eager_seconds: float
) -> None:
    monkeypatch.setattr(engines, "_EAGER_SECONDS", eager_seconds)
    url = f"sqlite:///{tmp_path / 'test.db'}"
    migrate(url)
    first, second = Store(url), Store(url)  # as two processes have them
    waits = threading.Event()

    def follow() -> object:
        waits.set()
        with second.write() as tx:
            return tx.switch("by")

    with ThreadPoolExecutor() as pool:
        with first.write() as tx:
            follower = pool.submit(follow)
            waits.wait()
            time.sleep(0.05)
            tx.put_switch("by", "the first")
            assert not follower.done()
        assert follower.result() == "the first"
    first.close()
    second.close()


def test_a_file_that_is_none_of_sqlites_is_no_database_that_could_be_waited_for(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path / 'test.db'}")
    store = Store(f"sqlite:///{tmp_path / 'test.db'}")
    with store.read():
        pass
    for path in tmp_path.iterdir():
        path.write_bytes(b"something else" * 1000)
    with pytest.raises(DatabaseError), store.write():
        pass
    store.close()


def test_a_row_that_was_refused_leaves_the_transaction_usable(world: World) -> None:
    with world.store.write() as tx:
        assert tx.add_delivery(world.project_id, "k", kind="note", iid=1, facts={}, now=1.0) is not None
        assert tx.add_delivery(world.project_id, "k", kind="note", iid=1, facts={}, now=1.0) is None
        tx.put_switch("after", 1)
    with world.store.read() as tx:
        assert tx.switch("after") == 1


def test_what_people_see_is_read_from_any_of_them(any_parts: Parts) -> None:
    world, views = World(any_parts), any_parts.views
    world.sees(1)
    world.sees(2)
    world.steps(out.BuildStarted("b"), out.BuildSucceeded("i", KeptLog("the log")))
    world.steps(out.JobStarted(), out.JobReady(), PASSED)
    overview = views.overview(world.now)
    assert [view.preview.iid for view in overview.previews] == [2, 1]
    assert (len(overview.accounts), overview.builds, overview.waiting) == (1, 0, 1)
    assert [(waiter.preview.iid, waiter.turn.position) for waiter in overview.queue] == [(2, 1)]
    view = views.preview("group/tool", 1)
    assert view is not None
    assert view.address == "https://dev-0.toolforge.org/"
    assert view.events[-1].after == "live"
    assert view.logs == {(view.deployments[0].id, "build")}
    assert views.log(view.deployments[0].id, "build") == "the log"
    assert views.preview("GROUP/TOOL", 1) is None
    _, waiting = views.subject(world.preview(2).id, world.now)
    assert (waiting.position, waiting.account, waiting.receipt) == (1, None, None)


# --- servers ------------------------------------------------------------------------------------------


def _opened(url: str) -> Store:
    return Parts(load_settings(database_url=url, gitlab_token="none")).store


def test_transactions_in_each_others_way_end_in_a_conflict_and_not_in_a_surprise(server_url: str) -> None:
    """A deadlock made on purpose: each locks a row and then wants the other's."""
    first, second = _opened(server_url), _opened(server_url)
    world = World(Parts(load_settings(database_url=server_url, gitlab_token="none")), accounts=2)
    meet = threading.Barrier(2)

    def lock(store: Store, names: list[str]) -> str:
        try:
            with store.write() as tx:
                for name in names:
                    tx.put_switch(name, {"by": names})
                    if name == names[0]:
                        meet.wait(10)
        except Conflict:
            return "conflict"
        return "written"

    with world.store.write() as tx:
        tx.put_switch("a", 0)
        tx.put_switch("b", 0)
    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(lock, first, ["a", "b"]), pool.submit(lock, second, ["b", "a"])]
    assert sorted(end.result() for end in ends) == ["conflict", "written"]
    for store in (first, second, world.store):
        store.close()


def test_a_process_that_is_frozen_in_the_middle_of_a_change_holds_nobody_up_for_long(server_url: str) -> None:
    frozen, healthy = _opened(server_url), _opened(server_url)
    began = time.monotonic()

    def freeze() -> None:
        with frozen.write_alone() as tx:
            with healthy.write_alone() as other:
                other.put_switch("by", "the healthy one")
            tx.put_switch("by", "the frozen one")

    with pytest.raises(AWAY):
        freeze()
    assert time.monotonic() - began < 8.0, "the length of a claim"
    with frozen.read() as tx:
        assert tx.switch("by") == "the healthy one"
    frozen.close()
    healthy.close()


def test_connections_that_a_restart_has_cut_are_replaced_unseen(server_url: str, server: Server) -> None:
    store = _opened(server_url)
    with store.write() as tx:
        tx.put_switch("answered", "yes")
    server.kill()
    with pytest.raises(AWAY), store.read():
        pass
    server.start()
    with store.read() as tx:
        assert tx.switch("answered") == "yes"
    store.close()


def test_many_threads_make_do_with_the_few_connections_that_a_tool_has(
    server_url: str, server: Server
) -> None:
    store = _opened(server_url)

    def look(_: int) -> int:
        with store.read() as tx:
            tx.accounts()
            with server.administrator() as connection:
                return server.connections(connection)

    with ThreadPoolExecutor(20) as pool:
        most = max(pool.map(look, range(60)))
    assert most <= 20 / 5, "web, two or three workers and the command line together have 20"
    store.close()


# --- connections that are cut in a commit -------------------------------------------------------------


class Cut(socketserver.ThreadingTCPServer):
    """Passes connections on to a server, and cuts one at its commit: before it is passed on, or after."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, to: tuple[str, int], *, is_passed_on: bool) -> None:
        self._to, self._is_passed_on = to, is_passed_on
        #: Set while the next commit is to be cut off.
        self.is_armed = threading.Event()
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        with socket.create_connection(self._to) as server:
            ends = {request: server, server: request}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(65536)
                    # Not that of READ COMMITTED.
                    is_commit = end is request and data.rstrip(b"\0").endswith(b"COMMIT")
                    is_cut = is_commit and b"READ COMMIT" not in data and self.is_armed.is_set()
                    if not data or (is_cut and not self._is_passed_on):
                        self.is_armed.clear()
                        return
                    ends[end].sendall(data)
                    if is_cut:
                        # The server says that it is done, and nobody hears it.
                        server.recv(65536)
                        self.is_armed.clear()
                        return


@pytest.mark.parametrize("is_passed_on", [False, True], ids=["before", "after"])
def test_a_connection_that_is_cut_in_a_commit_leaves_all_of_a_change_or_nothing(
    server_url: str, is_passed_on: bool
) -> None:
    url = make_url(server_url)
    assert url.host is not None
    assert url.port is not None
    with Background(cut := Cut((url.host, url.port), is_passed_on=is_passed_on)):
        through = url.set(host="127.0.0.1", port=cut.server_address[1]).render_as_string(hide_password=False)
        parts = Parts(load_settings(database_url=through, gitlab_token="none"))
        world = World(parts)
        world.sees(1)
        before = world.deployment()
        claim = world.claim(Kind.DEPLOYMENT, before.id)
        cut.is_armed.set()
        with pytest.raises(AWAY):
            world.lifecycle.record(claim, before, out.BuildStarted("b"), world.now)
        after = world.deployment()
        assert (after.build_id, after.version) == (
            ("b", before.version + 1) if is_passed_on else (None, before.version)
        )
        # Whoever tries once more changes nothing that was changed, and all that was not.
        world.lifecycle.record(claim, before, out.BuildStarted("b"), world.now)
        assert world.deployment().build_id == "b"
        assert world.deployment().version == before.version + 1
        parts.close()


def test_a_postgresql_database_that_is_not_in_unicode_is_refused_with_the_remedy(postgresql: Server) -> None:
    url = postgresql.create()
    name = make_url(url).database
    with postgresql.administrator() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")
        connection.exec_driver_sql(f"CREATE DATABASE {name} ENCODING SQL_ASCII TEMPLATE template0 LOCALE 'C'")
    with pytest.raises(BadInput, match="kept in SQL_ASCII"):
        migrate(url)
    postgresql.drop(url)
