"""The pool as a file: what is read from it, what it is compared with, and how bad ones are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.pool_file import Entry, plan, read
from orchestrator.errors import BadInput
from orchestrator.pool import Account, AccountState


def written(folder: Path, text: str) -> Path:
    path = folder / "pool.toml"
    path.write_text(text)
    return path


def test_a_file_names_accounts_with_each_kind_of_credentials(tmp_path: Path) -> None:
    text = """
        [[account]]
        tool = "a"
        kubeconfig = "a/config"
        [[account]]
        tool = "b"
        cert = "/b.crt"
        key = "~/b.key"
        [[account]]
        tool = "c"
        env = "C"
    """
    assert read(written(tmp_path, text)) == [
        Entry("a", {"kubeconfig": str(tmp_path / "a/config")}),
        Entry("b", {"cert": "/b.crt", "key": "~/b.key"}),
        Entry("c", {"env": "C"}),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no account"),
        ("account = []", "names no account"),
        ("[account]\ntool = 'a'", "nothing but [[account]] entries"),
        ("[[acount]]\ntool = 'a'", "not acount"),
        ("[[account]\n", "is no TOML"),
        ("[[account]]\nenv = 'A'", "account number 1 is wrong: it has no tool"),
        ("[[account]]\ntool = 5", "account number 1 is wrong"),
        ("account = [1]", "account number 1 is wrong"),
        ("[[account]]\ntool = 'a'", "account number 1, 'a', is wrong: it takes kubeconfig"),
        ("[[account]]\ntool = 'a'\ncert = 'c'", "'a', is wrong: it takes kubeconfig"),
        ("[[account]]\ntool = 'a'\nenv = 'A'\nkubeconfig = 'k'", "'a', is wrong: it takes kubeconfig"),
        ("[[account]]\ntool = 'a'\nenv = ''", "account number 1 is wrong"),
        ("[[account]]\ntool = 'a'\npassword = 'x'", "nothing is called password"),
        (
            "[[account]]\ntool = 'a'\nenv = 'A'\n[[account]]\ntool = 'a'\nenv = 'B'",
            "'a' is named more than once",
        ),
    ],
)
def test_a_bad_file_is_refused_with_the_entry_that_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(written(tmp_path, text))
    assert words in str(refused.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="is no TOML"):
        read(tmp_path / "binary.toml")


def present(name: str, env: str, **changes: object) -> tuple[Account, Mapping[str, str]]:
    values: dict[str, object] = {
        "id": 1,
        "name": name,
        "state": AccountState.FREE,
        "since": 0.0,
        "due_at": None,
    }
    return Account(**(values | changes)), {"env": env}  # type: ignore[arg-type]


def test_what_differs_is_added_changed_or_drained_and_nothing_is_removed() -> None:
    entries = [Entry(name, {"env": name.upper()}) for name in ("new", "same", "other", "resting")]
    wanted = plan(
        entries,
        [
            present("same", "SAME"),
            present("other", "OLD"),
            present("resting", "RESTING", state=AccountState.DRAINED, drain=True),
            present("gone", "GONE", state=AccountState.LEASED),
            present("going", "GOING", state=AccountState.LEASED, drain=True),
        ],
    )
    assert [entry.tool for entry in wanted.add] == ["new"]
    assert [entry.tool for entry in wanted.change] == ["other"]
    assert (wanted.drain, wanted.drained) == (["gone"], ["resting"])
    assert wanted.words() == [
        "add new",
        "change the credentials of other",
        "drain gone, which the file does not name",
    ]
