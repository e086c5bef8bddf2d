"""What the commands for operators have in common."""

from __future__ import annotations

import getpass

import click

from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput
from orchestrator.records import Project
from orchestrator.settings import load_settings


def opened_parts() -> Parts:
    """The product's parts, closed when the command ends."""
    parts = Parts(load_settings())
    click.get_current_context().call_on_close(parts.close)
    return parts


def operator() -> str:
    """Who types, as far as this machine knows."""
    try:
        return f"operator {getpass.getuser()}"
    except (KeyError, OSError):  # a container may have no such user
        return "operator"


def connected_project(parts: Parts, path: str) -> Project:
    """The project ``group/name``; raises :class:`BadInput` when it is not connected."""
    with parts.store.read() as tx:
        found = tx.project_at(path)
    if found is None or found.is_ours:
        raise BadInput(f"'{path}' is not connected; `toolforge-preview project list` shows those that are.")
    return found
