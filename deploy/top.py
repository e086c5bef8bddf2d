"""``toolforge-preview top``: what the first page shows, in a terminal, for as long as somebody looks."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from deploy.opened import opened_parts
from deploy.screen import state_word
from orchestrator.bootstrap import Parts
from orchestrator.markdown import plain
from orchestrator.pages import Failed, Place, PoolPicture
from orchestrator.pool import AccountState
from orchestrator.report import duration
from orchestrator.views import Overview, Waiter

#: Of a longer list the first are shown.
_QUEUE_SHOWN = 15
#: From then on an image store is called full.
_FULL = 0.9


@click.command()
@click.option(
    "--every", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between looks."
)
@click.option("--once", is_flag=True, help="Show it once, without taking the screen.")
def top(every: float, once: bool) -> None:
    """Show accounts, queue and failures, again and again; Ctrl-C ends it."""
    parts, console = opened_parts(), Console()
    if once:
        console.print(picture(parts.pages.pool(time.time())))
        return
    try:
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                live.update(_seen(parts), refresh=True)
                time.sleep(every)
    except KeyboardInterrupt:
        return


def _seen(parts: Parts) -> RenderableType:
    try:
        return picture(parts.pages.pool(time.time()))
    except DBAPIError as error:
        # It may be back at the next look.
        return Text(f"The database does not answer: {type(error.orig).__name__}", style="bold red")


def picture(pool: PoolPicture) -> RenderableType:
    """All of it. Foreign text is shown as it is, and can neither colour nor move anything."""
    parts: list[RenderableType] = [_head(pool), *_notices(pool.overview), _accounts(pool)]
    if pool.overview.queue:
        parts.append(_queue(pool.overview.queue, pool.at))
    if pool.failures:
        parts.append(_failures(pool.failures, pool.at))
    return Group(*parts)


def _head(pool: PoolPicture) -> Text:
    overview = pool.overview
    free = sum(place.account.state is AccountState.FREE for place in pool.places)
    clock = time.strftime("%H:%M:%S", time.localtime(pool.at))
    return Text(
        f"{clock}  {overview.builds} of {overview.ceiling} builds running, {overview.waiting} waiting, "
        f"{free} of {len(pool.places)} accounts free, {len(pool.projects)} projects",
        style="bold",
    )


def _notices(overview: Overview) -> list[Text]:
    stopped = [f"{one.what} by {one.switch.who}: {one.switch.why}" for one in overview.switches]
    refused = [f"GitLab refused {words}" for words in overview.untold]
    return [
        *(Text(_line(words), style="yellow") for words in stopped),
        *(Text(_line(words), style="red") for words in refused),
    ]


def _accounts(pool: PoolPicture) -> Table:
    table = Table(
        Column("account", no_wrap=True),
        "state",
        Column("for", justify="right", no_wrap=True),
        Column("store", justify="right"),
        Column("what is there", overflow="ellipsis", no_wrap=True),
        title="Dev tool accounts",
        title_justify="left",
    )
    for place in pool.places:
        account = place.account
        table.add_row(
            account.name,
            state_word(account.state),
            _ago(max(pool.at - account.since, 0.0)),
            _store(place),
            _there(place),
        )
    return table


def _store(place: Place) -> Text:
    if place.fullness is None:
        return Text("")
    return Text(f"{place.fullness:.0%}", style="bold red" if place.fullness >= _FULL else "")


def _there(place: Place) -> Text:
    if not place.tenants:
        return Text(_line(place.account.reason))
    pieces = [(f"{tenant.of.name} ", state_word(tenant.deployment.state)) for tenant in place.tenants]
    return Text(", ").join(Text(name).append_text(word) for name, word in pieces)


def _queue(waiters: Sequence[Waiter], now: float) -> Table:
    table = Table(
        Column("", justify="right"),
        Column("merge request", no_wrap=True),
        Column("title", overflow="ellipsis", no_wrap=True, max_width=50),
        Column("verdict in about", justify="right"),
        title="Queue",
        title_justify="left",
    )
    for waiter in waiters[:_QUEUE_SHOWN]:
        verdict_at = waiter.turn.verdict_at
        table.add_row(
            str(waiter.turn.position),
            f"{waiter.project.path}!{waiter.preview.iid}",
            Text(_line(waiter.preview.title)),
            _ago(max(verdict_at - now, 0.0)) if verdict_at is not None else "not known",
        )
    return table


def _failures(failures: Sequence[Failed], now: float) -> Table:
    table = Table(
        Column("ago", justify="right", no_wrap=True),
        Column("merge request", no_wrap=True),
        "at",
        Column("what happened", overflow="ellipsis", no_wrap=True),
        title="Failed in 24 hours",
        title_justify="left",
    )
    for failed in failures:
        failure = failed.deployment.failure
        table.add_row(
            _ago(max(now - failed.deployment.since, 0.0)),
            failed.of.name,
            failure.stage if failure else "",
            Text(_line(failure.summary if failure else "")),
        )
    return table


def _ago(seconds: float) -> str:
    return duration(seconds) if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _line(words: str) -> str:
    return " ".join(plain(words).split())
