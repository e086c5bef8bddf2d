"""``toolforge-preview simulate``: how long merge requests would wait with another pool."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.table import Table

from deploy.chart import chart
from orchestrator.errors import BadInput
from orchestrator.scheduler import Limits
from orchestrator.simulation.arrivals import Arrival, read_csv, write_csv
from orchestrator.simulation.figures import Figures
from orchestrator.simulation.loads import Load, made_up
from orchestrator.simulation.run import Pool, Simulation

_Command = TypeVar("_Command", bound=Callable[..., None])
_MOST_ACCOUNTS = 10_000
#: How a deployment can have ended.
_ENDS = {
    "passed": "passed",
    "build": "failed in the build",
    "start": "did not start",
    "check": "failed a check",
    "full": "found no room in the store",
    "refused": "refused as too large",
    "superseded": "superseded",
    "closed": "closed before",
}


class _Range(click.ParamType[range]):
    """A number such as 5, or a range such as 1-10."""

    name = "NUMBER or FROM-TO"

    def convert(self, value: str | range, param: click.Parameter | None, ctx: click.Context | None) -> range:
        if isinstance(value, range):
            return value
        found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", value)
        if found is None:
            self.fail(f"'{value}' is neither a number such as 5 nor a range such as 1-10", param, ctx)
        first, last = int(found[1]), int(found[2] or found[1])
        if not 1 <= first <= last <= _MOST_ACCOUNTS:
            self.fail(f"'{value}' is no range between 1 and {_MOST_ACCOUNTS}", param, ctx)
        return range(first, last + 1)


def _number(name: str, default: float, text: str, *, least: float = 0.0) -> Callable[[_Command], _Command]:
    """An option that is a number, whole where its default is."""
    kind: click.ParamType[float] | click.ParamType[int] = click.FloatRange(min=least, max=1e9)
    if isinstance(default, int):
        kind = click.IntRange(min=int(least), max=10**9)
    return click.option(name, type=kind, default=default, show_default=True, help=text)


@click.command()
@click.option("--accounts", type=_Range(), default="1-10", show_default=True, help="Accounts of the pool.")
@click.option(
    "--trace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV of the commits that arrive; without it a load is made up.",
)
@_number("--goal", 600, "Seconds that 95 of 100 people should wait for their build at most.")
@click.option("--chart", "chart_file", type=click.Path(dir_okay=False, path_type=Path), help="Write an SVG.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list, for machines.")
@_number("--builds", Limits.max_concurrent_builds, "Builds at once over the whole pool.", least=1)
@_number("--builds-per-account", Limits.builds_per_account, "Builds at once on one account.", least=1)
@_number("--store-mib", 1024, "Image store of an account; 0: without limit.")
@_number("--min-live-seconds", Limits.min_live_seconds, "Before a preview may have to give way.")
@_number("--live-seconds", Pool.live_seconds, "A preview stays up at most so long.", least=1)
@_number("--check-seconds", Pool.check_seconds, "From an image to its verdict.")
@_number("--cleaning-seconds", Pool.cleaning_seconds, "Until an account that was given back is free.")
@click.option("--no-sharing", is_flag=True, help="Each check-only deployment has an account of its own.")
@_number("--seed", 1, "Made-up load: the same seed makes the same one.")
@_number("--days", Load.days, "Made-up load: how long it goes on.", least=0.01)
@_number("--projects", Load.projects, "Made-up load: in so many projects.", least=1)
@_number("--people-a-day", Load.people_a_day, "Made-up load: merge requests of people on a working day.")
@_number("--storms-a-day", Load.storms_a_day, "Made-up load: how often a bot opens many at once.")
@_number("--storm-size", Load.storm_size, "Made-up load: so many at once.", least=1)
@_number("--build-seconds", Load.build_seconds, "Made-up load: median of the builds.", least=1)
@_number("--image-mib", Load.image_mib, "Made-up load: median of the images.")
@click.option(
    "--save-trace", type=click.Path(dir_okay=False, path_type=Path), help="Write the made-up load as CSV."
)
def simulate(
    accounts: range,
    trace: Path | None,
    goal: int,
    chart_file: Path | None,
    as_json: bool,
    builds: int,
    builds_per_account: int,
    store_mib: int,
    no_sharing: bool,
    seed: int,
    save_trace: Path | None,
    min_live_seconds: float,
    live_seconds: float,
    check_seconds: float,
    cleaning_seconds: float,
    **load: float,
) -> None:
    """Say how long merge requests would wait, with one pool or with several sizes of it.

    The scheduler of the service decides, in virtual time. docs/simulate.md says what a trace looks like.
    """
    pool = Pool(
        limits=Limits(
            max_concurrent_builds=builds,
            builds_per_account=builds_per_account,
            min_live_seconds=min_live_seconds,
        ),
        store_bytes=store_mib * 2**20 or None,
        live_seconds=live_seconds,
        check_seconds=check_seconds,
        cleaning_seconds=cleaning_seconds,
        shares=not no_sharing,
    )
    loads = Load(**load)  # type: ignore[arg-type]
    if save_trace is not None:
        with save_trace.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(write_csv(made_up(loads, seed)))
    found = []
    for size in accounts:
        arrivals = made_up(loads, seed) if trace is None else _read(trace)
        found.append(Simulation(replace(pool, accounts=size)).run(arrivals))
    if chart_file is not None:
        chart_file.write_text(chart(found), encoding="utf-8")
    if as_json:
        click.echo(json.dumps([asdict(figures) for figures in found], indent=2))
    else:
        _show(found, goal)


def _read(trace: Path) -> Iterator[Arrival]:
    try:
        with trace.open(newline="", encoding="utf-8") as file:
            yield from read_csv(file, trace.name)
    except UnicodeDecodeError:
        raise BadInput(f"{trace.name} is no text in UTF-8.") from None


def _show(found: list[Figures], goal: int) -> None:
    first = found[0]
    ends = ", ".join(f"{first.ends[end]} {words}" for end, words in _ENDS.items() if end in first.ends)
    click.echo(f"{first.arrived} deployments, at most {first.slots} builds at once. Of them with")
    click.echo(f"{_accounts(first.accounts)}: {ends}.")
    table = Table(box=None, pad_edge=False)
    for heading in ("accounts", "people: build", "verdict", "bots: build", "verdict"):
        table.add_column(heading, justify="right")
    for heading in ("gave way", "slots", "accounts", "makespan", "least"):
        table.add_column(heading, justify="right")
    for one in found:
        cells = [
            " / ".join(_time(seconds) for seconds in (waits.median, waits.most, waits.nearly_all))
            for who in ("people", "bots")
            for waits in (one.to_build[who], one.to_verdict[who])
        ]
        used = [f"{share:.0%}" for share in (one.slots_used, one.accounts_used)]
        lengths = [_time(one.makespan), _time(one.bound)]
        table.add_row(str(one.accounts), *cells, str(one.made_room), *used, *lengths)
    Console(width=160).print(table)
    click.echo(
        "Waits from arrival to the build's begin and to the verdict: half, 95 and 99 of 100 wait less."
    )
    click.echo(_answer(found, goal))


def _answer(found: list[Figures], goal: int) -> str:
    """How many accounts it takes."""
    who = "people" if any(one.to_verdict["people"].most for one in found) else "bots"
    enough = next((one for one in found if one.to_build[who].most <= goal), None)
    if enough is None:
        best = min(found, key=lambda one: one.to_build[who].most)
        wait = _time(best.to_build[who].most)
        return (
            f"None of these is enough: with {_accounts(best.accounts)} 95 of 100 {who} wait {wait} or less."
        )
    wait = _time(enough.to_build[who].most)
    return f"{_accounts(enough.accounts)} will do: 95 of 100 {who} wait {wait} or less for their build."


def _accounts(number: int) -> str:
    return "1 account" if number == 1 else f"{number} accounts"


def _time(seconds: float) -> str:
    """Short, for a table: ``45s``, ``12m``, ``3.4h``, ``2.5d``."""
    for size, unit, digits in ((86400.0, "d", 1), (7200.0, "h", 1), (120.0, "m", 0)):
        if seconds >= size:
            return f"{seconds / {'d': 86400, 'h': 3600, 'm': 60}[unit]:.{digits}f}{unit}"
    return f"{seconds:.0f}s"
