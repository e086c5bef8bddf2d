"""The program: `python -m deploy.local.toolforge --state DIR --tools preview-dev-1,preview-dev-2`.

It says where it listens in `DIR/ready.json` (and on standard output), and ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path
from typing import Any

import click

from deploy.local.toolforge import scenario as scenarios
from deploy.local.toolforge.registry import format_bytes
from deploy.local.toolforge.server import Server
from deploy.local.toolforge.settings import GIB, Settings

TOOL_NAME = re.compile(r"^[a-z]([-_a-z0-9]{0,254}[a-z0-9])?$")


def _tools(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """A number of tools, or their names."""
    if value.isdigit():
        return tuple(f"preview-dev-{number}" for number in range(1, int(value) + 1))
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        if not TOOL_NAME.fullmatch(name) or re.search(r"[-_]{2}", name):
            raise click.BadParameter(f"{name!r}: lower-case letters, digits, single - and _ between them")
    if not names or len(set(names)) != len(names):
        raise click.BadParameter("name each tool once, and at least one")
    return names


@click.command()
@click.option(
    "--state", type=click.Path(path_type=Path), required=True, help="Folder of everything it keeps."
)
@click.option("--tools", callback=_tools, required=True, help="Names separated by commas, or how many.")
@click.option("--gateway-port", default=0, show_default="the last one, else any")
@click.option("--web-port", default=0, show_default="the last one, else any")
@click.option("--admin-port", default=0, show_default="the last one, else any")
@click.option("--engine", type=click.Choice(["real", "synthetic"]), default="real", show_default=True)
@click.option(
    "--scenario", type=click.Path(path_type=Path, exists=True), help="Scenario of the synthetic engine."
)
@click.option("--time-scale", default=1.0, show_default=True, help="Seconds here for one of Toolforge's.")
@click.option("--quota-bytes", default=GIB, show_default=format_bytes(GIB), help="Image store of a tool.")
@click.option("--max-parallel-builds", default=4, show_default=True, help="Per tool.")
def main(scenario: Path | None, **options: Any) -> None:
    """A Toolforge on this machine."""
    try:
        data = scenarios.load(scenario) if scenario else {}
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--scenario") from None
    if scenario and options["engine"] == "real":
        raise click.BadParameter("only the synthetic engine has scenarios", param_hint="--scenario")
    options["state"] = options["state"].resolve()
    asyncio.run(_serve(Settings(scenario=data, **options)))


async def _serve(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    server = Server(settings)
    await server.start()
    click.echo(f"gateway {server.gateway_url}\nadmin   {server.admin_url}")
    for tool in settings.tools:
        click.echo(f"        http://{tool}.localhost:{server.web_port}/")
    await stopping.wait()
    await server.stop()


if __name__ == "__main__":
    main()
