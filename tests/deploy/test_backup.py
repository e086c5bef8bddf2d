"""A copy of the database, made while others write, is put back into an empty one of any kind, or refused."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Column, Integer, MetaData, Table, inspect, select

from deploy.cli import cli
from orchestrator import outcome as out
from orchestrator import tables as t
from orchestrator.backup import back_up, put_back
from orchestrator.bootstrap import Parts, migrate_to
from orchestrator.copyfile import ColumnKind, CopyWriter, Head, TableHead, check
from orchestrator.errors import BadInput
from orchestrator.lifecycle import Lifecycle
from orchestrator.pool import AccountState
from orchestrator.settings import PREFIX, load_settings
from tests.databases import Server, migrate
from tests.orchestrator.scene import B, World

KINDS = ("sqlite", "mariadb", "postgresql")
#: What is doubted after a copy was put back, and so is written anew.
_DOUBTED = {
    "account": {"state", "since", "due_at", "version", "reason", "forgotten_after", "bytes_before"},
    "project": {"due_at"},
    "report_state": {"told", "due_at", "attempts", "version"},
}

Make = Callable[[str], str]


@pytest.fixture
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes a database without tables of a kind; its URL."""
    made: list[tuple[Server, str]] = []
    numbers = itertools.count()

    def make(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"
        server: Server = request.getfixturevalue(kind)
        made.append((server, server.create()))
        return made[-1][1]

    yield make
    for server, url in made:
        server.drop(url)


@contextmanager
def opened(url: str) -> Iterator[Parts]:
    parts = Parts(load_settings(database_url=url, gitlab_token="none"))
    yield parts
    parts.close()


def fill(parts: Parts) -> World:
    """A service at work: one preview live, one on its way, an account free."""
    world = World(parts, accounts=3)
    world.sees(1, title="\U0001f9ea 'quoted' \\ \"twice\"")
    world.goes_live(1)
    world.sees(2)
    log = out.KeptLog("a line \0 and\nanother \U0001f9ea\n", is_truncated=False)
    world.step(out.BuildStarted("b"), 2)
    with world.store.write() as tx:
        tx.put_log(1, "build", log.text, is_truncated=False, now=world.now)
        tx.connection.execute(t.project.update().values(due_at=2e9))
        tx.put_switch("some", {"text": "\U0001f9ea \\u0000 'x'", "null": None, "number": 0.1 + 0.2})
    return world


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The copy of a service at work, on SQLite."""
    path = tmp_path / "copy"
    migrate(url := f"sqlite:///{tmp_path / 'service.db'}")
    with opened(url) as parts:
        fill(parts)
        back_up(parts, path)
    return path


def everything(parts: Parts, *, but: dict[str, set[str]]) -> dict[str, list[dict[str, Any]]]:
    found = {}
    with parts.store.read() as tx:
        for table in t.metadata.sorted_tables:
            columns = [column for column in table.c if column.name not in but.get(table.name, ())]
            rows = tx.connection.execute(select(*columns).order_by(*table.primary_key)).mappings()
            found[table.name] = [dict(row) for row in rows]
    return found


def write_as_of(revision: str, parts: Parts, older: Parts) -> None:
    """Give `older` the tables of a form, and what they can hold of the rows of `parts`."""
    with older.store.write() as to, parts.store.read() as tx:
        migrate_to(to.connection, revision)
        there = inspect(to.connection)
        for table in t.metadata.sorted_tables:
            if not there.has_table(table.name):
                continue
            columns = [table.c[column["name"]] for column in there.get_columns(table.name)]
            rows = [dict(row) for row in tx.connection.execute(select(*columns)).mappings()]
            to.connection.execute(table.delete())
            if rows:
                into = Table(
                    table.name, MetaData(), *(Column(column.name, column.type) for column in columns)
                )
                to.connection.execute(into.insert(), rows)


def tables_of(url: str) -> list[str]:
    with opened(url) as parts, parts.store.engine.connect() as connection:
        return sorted(inspect(connection).get_table_names())


# --- there and back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("after", KINDS)
@pytest.mark.parametrize("before", KINDS)
def test_a_copy_is_put_back_into_any_kind_of_database_and_the_service_goes_on(
    before: str, after: str, empty: Make, tmp_path: Path
) -> None:
    migrate(first := empty(before))
    with opened(first) as parts:
        world = fill(parts)
        kept = everything(parts, but=_DOUBTED)
        assert back_up(parts, tmp_path / "copy") == sum(map(len, kept.values()))
        world.sees(2, state="closed")

    with opened(empty(after)) as restored:
        put_back(restored, tmp_path / "copy", who="operator", stays_paused=True)
        now = everything(restored, but=_DOUBTED)
        now["switch"] = [row for row in now["switch"] if row["name"] != "pause"]
        now["event"] = now["event"][: len(kept["event"])]
        assert now == kept
        with restored.store.read() as tx:
            assert tx.log(1, "build") == "a line \0 and\nanother \U0001f9ea\n"
        world.store, world.lifecycle = restored.store, Lifecycle(restored.store, world.policy)
        world.lifecycle.resume("operator", world.now)
        world.step(out.BuildSucceeded("image"), 2)
        world.sees(1, B)
        assert world.states(1) == ["live", "building"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_an_older_version_is_brought_to_the_newest_form(
    kind: str, empty: Make, tmp_path: Path
) -> None:
    migrate(first := empty(kind))
    with opened(first) as parts:
        world = fill(parts)
        kept = everything(parts, but={**_DOUBTED, "deployment": {"retry"}})
        with opened(empty(kind)) as older:
            write_as_of("0008", parts, older)
            back_up(older, tmp_path / "copy")
    assert check(tmp_path / "copy").revision == "0008"
    with opened(empty(kind)) as restored:
        put_back(restored, tmp_path / "copy", who="operator", stays_paused=True)
        now = everything(restored, but={**_DOUBTED, "deployment": {"retry"}})
        assert now["deployment"] == kept["deployment"]
        assert now["preview"] == kept["preview"]
        world.store, world.lifecycle = restored.store, Lifecycle(restored.store, world.policy)
        world.lifecycle.resume("operator", world.now)
        assert world.sees(3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_shows_one_moment_while_others_write(kind: str, empty: Make, tmp_path: Path) -> None:
    migrate(url := empty(kind))
    has_begun, is_over = threading.Event(), threading.Event()
    with opened(url) as parts, opened(url) as others:
        fill(parts)

        def write() -> None:
            number = 0
            while not is_over.is_set():
                number += 1
                with others.store.write_alone() as tx:
                    # A table that is copied early and one that is copied late say the same number.
                    tx.connection.execute(t.project.update().values(build_seconds=number))
                    tx.connection.execute(t.lease.update().values(ended_at=number))
                has_begun.set()

        writer = threading.Thread(target=write)
        writer.start()
        assert has_begun.wait(30)
        try:
            copies = [tmp_path / f"copy-{number}" for number in range(8)]
            for path in copies:
                back_up(parts, path)
        finally:
            is_over.set()
            writer.join()
    seen = set()
    for path in copies:
        columns, values = [], {}
        for line in gzip.decompress(path.read_bytes()).splitlines():
            match json.loads(line):
                case {"table": name, "columns": found}:
                    table, columns = name, [column for column, _ in found]
                case list(row):
                    values[table] = dict(zip(columns, row, strict=True))
        seen.add(values["project"]["build_seconds"])
        assert values["project"]["build_seconds"] == values["lease"]["ended_at"]
    assert len(seen) > 1, "nobody wrote meanwhile"


@pytest.mark.parametrize("kind", KINDS)
def test_tables_in_which_nothing_stands_do_not_matter(kind: str, empty: Make, copy: Path) -> None:
    """As `migrate` makes them, or a restore that was cut off on MariaDB leaves them."""
    migrate(url := empty(kind))
    with opened(url) as parts:
        put_back(parts, copy, who="operator", stays_paused=False)
        with parts.store.read() as tx:
            assert [project.path for project in tx.projects()] == ["group/tool"]


# --- what is doubted ----------------------------------------------------------------------------------


def test_nobody_gets_an_account_that_was_not_looked_through_again(copy: Path, empty: Make) -> None:
    with opened(empty("sqlite")) as parts:
        put_back(parts, copy, who="operator", stays_paused=False)
        with parts.store.read() as tx:
            accounts = tx.accounts()
        assert [account.state for account in accounts] == [
            AccountState.LEASED,
            AccountState.LEASED,
            AccountState.CLEANING,
        ]
        assert {account.forgotten_after for account in accounts} == {2}
        assert all(account.due_at is not None for account in accounts)


def test_the_service_goes_on_by_itself_unless_it_was_paused(copy: Path, empty: Make) -> None:
    for stays_paused in (False, True):
        with opened(empty("sqlite")) as parts:
            put_back(parts, copy, who="operator", stays_paused=stays_paused)
            with parts.store.read() as tx:
                assert tx.is_paused() is stays_paused


def test_a_pause_that_the_copy_had_stays(empty: Make, tmp_path: Path) -> None:
    migrate(first := empty("sqlite"))
    with opened(first) as parts:
        fill(parts).lifecycle.pause("alice", "maintenance", 1.0)
        back_up(parts, tmp_path / "copy")
    with opened(empty("sqlite")) as parts:
        put_back(parts, tmp_path / "copy", who="operator", stays_paused=False)
        with parts.store.read() as tx:
            paused = tx.switches().paused
    assert paused is not None
    assert (paused.who, paused.why) == ("alice", "maintenance")


def test_gitlab_is_told_of_open_merge_requests_as_if_nothing_were_known(copy: Path, empty: Make) -> None:
    with opened(empty("sqlite")) as parts:
        put_back(parts, copy, who="operator", stays_paused=False)
        with parts.store.read() as tx:
            assert [tx.told(preview_id)[0] for preview_id in (1, 2)] == [{"environment_url": ""}] * 2
            due = {(one.kind, one.id) for one in tx.due(1e12, limit=100)}
    assert {("report", 1), ("report", 2), ("project", 1), ("account", 3)} <= due


# --- what is refused ----------------------------------------------------------------------------------


def refused(path: Path, url: str) -> str:
    """The words with which it is refused to put `path` back."""
    with opened(url) as parts, pytest.raises(BadInput) as caught:
        put_back(parts, path, who="operator", stays_paused=False)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_with_rows_is_refused_and_stays_as_it_is(kind: str, empty: Make, copy: Path) -> None:
    migrate(url := empty(kind))
    with opened(url) as parts:
        World(parts)
        before = everything(parts, but={})
        assert "not empty" in refused(copy, url)
        assert everything(parts, but={}) == before


def test_a_database_with_somebody_elses_table_is_refused(copy: Path, empty: Make) -> None:
    url = empty("sqlite")
    with opened(url) as parts, parts.store.write() as tx:
        Table("recipes", MetaData(), Column("id", Integer)).create(tx.connection)
    assert "'recipes'" in refused(copy, url)
    assert tables_of(url) == ["recipes"]


def test_whatever_is_cut_off_or_changed_is_refused(copy: Path, empty: Make, tmp_path: Path) -> None:
    whole, url = copy.read_bytes(), empty("sqlite")
    for length in [0, 5, 20, len(whole) // 2, len(whole) - 20, len(whole) - 1]:
        copy.write_bytes(whole[:length])
        assert "damaged or was cut off" in refused(copy, url), length
    # The first ten bytes are gzip's own: when and where it was made.
    for place in range(10, len(whole), max(len(whole) // 60, 1)):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        copy.write_bytes(changed)
        assert refused(copy, url), place
    copy.write_bytes(whole + b"more")
    assert "damaged" in refused(copy, url)
    lines = gzip.decompress(whole).splitlines(keepends=True)
    for changed_lines in (lines[:-1], [*lines[:-2], lines[-1]], [*lines, lines[-2]], lines[1:]):
        copy.write_bytes(gzip.compress(b"".join(changed_lines)))
        assert refused(copy, url)
    assert tables_of(url) == []


@pytest.mark.parametrize(
    "content", [b"CREATE TABLE x;", gzip.compress(b'{"format": "another"}\n', mtime=0)], ids=["text", "gzip"]
)
def test_a_file_of_another_kind_is_refused(content: bytes, empty: Make, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(content)
    assert "no copy" in refused(tmp_path / "copy", url := empty("sqlite"))
    assert "cannot be read" in refused(tmp_path / "nowhere", url)


def test_what_a_newer_version_made_is_refused(copy: Path, empty: Make, tmp_path: Path) -> None:
    url = empty("sqlite")
    lines = gzip.decompress(copy.read_bytes()).splitlines(keepends=True)
    lines[0] = lines[0].replace(b'"version":1', b'"version":2')
    copy.write_bytes(gzip.compress(b"".join(lines)))
    assert "newer" in refused(copy, url)
    with CopyWriter(tmp_path / "future", Head("9999", 0.0, "99.0")):
        pass
    assert "99.0" in refused(tmp_path / "future", url)
    assert tables_of(url) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_that_does_not_fit_leaves_nothing_behind(kind: str, empty: Make, tmp_path: Path) -> None:
    with CopyWriter(path := tmp_path / "odd", Head("0011", 0.0, "0.1")) as writer:
        writer.table(TableHead("switch", [("name", ColumnKind.PLAIN), ("value", ColumnKind.JSON)]))
        writer.row(["here", "1"])
        writer.table(TableHead("project", [("nothing_of_ours", ColumnKind.PLAIN)]))
        writer.row([1])
    url = empty(kind)
    assert "does not fit" in refused(path, url)
    assert tables_of(url) == []


def test_a_file_that_is_there_is_not_written_over(copy: Path, tmp_path: Path) -> None:
    before = copy.read_bytes()
    with opened(f"sqlite:///{tmp_path / 'service.db'}") as parts, pytest.raises(BadInput, match="There is a"):
        back_up(parts, copy)
    assert copy.read_bytes() == before
    assert copy.stat().st_mode & 0o777 == 0o600


def test_a_disk_that_is_full_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "copy.part").symlink_to("/dev/full")
    migrate(url := f"sqlite:///{tmp_path / 'service.db'}")
    with opened(url) as parts:
        fill(parts)
        with pytest.raises(BadInput, match="No space left"):
            back_up(parts, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_there_is_nothing_to_copy_in_a_database_without_tables(tmp_path: Path) -> None:
    with (
        opened(f"sqlite:///{tmp_path / 'none.db'}") as parts,
        pytest.raises(BadInput, match="no tables"),
    ):
        back_up(parts, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


# --- the commands -------------------------------------------------------------------------------------


def test_while_workers_run_a_copy_is_put_back_paused_or_not_at_all(
    tmp_path: Path, redis_url: str, copy: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    values = {"database_url": url, "redis_url": redis_url, "gitlab_token": "none", "queue_prefix": "restore"}
    environment = {f"{PREFIX}{name.upper()}": value for name, value in values.items()}
    with opened(url) as parts:
        parts.settings.redis_url = redis_url
        parts.settings.queue_prefix = "restore"
        parts.pulse.beat()
        parts.redis.close()
    said = CliRunner().invoke(cli, ["restore", str(copy)], env=environment)
    assert isinstance(said.exception, BadInput)
    assert "stop all processes" in str(said.exception)
    assert tables_of(url) == []
    said = CliRunner().invoke(cli, ["restore", str(copy), "--paused"], env=environment)
    assert said.exit_code == 0, said.output
    assert "switch resume" in said.output
    with opened(url) as parts, parts.store.read() as tx:
        assert tx.is_paused()
