"""A copy that is made as the documents say is put back, and the service goes on with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, select

from orchestrator import outcome as out
from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.lifecycle import Lifecycle
from orchestrator.settings import load_settings
from tests.databases import Server, migrate
from tests.orchestrator.scene import B, World

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
#: The first word of the line in the table, by kind of database.
LINES = {"sqlite": "SQLite", "mariadb": "MariaDB", "postgresql": "PostgreSQL"}


@pytest.fixture(params=sorted(LINES))
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A database with tables, and an empty one of the same kind."""
    if request.param == "sqlite":
        made = (f"sqlite:///{tmp_path / 'service.db'}", f"sqlite:///{tmp_path / 'empty.db'}")
        migrate(made[0])
        yield made
        return
    server: Server = request.getfixturevalue(request.param)
    made = (server.create(), server.create())
    migrate(made[0])
    yield made
    for url in made:
        server.drop(url)


def documented(kind: str) -> list[str]:
    """The commands of the table: to copy, and to put back."""
    (line,) = re.findall(rf"^\| {LINES[kind]}.*$", DOCUMENT.read_text(), re.MULTILINE)
    return re.findall(r"`([^`]+)`", line)


def run(command: str, url: str, folder: Path) -> None:
    """Run a documented command on the database at `url`, as somebody whose client knows the server."""
    parsed = make_url(url)
    (folder / ".my.cnf").write_text(
        f"[client]\nhost={parsed.host}\nport={parsed.port}\nuser={parsed.username}\n"
        f'password="{parsed.password}"\n'
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PGHOST": str(parsed.host),
        "PGPORT": str(parsed.port),
        "PGUSER": str(parsed.username),
        "PGPASSWORD": str(parsed.password),
    }
    words = {"FILE": str(parsed.database), "NAME": str(parsed.database), "COPY": str(folder / "copy")}
    for word, value in words.items():
        command = re.sub(rf"\b{word}\b", value, command)
    subprocess.run(["bash", "-c", command], env=environment, check=True)


def everything(parts: Parts) -> dict[str, list[tuple[Any, ...]]]:
    with parts.store.engine.connect() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in t.metadata.sorted_tables
        }


def test_a_copy_is_put_back_and_the_service_goes_on(urls: tuple[str, str], tmp_path: Path) -> None:
    first, second = urls
    kind = make_url(first).get_backend_name()
    copy, *back = documented(kind)
    if shutil.which(copy.split()[0]) is None:
        pytest.skip(f"there is no {copy.split()[0]}")
    parts = Parts(load_settings(database_url=first, gitlab_token="none"))
    world = World(parts, accounts=2)
    world.sees(1, title="\U0001f9ea 'quoted' \\ \"twice\"")
    world.goes_live(1)
    world.sees(2)
    run(copy, first, tmp_path)
    kept = everything(parts)
    world.sees(2, state="closed")
    parts.close()

    if back:
        run(back[0], second, tmp_path)
    else:
        shutil.copy(tmp_path / "copy", str(make_url(second).database))
    restored = Parts(load_settings(database_url=second, gitlab_token="none"))
    assert everything(restored) == kept
    restored.migrate()
    world.store, world.lifecycle = restored.store, Lifecycle(restored.store, world.policy)
    world.step(out.BuildStarted("b"), 2)
    world.sees(1, B)
    assert world.states(1) == ["live", "building"]
    restored.close()
