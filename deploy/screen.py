"""What the terminal shows: accounts and merge requests as they are now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from orchestrator.markdown import plain
from orchestrator.pool import AccountState
from orchestrator.preview import State
from orchestrator.views import Overview
from web.shapes import PreviewOut

_STYLES: Mapping[str, str] = {
    State.LIVE: "bold green",
    AccountState.FREE: "green",
    State.FAILED: "bold red",
    AccountState.QUARANTINED: "bold red",
    State.QUEUED: "dim",
    State.BLOCKED: "dim",
    State.STOPPED: "dim",
    State.CANCELLED: "dim",
    State.SUPERSEDED: "dim",
}


def state_word(word: str) -> Text:
    """A state in its colour."""
    return Text(word, style=_STYLES.get(word, "cyan"))


def overview_table(overview: Overview) -> RenderableType:
    """Two tables and a line about the builds."""
    holders = {view.account.id: view for view in overview.previews if view.account}
    pool = Table("account", "state", "for", "holds", title="Dev tool accounts", title_justify="left")
    for account in overview.accounts:
        view = holders.get(account.id)
        held = f"{view.project.path}!{view.preview.iid}" if view else account.reason
        seconds = max(time.time() - account.since, 0)
        pool.add_row(account.name, state_word(account.state), f"{seconds:.0f} s", Text(plain(held)))
    previews = _previews_head()
    for view in overview.previews[:15]:
        newest = view.newest
        previews.add_row(
            f"{view.project.path}!{view.preview.iid}",
            Text(plain(view.preview.title), no_wrap=True, overflow="ellipsis"),
            state_word(newest.state) if newest else "",
            newest.sha[:8] if newest else "",
            Text(view.address or ""),
        )
    builds = Text(f"{overview.builds} of {overview.ceiling} builds running, {overview.waiting} waiting")
    return Group(pool, previews, builds)


def previews_table(previews: Sequence[PreviewOut]) -> RenderableType:
    """Previews as a server's API tells of them."""
    table = _previews_head()
    for one in previews:
        table.add_row(
            f"{one.project}!{one.iid}",
            Text(one.title, no_wrap=True, overflow="ellipsis"),
            state_word(one.state or ""),
            (one.sha or "")[:8],
            Text(one.address or ""),
        )
    return table


def _previews_head() -> Table:
    return Table(
        # What is long gives way on a narrow terminal; a state that is not seen would be no use.
        Column("merge request", overflow="fold"),
        Column("title", overflow="ellipsis", max_width=32),
        Column("state", no_wrap=True),
        Column("commit", no_wrap=True),
        Column("address", overflow="fold"),
        title="Merge requests",
        title_justify="left",
    )
