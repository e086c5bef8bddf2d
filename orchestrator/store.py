"""The one place that knows SQL: rows in, frozen objects out, claims and guarded writes.

A transaction is short and never open while the network is spoken to. Those that change the state of a
preview, a deployment or an account run one after the other (:meth:`Store.write_alone`), so that what they
read stays true until they commit; claims and guarded writes (id, version) need only their own row.
"""

from __future__ import annotations

import logging
import secrets
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import (
    Connection,
    Executable,
    Row,
    Select,
    Table,
    case,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from orchestrator import statements as sql
from orchestrator import tables as t
from orchestrator.comparison import Known
from orchestrator.engines import FOR_WRITING, is_file, open_engine, was_overtaken
from orchestrator.errors import Conflict, NotFound
from orchestrator.logs import being, only
from orchestrator.merge_request import OPEN_STATES, MergeRequest
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.records import (
    BRANCH_IID,
    Claim,
    Delivery,
    Due,
    Event,
    Kind,
    Lease,
    Preview,
    Project,
)
from orchestrator.rows import (
    account_from,
    delivery_from,
    deployment_from,
    event_from,
    lease_from,
    preview_from,
    project_from,
    runtime_from,
    switch_from,
)
from orchestrator.runtimes import DEFAULT, KEPT_SECONDS, RuntimeSeen
from orchestrator.scheduler import Ceiling, Limits
from orchestrator.stock import Stock
from orchestrator.switches import Switches

log = logging.getLogger(__name__)


class Store:
    """A database, opened. `url` is SQLAlchemy's.

    SQLite files are put into WAL mode, each commit reaching the disk before it returns: a delivery that was
    answered, or a lease that was given, must not be forgotten in a power cut.
    """

    def __init__(self, url: str) -> None:
        # SQLite has one writer at a time: threads of one process take turns here, and are woken at once.
        self._turn: AbstractContextManager[object] = threading.Lock() if is_file(url) else nullcontext()
        self.engine = open_engine(url)

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """A transaction that commits when the block ends well.

        Raises :class:`Conflict` when another transaction was in its way; nothing is changed then.
        """
        options = {FOR_WRITING: True}
        try:
            with (
                self._turn,
                self.engine.connect().execution_options(**options) as connection,
                connection.begin(),
            ):
                tx = Tx(connection)
                yield tx
        except DBAPIError as error:
            if was_overtaken(error):
                raise Conflict("another transaction was in the way") from error
            raise
        # Not before it is true. What one row's step leads to may be about others, by way of the plan.
        with only("delivery"):
            for message, ids in tx.happened:
                log.info("%s", message, extra=being(ids))

    @contextmanager
    def write_alone(self) -> Iterator[Tx]:
        """The same, and no other such transaction runs beside it.

        A change of state reads and writes many rows, those of other previews, too, when it plans. One at a
        time it can neither act on what is not true any more nor wait for somebody who waits for it.
        """
        with self.write() as tx:
            tx.lock_schedule()
            yield tx

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A consistent look; nothing is written."""
        options = {FOR_WRITING: False}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield Tx(connection)

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()


class Tx(Stock):
    """What can be read and written within one transaction."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        #: What is to be logged once it is committed: sentences, and what each is about.
        self.happened: list[tuple[str, Mapping[str, object]]] = []
        # SQLite lets one transaction write at a time, so that there is nothing to lock.
        self._has_one_writer = connection.dialect.name == "sqlite"

    @property
    def connection(self) -> Connection:
        """For what only people ask, and nothing is decided by: see ``reading.py``."""
        return self._connection

    # --- claims ---------------------------------------------------------------------------------------

    def claim(self, kind: Kind, row_id: int, *, now: float, seconds: float) -> Claim | None:
        """The right to look at a due row for `seconds`, or None: it is not due, or somebody else has it."""
        at = {"row_id": row_id, "now": now}
        before = self._connection.execute(sql.ABANDONED[kind], at).first()
        if before is None:
            return None
        claim = Claim(kind, row_id, secrets.token_hex(8), now + seconds, is_takeover=before.claim is not None)
        claimed = at | {"token": claim.token, "until": claim.until}
        return claim if self._connection.execute(sql.TAKE[kind], claimed).rowcount else None

    def holds(self, claim: Claim, now: float) -> bool:
        """True while the claim lasts and nobody else was given the row."""
        held = {"row_id": claim.id, "token": claim.token, "now": now}
        return self._connection.scalar(sql.HELD[claim.kind], held) is not None

    def renew(self, claim: Claim, *, until: float) -> bool:
        """Let the claim last until `until`; False when it was given to somebody else."""
        renewed = {"row_id": claim.id, "token": claim.token, "until": until}
        return bool(self._connection.execute(sql.RENEW[claim.kind], renewed).rowcount)

    def drop_claim(self, claim: Claim, *, due_at: float | None = None) -> None:
        """Give the row back as it is; with `due_at` also say when to look again, if it still wants that."""
        table = sql.TABLES[claim.kind]
        values: dict[str, Any] = {"claim": None, "claimed_until": None}
        if due_at is not None:
            values["due_at"] = case((table.c.due_at.is_(None), None), else_=due_at)
        self._connection.execute(
            update(table).where(sql.key(table) == claim.id, table.c.claim == claim.token).values(**values)
        )

    def due(self, now: float, *, limit: int) -> list[Due]:
        """Rows of every kind that are due and not being looked at, the longest due first."""
        found: list[Due] = []
        for kind, statement in sql.DUE.items():
            rows = self._connection.execute(statement, {"now": now, "most": limit})
            found += [Due(kind, row[0], row[1]) for row in rows]
        return found

    def lock_schedule(self) -> None:
        """Wait for the transaction that changes state just now; those that come later wait for this one."""
        if not self._has_one_writer and self._connection.execute(sql.LOCK_SCHEDULE).first() is None:
            raise NotFound("The row that changes of state are lined up by is gone from the table 'switch'.")

    # --- projects and previews ------------------------------------------------------------------------

    def projects(self) -> list[Project]:
        """All projects that are, or were, connected, by path; and that of the probes, for what is theirs."""
        return [
            project_from(row)
            for row in self._connection.execute(select(t.project).order_by(t.project.c.path))
        ]

    def project(self, project_id: int) -> Project:
        """The project with our id; :class:`NotFound` if there is none."""
        return project_from(self._one(sql.PROJECT, {"id": project_id}, f"project {project_id}"))

    def project_at(self, path: str) -> Project | None:
        """The connected project at GitLab's `path`."""
        # Addresses bring anything; a database refuses a NUL, or half a character, with an error of its own.
        row = self._connection.execute(sql.PROJECT_AT, {"path": path}).first() if path.isprintable() else None
        return project_from(row) if row else None

    def project_by_gitlab_id(self, gitlab_id: int) -> Project | None:
        """The project with GitLab's id."""
        row = self._connection.execute(select(t.project).where(t.project.c.gitlab_id == gitlab_id)).first()
        return project_from(row) if row else None

    def put_project(self, *, gitlab_id: int, now: float, **values: Any) -> int:
        """Connect a project, or change one that is connected; returns our id."""
        known = self.project_by_gitlab_id(gitlab_id)
        if known is None:
            self._free_path(values["path"])
            return self._insert(t.project, gitlab_id=gitlab_id, created_at=now, **values)
        self._connection.execute(update(t.project).where(t.project.c.id == known.id).values(**values))
        return known.id

    def _free_path(self, path: str) -> None:
        """What is disconnected and was called so makes room for another project of that name."""
        gone = (t.project.c.path == path) & t.project.c.removed_at.is_not(None)
        for row in self._connection.execute(select(t.project.c.id).where(gone)).all():
            renamed = update(t.project).where(t.project.c.id == row.id)
            self._connection.execute(renamed.values(path=f"{path[:200]} (removed, {row.id})"))

    def disconnect(self, project_id: int, now: float) -> None:
        """Take nothing from a project any more; whoever looks at it just now loses it.

        Its secrets are forgotten.
        """
        self._connection.execute(t.secret.delete().where(t.secret.c.project_id == project_id))
        self._connection.execute(
            update(t.project)
            .where(t.project.c.id == project_id)
            .values(
                removed_at=now,
                secret_digests=[],
                signing=[],
                old_secrets_until=None,
                due_at=None,
                claim=None,
                claimed_until=None,
            )
        )

    def see_anew(self, project_id: int) -> None:
        """What is open in a project that was disconnected gets its previews as if it were reopened."""
        of_project = t.preview.c.project_id == project_id
        self._connection.execute(update(t.preview).where(of_project).values(mr_state="not known"))

    def remove_project(self, project_id: int) -> None:
        """Forget a project of which nothing was seen yet."""
        self._connection.execute(t.secret.delete().where(t.secret.c.project_id == project_id))
        self._connection.execute(t.project.delete().where(t.project.c.id == project_id))

    def known_open(self, project_id: int) -> list[Known]:
        """The project's merge requests that are open as far as we know."""
        rows = self._connection.execute(sql.KNOWN_OPEN, {"project_id": project_id})
        return [Known(row.iid, row.head_sha, is_up=bool(row.is_up), seen_at=row.seen_at) for row in rows]

    def compare_by(self, at: float) -> None:
        """Compare every project with GitLab at `at`, or earlier if that was planned."""
        self._connection.execute(sql.COMPARE_BY, {"at": at})

    def compare_project_by(self, project_id: int, at: float) -> None:
        """Compare this one project with GitLab at `at`, or earlier if that was planned."""
        self._connection.execute(sql.COMPARE_BY.where(t.project.c.id == project_id), {"at": at})

    def put_off(self, claim: Claim, due_at: float) -> None:
        """What the claimed project was looked at for is done; it is looked at again at `due_at`."""
        self._connection.execute(
            update(t.project)
            .where(t.project.c.id == claim.id, t.project.c.claim == claim.token)
            .values(due_at=due_at, claim=None, claimed_until=None, attempts=0)
        )

    def preview(self, preview_id: int) -> Preview:
        """The preview with this id; :class:`NotFound` if there is none."""
        return preview_from(self._one(sql.PREVIEW, {"id": preview_id}, f"preview {preview_id}"))

    def preview_of(self, project_id: int, iid: int) -> Preview | None:
        """The preview of merge request `iid`, if it has had one."""
        row = self._connection.execute(sql.PREVIEW_OF, {"project_id": project_id, "iid": iid}).first()
        return preview_from(row) if row else None

    def previews(self, *, limit: int = 200) -> list[Preview]:
        """The newest previews of merge requests first."""
        query = select(t.preview).where(t.preview.c.iid != BRANCH_IID).order_by(t.preview.c.id.desc())
        return [preview_from(row) for row in self._connection.execute(query.limit(limit))]

    def put_preview(
        self, project_id: int, seen: MergeRequest, *, as_of: float, is_told: bool = True
    ) -> Preview:
        """Write down what GitLab said of the merge request at `as_of`; only one that `is_told` has a report.

        Raises :class:`Conflict` when somebody else writes its first line at the same moment.
        """
        values = {
            "title": seen.title[:255],
            "author": seen.author[:255],
            "web_url": seen.web_url[:255],
            "source_branch": seen.source_branch[:255],
            "target_branch": seen.target_branch[:255],
            "mr_state": seen.state,
            "head_sha": seen.sha,
            "is_from_project": seen.is_from_project,
            "seen_at": as_of,
        }
        known = self.preview_of(project_id, seen.iid)
        if known is None:
            try:
                preview_id = self._insert(
                    t.preview, project_id=project_id, iid=seen.iid, created_at=as_of, stop_reason="", **values
                )
            except IntegrityError:
                raise Conflict("somebody else has just written down the same merge request") from None
            if is_told:
                self._insert(t.report_state, preview_id=preview_id, told={}, error="")
            return self.preview(preview_id)
        self._connection.execute(update(t.preview).where(t.preview.c.id == known.id).values(**values))
        return self.preview(known.id)

    def asked_about(self, project_id: int, iid: int, *, as_of: float) -> None:
        """GitLab was asked about the merge request at `as_of`, and had nothing to say of it."""
        this = (t.preview.c.project_id == project_id) & (t.preview.c.iid == iid)
        self._connection.execute(
            update(t.preview).where(this, t.preview.c.seen_at < as_of).values(seen_at=as_of)
        )

    def set_preview(self, preview_id: int, *, expires_at: float | None, stop_reason: str) -> None:
        """Until when it lives, or why it does not; what is down is not kept any more, either."""
        values: dict[str, Any] = {"expires_at": expires_at, "stop_reason": stop_reason[:255]}
        if expires_at is None:
            values["keep_until"] = None
        self._connection.execute(update(t.preview).where(t.preview.c.id == preview_id).values(**values))

    def show_logs(self, preview_id: int, *, shown: bool = True) -> None:
        """Whether the note shows the logs of the newest deployment."""
        self._connection.execute(
            update(t.preview).where(t.preview.c.id == preview_id).values(shows_logs=shown)
        )

    def remark(self, preview_id: int, words: str) -> None:
        """Why the newest command could not be carried out; empty when it could."""
        self._connection.execute(update(t.preview).where(t.preview.c.id == preview_id).values(remark=words))

    def set_rules(self, project_id: int, values: Mapping[str, Any]) -> None:
        """Write down which merge requests of a project get a preview."""
        self._connection.execute(
            update(t.project).where(t.project.c.id == project_id).values(rules=dict(values))
        )

    def keep_preview(self, preview_id: int, *, keep_until: float | None, expires_at: float) -> None:
        """Until when it does not give way (None: it does), and until when it lives."""
        self._connection.execute(
            update(t.preview)
            .where(t.preview.c.id == preview_id)
            .values(keep_until=keep_until, expires_at=expires_at)
        )

    def kept(self, project_id: int, now: float) -> list[Preview]:
        """Previews of a project that do not give way to others."""
        rows = self._connection.execute(sql.KEPT, {"project_id": project_id, "now": now})
        return [preview_from(row) for row in rows]

    def weigh(self, project_id: int, weight: float) -> None:
        """Give a project its share in the turns of the scheduler."""
        self._connection.execute(update(t.project).where(t.project.c.id == project_id).values(weight=weight))

    def expired(self, now: float) -> list[Preview]:
        """Previews whose time is over."""
        rows = self._connection.execute(select(t.preview).where(t.preview.c.expires_at <= now))
        return [preview_from(row) for row in rows]

    # --- deployments ----------------------------------------------------------------------------------

    def deployment(self, deployment_id: int) -> Deployment:
        """The deployment with this id; :class:`NotFound` if there is none."""
        return deployment_from(
            self._one(sql.DEPLOYMENT, {"id": deployment_id}, f"deployment {deployment_id}")
        )

    def deployments_of(self, preview_id: int, *, limit: int = 100) -> list[Deployment]:
        """The newest deployments of a preview first."""
        rows = self._connection.execute(sql.DEPLOYMENTS_OF, {"preview_id": preview_id, "most": limit})
        return [deployment_from(row) for row in rows]

    def unsettled(self) -> list[tuple[Deployment, int]]:
        """Every deployment that is on the way, live, or not tidied, each with its project's id."""
        return [(deployment_from(row), row.project_id) for row in self._connection.execute(sql.UNSETTLED)]

    def unsettled_of(self, preview_id: int) -> list[Deployment]:
        """A preview's deployments that are on the way, live, or not tidied, the newest first."""
        rows = self._connection.execute(sql.UNSETTLED_OF, {"preview_id": preview_id})
        return [deployment_from(row) for row in rows]

    def neighbours_of(self, deployment: Deployment) -> list[Deployment]:
        """Its preview's other unsettled deployments, but for those on another account; the newest first."""
        return [
            other
            for other in self.unsettled_of(deployment.preview_id)
            if other.id != deployment.id and other.account_id in {None, deployment.account_id}
        ]

    def unsettled_on(self, account: Account) -> list[Deployment]:
        """Deployments on the account under its present lease that are on the way, live, or not tidied."""
        lease = {"account_id": account.id, "fence": account.fence}
        return [deployment_from(row) for row in self._connection.execute(sql.UNSETTLED_ON, lease)]

    def blocked(self) -> list[Deployment]:
        """Deployments that wait for a version of their builder, and hold nothing."""
        return [deployment_from(row) for row in self._connection.execute(sql.BLOCKED)]

    def live_count(self) -> int:
        """How many deployments are live."""
        return int(self._connection.scalar(sql.LIVE) or 0)

    def leased_deployments(self, account_id: int, ids: Collection[int]) -> list[Deployment]:
        """Those of the deployments `ids` that have had a lease of the account, now or before."""
        which = {"account_id": account_id, "ids": list(ids)}
        rows = self._connection.execute(sql.LEASED_DEPLOYMENTS, which) if ids else ()
        return [deployment_from(row) for row in rows]

    def lease_is_current(self, deployment: Deployment) -> bool:
        """True while the account is leased to its preview under the deployment's fencing number."""
        leased = {
            "account_id": deployment.account_id,
            "fence": deployment.fence,
            "preview_id": deployment.preview_id,
        }
        return self._connection.scalar(sql.LEASED, leased) is not None

    def is_needed(self, account: Account) -> bool:
        """True while something on its way, live, or to be tidied needs a leased account."""
        return self._connection.scalar(sql.IS_LEASED_FOR_NOTHING, {"id": account.id}) is None

    def reusable_image(self, deployment: Deployment, project_id: int, sha: str, tree: str) -> str | None:
        """An image of the commit, or of the same files, that the deployment's account still has."""
        image: str | None = self._connection.scalar(
            sql.REUSABLE,
            {
                "account_id": deployment.account_id,
                "fence": deployment.fence,
                "project_id": project_id,
                "sha": sha,
                "tree": tree,
            },
        )
        return image

    def previews_under(self, account_id: int, fence: int) -> list[int]:
        """The previews of which something was on the account under its lease numbered `fence`."""
        under = (t.deployment.c.account_id == account_id) & (t.deployment.c.fence == fence)
        return list(self._connection.scalars(select(t.deployment.c.preview_id).where(under).distinct()))

    def add_deployment(
        self,
        preview: Preview,
        *,
        step: Step,
        trigger: str,
        actor: str,
        now: float,
        is_bot: bool = False,
        check_only: bool = False,
        ready_at: float | None = None,
        due_at: float | None = None,
    ) -> Deployment:
        """A new try at the preview's head commit."""
        deployment_id = self._insert(
            t.deployment,
            preview_id=preview.id,
            sha=preview.head_sha,
            state=State.QUEUED,
            step=step,
            created_at=now,
            since=now,
            step_since=now,
            had_candidate=False,
            trigger=trigger,
            actor=actor[:255],
            is_bot=is_bot,
            check_only=check_only,
            ready_at=ready_at,
            due_at=due_at,
            checks=[],
            entered={State.QUEUED: now},
        )
        return self.deployment(deployment_id)

    def put_deployment(
        self, before: Deployment, after: Deployment, *, claim: Claim | None = None
    ) -> Deployment:
        """Write `after`, provided that the row still is `before`; raises :class:`Conflict` when it is not.

        With `claim` the row is given back in the same write. Returns `after` as it is in the database now.
        """
        values = {name: getattr(after, name) for name in _DEPLOYMENT_FIELDS}
        values["failure"] = asdict(after.failure) if after.failure else None
        values["pins"] = [asdict(pin) for pin in after.pins] or None
        values["change"] = asdict(after.change) if after.change else None
        values["warning"] = asdict(after.warning) if after.warning else None
        values["retry"] = asdict(after.retry) if after.retry else None
        values["opinion"] = asdict(after.opinion) if after.opinion else None
        values["refusal"] = asdict(after.refusal) if after.refusal else None
        values["checks"] = [asdict(check) for check in after.checks]
        values["entered"] = dict(after.entered or {})
        self._put(Kind.DEPLOYMENT, before.id, before.version, values, claim)
        return replace(after, version=before.version + 1)

    # --- accounts and leases --------------------------------------------------------------------------

    def accounts(self) -> list[Account]:
        """The whole pool by name."""
        return [account_from(row) for row in self._connection.execute(sql.ACCOUNTS)]

    def account(self, account_id: int) -> Account:
        """The account with this id; :class:`NotFound` if there is none."""
        return account_from(self._one(sql.ACCOUNT, {"id": account_id}, f"account {account_id}"))

    def account_named(self, name: str) -> Account | None:
        """The account of tool `name`, if the pool has it."""
        account = self.account_ever_named(name)
        return None if account is None or account.state is AccountState.REMOVED else account

    def account_ever_named(self, name: str) -> Account | None:
        """The account of tool `name`, if the pool has it, or has had it."""
        row = self._connection.execute(sql.ACCOUNT_NAMED, {"name": name}).first()
        return account_from(row) if row else None

    def account_of(self, preview_id: int) -> Account | None:
        """The account that a preview holds."""
        row = self._connection.execute(sql.ACCOUNT_OF, {"preview_id": preview_id}).first()
        return account_from(row) if row else None

    def credentials(self, account_id: int) -> Mapping[str, str]:
        """Where the account's credentials are found."""
        found: Mapping[str, str] | None = self._connection.scalar(
            select(t.account.c.credentials).where(t.account.c.id == account_id)
        )
        return found or {}

    def put_credentials(self, account_id: int, credentials: Mapping[str, str]) -> None:
        """Write down where the account's credentials are found."""
        self._connection.execute(
            update(t.account).where(t.account.c.id == account_id).values(credentials=dict(credentials))
        )

    def leases_of(self, account_id: int, *, limit: int = 10) -> list[Lease]:
        """The newest leases of an account first."""
        rows = self._connection.execute(sql.LEASES, {"account_id": account_id, "most": limit})
        return [lease_from(row) for row in rows]

    def add_account(self, name: str, credentials: Mapping[str, str], now: float) -> int:
        """A new account; it is looked at and cleaned before anybody gets it."""
        return self._insert(
            t.account,
            name=name,
            state=AccountState.CLEANING,
            since=now,
            due_at=now,
            fence=0,
            reason="",
            drain=False,
            credentials=dict(credentials),
        )

    def last_deployment_id(self) -> int:
        """The greatest number that a deployment has; 0 when there is none."""
        return int(self._connection.scalar(select(func.max(t.deployment.c.id))) or 0)

    def inspect_all(self, now: float) -> None:
        """Let every account that is free or leased be inspected at `now`."""
        self._connection.execute(sql.INSPECT_ALL, {"now": now})

    def put_account(self, before: Account, after: Account, *, claim: Claim | None = None) -> Account:
        """Write `after`, provided that the row still is `before`; raises :class:`Conflict` when it is not.

        Returns `after` as it is in the database now.
        """
        values = {name: getattr(after, name) for name in _ACCOUNT_FIELDS}
        self._put(Kind.ACCOUNT, before.id, before.version, values, claim)
        return replace(after, version=before.version + 1)

    def open_lease(self, account: Account, preview_id: int | None, now: float) -> None:
        """Write down that `account` was given to `preview_id`, or is shared, under its new fencing number."""
        self._insert(t.lease, account_id=account.id, fence=account.fence, preview_id=preview_id, taken_at=now)

    def close_lease(
        self, account: Account, now: float, *, before: int | None, after: int | None
    ) -> list[int]:
        """End the account's lease, with the bytes of its image store before and after the cleaning.

        `after` is None while it is not clean. Returns the previews that had it, none when it has its receipt
        already or the account was not leased before this cleaning.
        """
        this = (t.lease.c.account_id == account.id) & (t.lease.c.fence == account.fence)
        query = select(t.lease).where(this, t.lease.c.bytes_after.is_(None))
        row = self._connection.execute(query).first()
        if row is None:
            return []
        ended_at = now if row.ended_at is None else row.ended_at
        receipt = {"ended_at": ended_at, "bytes_before": before, "bytes_after": after}
        self._connection.execute(update(t.lease).where(this).values(**receipt))
        own = [] if row.preview_id is None else [int(row.preview_id)]
        return own or self.previews_under(account.id, account.fence)

    def last_lease(self, preview_id: int) -> Row[Any] | None:
        """The newest lease that a preview has had, or had a share in, with its receipt."""
        leases = select(t.lease, t.account.c.name).join(t.account, t.account.c.id == t.lease.c.account_id)
        shared = (
            select(t.deployment.c.account_id, t.deployment.c.fence)
            .where(t.deployment.c.preview_id == preview_id, t.deployment.c.account_id.is_not(None))
            .order_by(t.deployment.c.id.desc())
            .limit(1)
        )
        newest = self._connection.execute(shared).first()
        own = t.lease.c.preview_id == preview_id
        if newest is not None:
            own = or_(own, (t.lease.c.account_id == newest.account_id) & (t.lease.c.fence == newest.fence))
        return self._connection.execute(
            leases.where(own).order_by(t.lease.c.taken_at.desc()).limit(1)
        ).first()

    def put_store_use(self, account_id: int, used: int, limit: int | None) -> None:
        """Write down how full the account's image store was found."""
        self._connection.execute(
            update(t.account).where(t.account.c.id == account_id).values(bytes_used=used, bytes_limit=limit)
        )

    def put_figures(self, project_id: int, *, image_bytes: int | None, build_seconds: float) -> None:
        """Write down what the project's builds take."""
        self._connection.execute(
            update(t.project)
            .where(t.project.c.id == project_id)
            .values(image_bytes=image_bytes, build_seconds=build_seconds)
        )

    # --- events, deliveries, reports, logs, switches --------------------------------------------------

    def add_event(
        self,
        subject: str,
        subject_id: int,
        before: str,
        after: str,
        *,
        who: str,
        why: str,
        now: float,
        preview_id: int | None,
        account_id: int | None = None,
    ) -> None:
        """One line for the timelines; and for the log, where it is about `account_id`, too."""
        own = "account_id" if subject == "account" else subject
        ids = {"preview": preview_id, "account_id": account_id, own: subject_id, "who": who}
        move = f"{before} -> {after}" if before and before != after else after
        self.happened.append((f"{subject} {subject_id}: {move}: {why}", ids))
        self._connection.execute(
            insert(t.event).values(
                at=now,
                subject=subject,
                subject_id=subject_id,
                preview_id=preview_id,
                before=before,
                after=after,
                who=who[:255],
                why=why,
            )
        )

    def events_of(self, preview_id: int, *, limit: int = 500) -> list[Event]:
        """The timeline of a preview, the oldest line first."""
        rows = self._connection.execute(
            select(t.event)
            .where(t.event.c.preview_id == preview_id)
            .order_by(t.event.c.id.desc())
            .limit(limit)
        ).all()
        return [event_from(row) for row in reversed(rows)]

    def events_about(self, subject: str, *, limit: int = 500) -> list[Event]:
        """The newest lines about subjects of one kind, the oldest of them first."""
        rows = self._connection.execute(
            select(t.event).where(t.event.c.subject == subject).order_by(t.event.c.id.desc()).limit(limit)
        ).all()
        return [event_from(row) for row in reversed(rows)]

    def deliveries_since(self, project_id: int, kind: str, since: float, *, most: int) -> int:
        """How many deliveries of that kind, up to `most`, the project has sent after `since`."""
        values = {"project_id": project_id, "kind": kind, "since": since, "most": most}
        return int(self._connection.scalar(sql.DELIVERIES_SINCE, values) or 0)

    def last_due_delivery(self, project_id: int, kind: str) -> float | None:
        """When the last delivery of that kind which is not handled is to be looked at."""
        at: float | None = self._connection.scalar(sql.LAST_DUE, {"project_id": project_id, "kind": kind})
        return at

    def delivery_not_begun(
        self, project_id: int, kind: str, iid: int, facts: Mapping[str, Any]
    ) -> Due | None:
        """A delivery that says the same of the merge request, and at which nobody has begun to look."""
        values = {"project_id": project_id, "kind": kind, "iid": iid}
        rows = self._connection.execute(sql.NOT_BEGUN, values)
        return next((Due(Kind.DELIVERY, row.id, row.due_at) for row in rows if row.facts == facts), None)

    def waiting_in(self, project_id: int, *, but: int, people_only: bool) -> int:
        """How many deployments of the project are to be built and were not begun, but for one preview's."""
        statement = sql.WAITING_IN
        if people_only:
            statement = statement.where(t.deployment.c.is_bot.is_(False))
        return int(self._connection.scalar(statement, {"project_id": project_id, "but": but}) or 0)

    def add_delivery(
        self,
        project_id: int,
        key: str,
        *,
        kind: str,
        iid: int,
        facts: Any,
        now: float,
        due_at: float | None = None,
    ) -> int | None:
        """Take a delivery, to be looked at now or at `due_at`; None when one of this key was taken before."""
        try:
            with self._connection.begin_nested():
                return self._insert(
                    t.delivery,
                    project_id=project_id,
                    key=key,
                    kind=kind,
                    iid=iid,
                    facts=facts,
                    received_at=now,
                    due_at=now if due_at is None else due_at,
                    result="",
                )
        except IntegrityError:
            return None

    def delivery(self, delivery_id: int) -> Delivery:
        """The delivery with this id; :class:`NotFound` if there is none."""
        row = self._one(
            select(t.delivery).where(t.delivery.c.id == delivery_id), {}, f"delivery {delivery_id}"
        )
        return delivery_from(row)

    def has_earlier_comment(self, delivery: Delivery) -> bool:
        """True while an earlier comment under the same merge request is not handled."""
        is_earlier = (t.delivery.c.id < delivery.id) & (t.delivery.c.due_at > 0)
        is_there = (t.delivery.c.project_id == delivery.project_id) & (t.delivery.c.iid == delivery.iid)
        query = select(t.delivery.c.id).where(is_earlier, is_there, t.delivery.c.kind == "note").limit(1)
        return self._connection.scalar(query) is not None

    def close_delivery(self, claim: Claim, result: str, now: float) -> None:
        """Everything that the delivery asked for is done."""
        self._connection.execute(
            update(t.delivery)
            .where(t.delivery.c.id == claim.id, t.delivery.c.claim == claim.token)
            .values(handled_at=now, result=result[:255], due_at=None, claim=None, claimed_until=None)
        )

    def postpone(self, claim: Claim, *, due_at: float, error: str) -> None:
        """Nothing could be done with the claimed delivery, report or project: look again at `due_at`."""
        table = sql.TABLES[claim.kind]
        words = {Kind.REPORT: {"error": error[:255]}, Kind.DELIVERY: {"result": error[:255]}}
        self._connection.execute(
            update(table)
            .where(sql.key(table) == claim.id, table.c.claim == claim.token)
            .values(
                due_at=due_at,
                claim=None,
                claimed_until=None,
                attempts=table.c.attempts + 1,
                **words.get(claim.kind, {}),
            )
        )

    def doubt_reports(self, doubted: Callable[[Mapping[str, Any]], Mapping[str, Any]], now: float) -> None:
        """Of all that GitLab was told believe only what `doubted` leaves, and tell it of what is open anew.

        As after a try whose answer was lost: what that has made is looked for first.
        """
        table = t.report_state
        for row in self._connection.execute(select(table.c.preview_id, table.c.told)).all():
            is_it = table.c.preview_id == row.preview_id
            self._connection.execute(update(table).where(is_it).values(told=dict(doubted(row.told))))
        is_open = t.preview.c.mr_state.in_(OPEN_STATES) | t.preview.c.expires_at.is_not(None)
        self._connection.execute(
            update(table)
            .where(table.c.preview_id.in_(select(t.preview.c.id).where(is_open)))
            .values(due_at=now, attempts=1, version=table.c.version + 1)
        )

    def mark_report(self, preview_id: int, at: float) -> Due | None:
        """Something that GitLab is told of may have changed: tell it at `at`, or earlier if so planned.

        None where GitLab is told nothing of it.
        """
        marked = self._connection.execute(sql.MARK_REPORT, {"which": preview_id, "at": at})
        return Due(Kind.REPORT, preview_id, at) if marked.rowcount else None

    def told(self, preview_id: int) -> tuple[Mapping[str, Any], int, int]:
        """What GitLab was last told, the version of what it should be told, and failed tries so far."""
        row = self._one(sql.TOLD, {"preview_id": preview_id}, f"report {preview_id}")
        return row.told, row.version, row.attempts

    def put_told(self, claim: Claim, told: Mapping[str, Any]) -> None:
        """Write down what GitLab has just been told."""
        self._connection.execute(
            update(t.report_state)
            .where(t.report_state.c.preview_id == claim.id, t.report_state.c.claim == claim.token)
            .values(told=dict(told))
        )

    def close_report(self, claim: Claim, version: int, *, error: str) -> bool:
        """GitLab knows everything of `version`, but for what it refused (`error`).

        False when there is news by now: the row stays due.
        """
        mine = update(t.report_state).where(
            t.report_state.c.preview_id == claim.id, t.report_state.c.claim == claim.token
        )
        free = {"claim": None, "claimed_until": None, "error": error, "attempts": 0}
        done = self._connection.execute(
            mine.where(t.report_state.c.version == version).values(due_at=None, **free)
        )
        if not done.rowcount:
            self._connection.execute(mine.values(**free))
        return bool(done.rowcount)

    def put_log(self, deployment_id: int, kind: str, text: str, *, is_truncated: bool, now: float) -> None:
        """Keep a log, in place of one of the same kind."""
        where = (t.log.c.deployment_id == deployment_id) & (t.log.c.kind == kind)
        self._connection.execute(t.log.delete().where(where))
        self._insert(
            t.log,
            deployment_id=deployment_id,
            kind=kind,
            at=now,
            zlib=zlib.compress(text.encode("utf-8", "replace")),
            is_truncated=is_truncated,
        )

    def untold(self, *, most: int = 20) -> list[tuple[int, int, str]]:
        """What GitLab refused to be told: project, number of the merge request, its words."""
        query = (
            select(t.preview.c.project_id, t.preview.c.iid, t.report_state.c.error)
            .join(t.preview, t.preview.c.id == t.report_state.c.preview_id)
            .where(t.report_state.c.error != "")
            .order_by(t.preview.c.id.desc())
            .limit(most)
        )
        return [(row.project_id, row.iid, row.error) for row in self._connection.execute(query)]

    def forget_logs(self, preview_id: int, *, keep: int) -> None:
        """Delete the logs of a preview's deployments, but for the `keep` newest that have any."""
        with_logs = (
            select(t.log.c.deployment_id)
            .distinct()
            .join(t.deployment, t.deployment.c.id == t.log.c.deployment_id)
            .where(t.deployment.c.preview_id == preview_id)
            .order_by(t.log.c.deployment_id.desc())
        )
        older = list(self._connection.scalars(with_logs))[keep:]
        if older:
            self._connection.execute(t.log.delete().where(t.log.c.deployment_id.in_(older)))

    def log(self, deployment_id: int, kind: str) -> str | None:
        """A kept log."""
        packed = self._connection.scalar(
            select(t.log.c.zlib).where(t.log.c.deployment_id == deployment_id, t.log.c.kind == kind)
        )
        return None if packed is None else zlib.decompress(packed).decode("utf-8", "replace")

    def kept_logs(self, deployment_ids: Sequence[int]) -> frozenset[tuple[int, str]]:
        """Which logs of these deployments are kept, as (deployment id, kind)."""
        kept = select(t.log.c.deployment_id, t.log.c.kind).where(t.log.c.deployment_id.in_(deployment_ids))
        return frozenset((row.deployment_id, row.kind) for row in self._connection.execute(kept))

    def picture_of(self, preview_id: int) -> Row[Any] | None:
        """Of which deployment, at which commit, a preview's newest picture is, and when it was taken."""
        query: Select[Any] = (
            select(t.picture.c.deployment_id, t.picture.c.taken_at, t.deployment.c.sha)
            .join(t.deployment, t.deployment.c.id == t.picture.c.deployment_id)
            .where(t.deployment.c.preview_id == preview_id, t.picture.c.taken_at.is_not(None))
            .order_by(t.picture.c.deployment_id.desc())
            .limit(1)
        )
        return self._connection.execute(query).first()

    def switch(self, name: str) -> Any:
        """The value of a switch, None when it was never set."""
        return self._connection.scalar(select(t.switch.c.value).where(t.switch.c.name == name))

    def runtimes(self, builder: str | None = DEFAULT) -> list[RuntimeSeen]:
        """What builds have shown of versions in a builder; None: in each."""
        rows = select(t.runtime_seen)
        if builder is not None:
            rows = rows.where(t.runtime_seen.c.builder == builder)
        return [runtime_from(row) for row in self._connection.execute(rows)]

    def put_runtime(self, seen: RuntimeSeen, now: float) -> None:
        """Write down what became of the builds with a version; what is long ago is forgotten."""
        columns, long_ago = t.runtime_seen.c, now - KEPT_SECONDS
        times = (columns.refused_at, columns.seen_at)
        is_old = [or_(column.is_(None), column < long_ago) for column in times]
        self._connection.execute(t.runtime_seen.delete().where(*is_old))
        values = {"cause": seen.cause, "refused_at": seen.refused_at, "seen_at": seen.seen_at}
        values["source"] = seen.source
        key = {"builder": seen.builder, "runtime": seen.runtime, "wanted": seen.wanted}
        is_it = [columns[name] == value for name, value in key.items()]
        changed = self._connection.execute(update(t.runtime_seen).where(*is_it).values(values))
        if not changed.rowcount:
            self._insert(t.runtime_seen, **key, **values)

    def ceiling(self, limits: Limits) -> Ceiling:
        """How many builds Toolforge bears just now."""
        kept = self.switch("ceiling")
        return Ceiling(**kept) if kept else Ceiling(limits.max_concurrent_builds)

    def put_switch(self, name: str, value: Any) -> None:
        """Set a switch."""
        changed = self._connection.execute(
            update(t.switch).where(t.switch.c.name == name).values(value=value)
        )
        if not changed.rowcount:
            self._insert(t.switch, name=name, value=value)

    def remove_switch(self, name: str) -> None:
        """Forget a switch."""
        self._connection.execute(t.switch.delete().where(t.switch.c.name == name))

    def switches(self) -> Switches:
        """What operators have stopped, the oldest first."""
        on = [switch_from(value) for value in self._connection.scalars(sql.SWITCHES)]
        return Switches(sorted(on, key=lambda switch: switch.at))

    def is_paused(self) -> bool:
        """True while operators have stopped everything that is done to accounts."""
        return self._connection.scalar(sql.PAUSED) is not None

    def count_anew(self, now: float) -> None:
        """Nothing was done, or could be done, until now: it is not held against what is under way."""
        self._connection.execute(sql.COUNT_ANEW, {"now": now})
        self._connection.execute(sql.CLEAN_ANEW, {"now": now})

    def bring_nearer(self, now: float, seconds: float) -> None:
        """The clock was put back by so much, and says `now`: what is later than that was meant sooner."""
        for statement in sql.BRING_NEARER:
            self._connection.execute(statement, {"now": now, "seconds": seconds})

    def stay_longer(self, seconds: float) -> None:
        """Everything that is up stays up for so much longer."""
        self._connection.execute(sql.STAY_LONGER, {"seconds": seconds})

    # --- within ---------------------------------------------------------------------------------------

    def _one(self, statement: Executable, values: Mapping[str, Any], what: str) -> Row[Any]:
        row = self._connection.execute(statement, dict(values)).first()
        if row is None:
            raise NotFound(f"There is no {what}.")
        return row

    def _insert(self, table: Table, **values: Any) -> int:
        key = self._connection.execute(insert(table).values(**values)).inserted_primary_key
        return int(key[0]) if key and isinstance(key[0], int) else 0

    def _put(
        self, kind: Kind, row_id: int, version: int, values: dict[str, Any], claim: Claim | None
    ) -> None:
        values |= {"row_id": row_id, "old_version": version, "version": version + 1}
        statement = sql.PUT[kind]
        if claim is not None:
            statement = sql.PUT_CLAIMED[kind]
            values |= {"token": claim.token, "claim": None, "claimed_until": None}
        if not self._connection.execute(statement, values).rowcount:
            raise Conflict(f"{kind} {row_id} was changed by somebody else in the meantime")


#: Those that are kept in another form.
_NOT_WRITTEN = {"id", "preview_id", "iid", "version", "failure", "checks", "entered"}
_NOT_WRITTEN |= {"pins", "change", "warning", "retry", "refusal", "opinion"}
_DEPLOYMENT_FIELDS: Sequence[str] = [f.name for f in fields(Deployment) if f.name not in _NOT_WRITTEN]
_ACCOUNT_FIELDS: Sequence[str] = [f.name for f in fields(Account) if f.name not in {"id", "version"}]
