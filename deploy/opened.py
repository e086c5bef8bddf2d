"""The product's parts for the length of one command."""

from __future__ import annotations

import click

from orchestrator.bootstrap import Parts
from orchestrator.settings import load_settings


def opened_parts() -> Parts:
    """The product's parts, closed when the command ends."""
    parts = Parts(load_settings())
    click.get_current_context().call_on_close(parts.close)
    return parts
