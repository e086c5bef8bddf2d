"""Pictures of the pages that previews show: which one is due, and where they are kept.

Due is a picture of whatever is live and has none. That is read from the deployments each time, so that
nothing waits for a picture and no transition knows of one. A try is written down before it is made; two at
once, or one that is cut off, cost no more than a picture that is taken twice. Of each preview the newest is
kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from orchestrator import tables as t
from orchestrator.change import OURSELVES
from orchestrator.errors import Conflict, NotFound
from orchestrator.preview import Deployment, State
from orchestrator.store import Store, Tx

#: Of every picture, in pixels.
WIDTH, HEIGHT = 1280, 800
MOST_BYTES = 500_000
MEDIA_TYPE = "image/webp"
#: First the verdict is told, and what the page loads by itself is there.
AFTER_SECONDS = 3.0
MOST_TRIES = 3
#: From the begin of a try to the next one, the first time.
AGAIN_SECONDS = 120.0
#: So many that are due are looked through for one that can be taken.
_LOOKED_THROUGH = 20


@dataclass(frozen=True)
class Wanted:
    """A picture that is to be taken now."""

    deployment: Deployment
    #: The account, at whose address it is.
    tool: str
    #: How many tries were begun, this one among them.
    tries: int


class Pictures:
    """The pictures in a database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def next(self, now: float) -> Wanted | None:
        """The picture that is due the longest, its try begun; None: there is none."""
        with self._store.read() as tx:
            wanted = None if tx.is_paused() else next(_due(tx, now), None)
        if wanted is None:
            return None
        try:
            with self._store.write() as tx:
                return wanted if _begin(tx, wanted, now) else None
        except Conflict:
            return None

    def keep(self, wanted: Wanted, webp: bytes, now: float) -> bool:
        """Keep a picture in place of the preview's older ones.

        False when it may show something else: the deployment is not the one at its address any more.
        """
        deployment = wanted.deployment
        with self._store.write() as tx:
            if not _is_there(tx, deployment.id):
                return False
            mine = t.picture.c.deployment_id == deployment.id
            tx.connection.execute(update(t.picture).where(mine).values(taken_at=now, webp=webp))
            older = select(t.deployment.c.id).where(
                t.deployment.c.preview_id == deployment.preview_id, t.deployment.c.id < deployment.id
            )
            tx.connection.execute(delete(t.picture).where(t.picture.c.deployment_id.in_(older)))
        return True

    def failed(self, wanted: Wanted, why: str, now: float) -> None:
        """A try was in vain; the last one leaves a line in the timeline."""
        if wanted.tries < MOST_TRIES:
            return
        deployment = wanted.deployment
        with self._store.write() as tx:
            if not _is_there(tx, deployment.id):
                return
            tx.add_event(
                "deployment",
                deployment.id,
                deployment.state,
                deployment.state,
                who=OURSELVES,
                why=f"there is no picture of its page: {why}",
                now=now,
                preview_id=deployment.preview_id,
                account_id=deployment.account_id,
            )

    def of(self, deployment_id: int) -> bytes | None:
        """The picture of a deployment's page."""
        mine = t.picture.c.deployment_id == deployment_id
        with self._store.read() as tx:
            return tx.connection.scalar(select(t.picture.c.webp).where(mine))


def _due(tx: Tx, now: float) -> Iterator[Wanted]:
    mine = t.picture.c.deployment_id == t.deployment.c.id
    may_be_tried = and_(
        t.picture.c.taken_at.is_(None), t.picture.c.tries < MOST_TRIES, t.picture.c.again_at <= now
    )
    query = (
        select(t.deployment.c.id, t.picture.c.tries)
        .join(t.picture, mine, isouter=True)
        .where(
            t.deployment.c.state == State.LIVE,
            t.deployment.c.since <= now - AFTER_SECONDS,
            or_(t.picture.c.id.is_(None), may_be_tried),
        )
        .order_by(t.deployment.c.since, t.deployment.c.id)
        .limit(_LOOKED_THROUGH)
    )
    for row in tx.connection.execute(query).all():
        if _is_there(tx, row.id):
            deployment = tx.deployment(row.id)
            assert deployment.account_id is not None
            yield Wanted(deployment, tx.account(deployment.account_id).name, (row.tries or 0) + 1)


def _is_there(tx: Tx, deployment_id: int) -> bool:
    """True while the deployment, and nothing else, is at its account's address."""
    try:
        deployment = tx.deployment(deployment_id)
    except NotFound:
        return False
    if deployment.state is not State.LIVE or not tx.lease_is_current(deployment):
        return False
    return not any(other.is_at_the_address for other in tx.neighbours_of(deployment))


def _begin(tx: Tx, wanted: Wanted, now: float) -> bool:
    """Write the try down; False when somebody else was faster."""
    values = {"tries": wanted.tries, "again_at": now + AGAIN_SECONDS * wanted.tries}
    mine = {"deployment_id": wanted.deployment.id}
    if wanted.tries > 1:
        is_it = (
            t.picture.c.deployment_id == wanted.deployment.id,
            t.picture.c.tries == wanted.tries - 1,
            t.picture.c.taken_at.is_(None),
        )
        return bool(tx.connection.execute(update(t.picture).where(*is_it).values(values)).rowcount)
    try:
        with tx.connection.begin_nested():
            tx.connection.execute(insert(t.picture).values(at=now, **mine, **values))
    except IntegrityError:
        return False
    return True
