"""Secret envvars of projects: what is refused, who sees what, keys that change, projects that go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput
from orchestrator.project_secrets import ProjectSecrets
from orchestrator.sealing import Vault
from orchestrator.secret_rules import MOST, MOST_BYTES, Opened, as_kept, check_name
from orchestrator.settings import load_settings
from tests.orchestrator.scene import World

OLD, NEW = "o" * 40, "n" * 40
VALUE = "hunter2-hunter2"


@pytest.fixture
def world(any_parts: Parts) -> World:
    made = World(any_parts)
    made.sees()
    return made


def secrets(world: World, *keys: str) -> ProjectSecrets:
    """Those of the database, with these keys."""
    return ProjectSecrets(world.store, Vault(keys))


def changes(world: World) -> list[str]:
    """What was written down of the project, and by whom."""
    with world.store.read() as tx:
        return [f"{e.who}: {e.why}" for e in tx.events_about("project")]


def kept(world: World) -> list[tuple[str, str]]:
    """The rows as they are."""
    with world.store.engine.connect() as connection:
        found = connection.execute(select(t.secret.c.name, t.secret.c.sealed).order_by(t.secret.c.name))
        return [(row.name, row.sealed) for row in found]


# --- names and values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["API_KEY", "KEY1", "A__B", "X" * 100])
def test_what_toolforge_takes_as_a_name_is_one(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name", ["", "KEY", "api_key", "1KEY", "_KEYS", "KEYS_", "KEY-S", "KEYS\n", "ÄPFEL", "X" * 101, "A\0BC"]
)
def test_what_toolforge_does_not_take_as_a_name_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="Toolforge's rules"):
        check_name(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("TOOL_TOOLSDB_PASSWORD", "Toolforge sets those that begin with TOOL_ itself"),
        ("PREVIEW_URL", "set by Toolforge Preview"),
        ("LD_PRELOAD", "change how every program starts"),
        ("PORT", "the port on which the preview has to listen"),
        ("PATH", "the image finds its programs by it"),
    ],
)
def test_a_name_that_means_something_to_others_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        check_name(name)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "less than 8"),
        ("seven77", "less than 8"),
        (" hunter2-hunter2", "white space"),
        ("hunter2-hunter2\n\n", "white space"),
        ("hunter2\0hunter2", "control characters"),
        ("hunter2\x1b[0mhunter2", "control characters"),
        ("hunter2\rhunter2", "control characters"),
        ("hunter2-\ud83d-hunter2", "no text"),
        ("x" * (MOST_BYTES + 1), f"{MOST_BYTES} are the most"),
        ("ü" * (MOST_BYTES // 2 + 1), f"{MOST_BYTES} are the most"),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_not_repeated(value: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        as_kept(value)
    assert "hunter2" not in str(refused.value)


def test_of_line_ends_only_the_last_one_goes() -> None:
    assert as_kept("first line\r\nsecond\tline\r\n") == "first line\nsecond\tline"
    assert as_kept("x" * MOST_BYTES) == "x" * MOST_BYTES


def test_values_are_in_no_repr() -> None:
    assert "hunter2" not in repr(Opened({"API_KEY": VALUE}, ("LOST_KEY",)))


# --- set, replaced, removed ---------------------------------------------------------------------------


def test_a_secret_is_kept_encrypted_and_told_by_its_name_alone(world: World) -> None:
    ours = secrets(world, NEW)
    assert ours.put(world.project_id, "API_KEY", VALUE, "max", 5.0) is False
    (one,) = ours.of(world.project_id)
    assert (one.name, one.set_at, one.set_by) == ("API_KEY", 5.0, "max")
    assert one.is_readable
    assert "hunter2" not in repr((one, kept(world)))
    assert ours.put(world.project_id, "API_KEY", "another-value", "olga", 6.0) is True
    (one,) = ours.of(world.project_id)
    assert (one.set_at, one.set_by) == (6.0, "olga")
    assert ours.opened(world.preview()).values == {"API_KEY": "another-value"}
    ours.remove(world.project_id, "API_KEY", "max", 7.0)
    assert ours.of(world.project_id) == []
    assert kept(world) == []
    assert changes(world) == [
        "max: its secret API_KEY was set",
        "olga: its secret API_KEY was replaced",
        "max: its secret API_KEY was removed",
    ]


def test_what_is_refused_changes_nothing(world: World) -> None:
    ours = secrets(world, NEW)
    ours.put(world.project_id, "API_KEY", VALUE, "max", 5.0)
    before = kept(world)
    for name, value in (("PORT", VALUE), ("API_KEY", "short"), ("api_key", VALUE)):
        with pytest.raises(BadInput):
            ours.put(world.project_id, name, value, "max", 6.0)
    for name in ("OTHER_KEY", "api_key", "A\0B", "\ud83d"):
        with pytest.raises(BadInput, match="no such secret"):
            ours.remove(world.project_id, name, "max", 6.0)
    with pytest.raises(BadInput, match="secret_key"):
        secrets(world).put(world.project_id, "OTHER_KEY", VALUE, "max", 6.0)
    assert kept(world) == before
    assert len(changes(world)) == 1


def test_there_is_room_for_so_many_and_what_is_there_can_still_be_replaced(world: World) -> None:
    ours = secrets(world, NEW)
    for number in range(MOST):
        ours.put(world.project_id, f"KEY_{number:03}", VALUE, "max", 5.0)
    with pytest.raises(BadInput, match=f"has {MOST} secrets"):
        ours.put(world.project_id, "ONE_MORE", VALUE, "max", 6.0)
    assert ours.put(world.project_id, "KEY_000", VALUE, "max", 6.0)
    assert len(kept(world)) == MOST


# --- who gets them ------------------------------------------------------------------------------------


def test_a_fork_gets_none_and_another_project_only_its_own(world: World) -> None:
    ours = secrets(world, NEW)
    ours.put(world.project_id, "API_KEY", VALUE, "max", 5.0)
    assert ours.opened(world.preview()).values == {"API_KEY": VALUE}
    assert ours.opened(replace(world.preview(), is_from_project=False)) == Opened()
    other = world.connects(88, "group/other")
    assert ours.opened(replace(world.preview(), project_id=other)) == Opened()


def test_a_row_that_was_moved_to_another_project_does_not_open_there(world: World) -> None:
    ours = secrets(world, NEW)
    ours.put(world.project_id, "API_KEY", VALUE, "max", 5.0)
    other = world.connects(88, "group/other")
    with world.store.engine.begin() as connection:
        connection.execute(update(t.secret).values(project_id=other))
    assert ours.opened(replace(world.preview(), project_id=other)) == Opened({}, ("API_KEY",))


def test_with_its_project_go_its_secrets_and_it_can_get_no_new_ones(world: World) -> None:
    ours = secrets(world, NEW)
    ours.put(world.project_id, "API_KEY", VALUE, "max", 5.0)
    other = world.connects(88, "group/other")
    ours.put(other, "API_KEY", VALUE, "max", 5.0)
    world.lifecycle.disconnect(world.project_id, "operator", 6.0)
    assert ours.of(world.project_id) == []
    assert len(ours.of(other)) == 1
    with pytest.raises(BadInput, match="not connected any more"):
        ours.put(world.project_id, "API_KEY", VALUE, "max", 7.0)


# --- keys that change ---------------------------------------------------------------------------------


def test_a_key_is_changed_without_anything_being_lost(world: World) -> None:
    secrets(world, OLD).put(world.project_id, "API_KEY", VALUE, "max", 5.0)
    during, after = secrets(world, NEW, OLD), secrets(world, NEW)
    assert during.opened(world.preview()).values == {"API_KEY": VALUE}
    assert during.in_need() == ([], 1)
    assert during.reseal("operator", 6.0).sealed == 1
    assert during.in_need() == ([], 0)
    assert after.opened(world.preview()).values == {"API_KEY": VALUE}
    (one,) = after.of(world.project_id)
    assert (one.set_at, one.set_by) == (5.0, "max"), "who set it has not changed"
    assert changes(world)[-1] == "operator: its secret API_KEY was encrypted with the new key"
    before = kept(world)
    assert during.reseal("operator", 7.0).sealed == 0, "again it does nothing"
    assert kept(world) == before


def test_what_no_key_opens_is_named_and_the_others_go_on(world: World) -> None:
    secrets(world, OLD).put(world.project_id, "LOST_KEY", VALUE, "max", 5.0)
    after = secrets(world, NEW)
    after.put(world.project_id, "API_KEY", VALUE, "max", 6.0)
    assert after.opened(world.preview()) == Opened({"API_KEY": VALUE}, ("LOST_KEY",))
    assert [(one.name, one.is_readable) for one in after.of(world.project_id)] == [
        ("API_KEY", True),
        ("LOST_KEY", False),
    ]
    assert after.in_need() == ([("group/tool", "LOST_KEY")], 0)
    done = after.reseal("operator", 7.0)
    assert (done.sealed, done.unreadable) == (0, (("group/tool", "LOST_KEY"),))
    after.put(world.project_id, "LOST_KEY", "another-value", "max", 8.0)
    assert after.opened(world.preview()).values == {"API_KEY": VALUE, "LOST_KEY": "another-value"}


def test_what_somebody_replaces_meanwhile_is_not_sealed_over(world: World) -> None:
    secrets(world, OLD).put(world.project_id, "API_KEY", VALUE, "max", 5.0)
    during = secrets(world, NEW, OLD)

    class Overtaken(Vault):
        def open(self, purpose: str, sealed: str) -> str:
            found = super().open(purpose, sealed)
            during.put(world.project_id, "API_KEY", "another-value", "max", 6.0)
            return found

    assert ProjectSecrets(world.store, Overtaken([NEW, OLD])).reseal("operator", 7.0).sealed == 0
    assert during.opened(world.preview()).values == {"API_KEY": "another-value"}


# --- settings -----------------------------------------------------------------------------------------


@pytest.fixture
def parts_with(tmp_path: Path) -> Iterator[Callable[..., Parts]]:
    made: list[Parts] = []

    def make(**settings: str) -> Parts:
        url = f"sqlite:///{tmp_path / 'keys.db'}"
        made.append(Parts(load_settings(database_url=url, gitlab_token="none", **settings)))
        return made[-1]

    yield make
    for parts in made:
        parts.close()


def test_keys_come_from_the_settings(parts_with: Callable[..., Parts]) -> None:
    before = parts_with(secret_key=OLD)
    before.migrate()
    world = World(before)
    world.sees()
    before.secrets.put(world.project_id, "API_KEY", VALUE, "max", 5.0)
    during = parts_with(secret_key=NEW, old_secret_keys=f"{'x' * 40}\n {OLD}")
    assert during.secrets.opened(world.preview()).values == {"API_KEY": VALUE}
    assert {NEW, OLD, "x" * 40} <= {*during.settings.secrets()}, "they are masked in logs"
    assert parts_with(secret_key=NEW).secrets.opened(world.preview()).unreadable == ("API_KEY",)
    assert parts_with().secrets.opened(world.preview()).unreadable == ("API_KEY",)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"secret_key": NEW, "old_secret_keys": f"{OLD} too-short"}, "at least 32 characters"),
        ({"old_secret_keys": OLD}, "there is no secret_key"),
    ],
)
def test_old_keys_that_are_of_no_use_are_refused_and_not_repeated(
    parts_with: Callable[..., Parts], settings: dict[str, str], words: str
) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        parts_with(**settings)
    assert "too-short" not in str(refused.value)
    assert OLD not in str(refused.value)
