"""What several commands take: smoke checks, durations."""

from __future__ import annotations

import re

import click

from orchestrator.durations import seconds_of


class Check(click.ParamType[tuple[str, int | None]]):
    """PATH=STATUS, or PATH alone for "anything below 500"."""

    name = "PATH=STATUS"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | None]:
        """The path and the status that is expected."""
        path, _, status = value.rpartition("=") if "=" in value else (value, "", "")
        if not re.fullmatch(r"/[^\s#]*", path) or path.startswith("//"):
            self.fail(f"'{path}' is no path such as /healthz", param, ctx)
        if status and not re.fullmatch(r"[1-5]\d\d", status):
            self.fail(f"'{status}' is no HTTP status such as 200", param, ctx)
        return path, int(status) if status else None


class Duration(click.ParamType[float]):
    """A number with m, h or d: minutes, hours, days."""

    name = "DURATION"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """In seconds."""
        try:
            return seconds_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


CHECKS = click.option(
    "--check", "checks", type=Check(), multiple=True, help="A smoke check; may be given several times."
)
