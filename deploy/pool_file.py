"""The pool as a file, for operators who keep their set-up in git.

::

    [[account]]
    tool = "preview-dev-1"
    kubeconfig = "/data/project/preview-dev-1/.kube/config"   # or cert and key, or env

Paths are those on the machine where the workers run; relative ones begin at the file's folder. The file names
credentials and never holds any. What is missing in the pool is added, what is not in the file is drained and
never removed, and nothing is changed before everything has been found to be good.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.bootstrap import Parts
from orchestrator.connect import add_account, check_account
from orchestrator.errors import BadInput
from orchestrator.pool import Account, AccountState

#: The kinds of credentials, by the keys that each needs.
KINDS = ({"kubeconfig"}, {"cert", "key"}, {"env"})
_PATHS = {"kubeconfig", "cert", "key"}


@dataclass(frozen=True)
class Entry:
    """One account that the pool is to have."""

    tool: str
    credentials: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What is to be done so that the pool is as the file says."""

    add: Sequence[Entry]
    change: Sequence[Entry]
    drain: Sequence[str]
    #: In the file, but out of use by an operator's wish, which stays.
    drained: Sequence[str]

    def words(self) -> list[str]:
        """One line for each thing to do."""
        return [
            *(f"add {entry.tool}" for entry in self.add),
            *(f"change the credentials of {entry.tool}" for entry in self.change),
            *(f"drain {tool}, which the file does not name" for tool in self.drain),
        ]


def read(path: Path) -> list[Entry]:
    """The accounts that the file names; raises :class:`BadInput` that names the entry that is wrong."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"Cannot read {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is no TOML: {error}") from None
    unknown = sorted(content.keys() - {"account"})
    items = content.get("account", [])
    if unknown or not isinstance(items, list):
        raise BadInput(f"{path} may hold nothing but [[account]] entries, not {', '.join(unknown) or 'one'}.")
    if not items:
        # An emptied file is more likely a mistake than the wish to take everything out of use.
        raise BadInput(f"{path} names no account; `toolforge-preview pool drain` takes one out of use.")
    entries = [_entry(path, number, item) for number, item in enumerate(items, 1)]
    tools = [entry.tool for entry in entries]
    for tool in tools:
        if tools.count(tool) > 1:
            raise BadInput(f"{path}: account '{tool}' is named more than once.")
    return entries


def _entry(path: Path, number: int, item: Any) -> Entry:
    where = f"{path}: account number {number}"
    if not isinstance(item, dict) or not all(isinstance(value, str) and value for value in item.values()):
        raise BadInput(f'{where} is wrong: it takes lines such as tool = "NAME".')
    if "tool" not in item:
        raise BadInput(f"{where} is wrong: it has no tool.")
    where += f", '{item['tool']}',"
    keys = item.keys() - {"tool"}
    unknown = sorted(keys - set().union(*KINDS))
    if unknown:
        raise BadInput(f"{where} is wrong: nothing is called {', '.join(unknown)} there.")
    if keys not in KINDS:
        raise BadInput(f"{where} is wrong: it takes kubeconfig, or cert and key, or env.")
    return Entry(item["tool"], {key: _value(path, key, item[key]) for key in keys})


def _value(path: Path, key: str, value: str) -> str:
    if key not in _PATHS or value.startswith("~"):
        return value
    return str(path.resolve().parent / value)


def plan(entries: Sequence[Entry], present: Sequence[tuple[Account, Mapping[str, str]]]) -> Plan:
    """What differs between the file and the pool, which is given with its credentials."""
    known = {account.name: (account, dict(credentials)) for account, credentials in present}
    named = {entry.tool for entry in entries}
    out_of_use = {name for name, (account, _) in known.items() if _is_drained(account)}
    return Plan(
        add=[entry for entry in entries if entry.tool not in known],
        change=[e for e in entries if e.tool in known and known[e.tool][1] != dict(e.credentials)],
        drain=[name for name in known if name not in named and name not in out_of_use],
        drained=[name for name in known if name in named and name in out_of_use],
    )


def _is_drained(account: Account) -> bool:
    return account.drain or account.state is AccountState.DRAINED


def difference(parts: Parts, path: Path) -> Plan:
    """What has to be done for the pool to be as the file says, every new credential having been tried."""
    entries = read(path)
    with parts.store.read() as tx:
        present = [(account, tx.credentials(account.id)) for account in tx.accounts()]
    wanted = plan(entries, present)
    for entry in (*wanted.add, *wanted.change):
        try:
            check_account(parts, entry.tool, entry.credentials)
        except BadInput as error:
            raise BadInput(f"{path}: account '{entry.tool}': {error}") from None
    return wanted


def carry_out(parts: Parts, wanted: Plan, who: str, now: float) -> None:
    """Make the pool so."""
    for entry in wanted.add:
        add_account(parts, entry.tool, entry.credentials, now)
    for entry in wanted.change:
        parts.lifecycle.change_credentials(entry.tool, entry.credentials, who, now)
    for tool in wanted.drain:
        parts.lifecycle.drain(tool, who, now)
