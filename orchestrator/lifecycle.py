"""The one door: deliveries and commands come in here, outcomes are recorded here, nothing else writes state.

Each method is one short transaction. It reads the rows as they are now, lets the pure modules decide, writes
what changed together with its events, plans if the plan may have changed, and returns what is due next, for
the caller to say on the queue. Losing that return value costs a second: the sweep finds the same rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from orchestrator import comparison, doubt, foresight, jumps, keeping, pool, preview, probing, rules
from orchestrator import outcome as out
from orchestrator.change import OURSELVES, Change
from orchestrator.errors import BadInput, Conflict
from orchestrator.forgetting import Forgetting
from orchestrator.logs import being
from orchestrator.merge_request import Command, MergeRequest
from orchestrator.policy import Policy
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment
from orchestrator.records import Claim, Delivery, Due, Kind, Project
from orchestrator.rules import Rules
from orchestrator.store import Store, Tx
from orchestrator.switches import Stop, Switch
from orchestrator.watching import Branch

log = logging.getLogger(__name__)

#: A comparison that was not finished goes on after so small a part of the usual pause.
_SOONER = 15.0
_MINUTE = 60.0


class Lifecycle:
    """Everything that may change the state of a preview, a deployment or an account."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._policy = policy
        #: Up to which id sweeps have looked whether accounts are leased for nothing; no more than a hint.
        self._looked_up_to = 0
        self._forgetting = Forgetting(policy.retention)

    # --- what comes from outside ----------------------------------------------------------------------

    def receive(
        self, project: Project, key: str, *, kind: str, iid: int, facts: Mapping[str, Any], now: float
    ) -> list[Due]:
        """Take a webhook delivery about merge request `iid`; taken twice under one `key`, it counts once.

        Beyond what is looked at in a minute it waits for its turn, unless one that waits says the same: then
        that one is returned, since whoever looks at it will see what this one tells of, too.
        """
        with self._store.write() as tx:
            due_at = self._turn_of(tx, project.id, kind, now)
            same = None
            if due_at > now and kind != "note":
                same = tx.delivery_not_begun(project.id, kind, iid, facts)
            if same is not None:
                return [same]
            delivery_id = tx.add_delivery(
                project.id, key, kind=kind, iid=iid, facts=dict(facts), now=now, due_at=due_at
            )
        if delivery_id is None:
            return []
        ids = {"delivery": delivery_id, "project": project.id}
        waits = f", looked at in {due_at - now:.0f} seconds" if due_at > now else ""
        log.info("taken: %s of %s!%s%s", kind, project.path, iid, waits, extra=being(ids))
        return [Due(Kind.DELIVERY, delivery_id, due_at)]

    def _turn_of(self, tx: Tx, project_id: int, kind: str, now: float) -> float:
        """When a delivery that comes now is looked at: at once, or behind those that wait."""
        most = self._policy.deliveries_per_minute
        if tx.deliveries_since(project_id, kind, now - _MINUTE, most=most) < most:
            return now
        return max(tx.last_due_delivery(project_id, kind) or now, now) + _MINUTE / most

    def observe(
        self, claim: Claim, delivery: Delivery, seen: MergeRequest, now: float, *, as_of: float
    ) -> list[Due]:
        """Make the preview what the merge request asks for, as GitLab showed it at `as_of`.

        Closes the delivery.

        Raises :class:`Conflict` when somebody has seen it later than that, or the claim is lost.
        """
        with self._store.write_alone() as tx:
            if not tx.holds(claim, now):
                raise Conflict("somebody else handles the delivery by now")
            who = str(delivery.facts.get("username") or seen.author)
            change = Change(tx, self._policy, now, who=who, as_of=as_of)
            result = change.observe(delivery, seen)
            tx.close_delivery(claim, result, now)
            return change.finish()

    def command(
        self,
        claim: Claim,
        delivery: Delivery,
        seen: MergeRequest,
        command: Command,
        now: float,
        *,
        as_of: float,
    ) -> tuple[list[Due], bool]:
        """Carry out a comment's command and close its delivery; False when it could not be done.

        `/preview` counts for the commit that the comment was written under, and for no later one.
        """
        with self._store.write_alone() as tx:
            if not tx.holds(claim, now):
                raise Conflict("somebody else handles the delivery by now")
            change = Change(tx, self._policy, now, who=str(delivery.facts.get("username", "")), as_of=as_of)
            result, was_done = change.command(delivery, seen, command)
            tx.close_delivery(claim, result, now)
            return change.finish(), was_done

    def not_found(self, claim: Claim, delivery: Delivery, now: float, *, as_of: float) -> list[Due]:
        """Close a delivery about a merge request that GitLab does not know, as it said at `as_of`.

        What is up stays up: a token that has lost its rights is answered in the same way.
        """
        with self._store.write() as tx:
            tx.asked_about(delivery.project_id, delivery.iid, as_of=as_of)
            tx.close_delivery(claim, "GitLab does not know the merge request", now)
        return []

    def ignore(self, claim: Claim, reason: str, now: float) -> list[Due]:
        """Close a delivery that asks for nothing."""
        with self._store.write() as tx:
            tx.close_delivery(claim, reason, now)
        return []

    def compared(
        self, claim: Claim, listed: Mapping[int, str], now: float, *, branch: Branch | None = None
    ) -> list[Due]:
        """GitLab lists these merge requests of the claimed project as open, each with its head commit.

        With `branch`, its default branch, that is tried if it is due.

        Where we know otherwise, it is as if GitLab had told us of the merge request: it is asked about
        singly. What one pass may not ask about is left for the next one, which then comes soon.
        """
        with self._store.write_alone() as tx:
            if not tx.holds(claim, now):
                raise Conflict("somebody else compares the project by now")
            share = self._policy.most_taken_down_share
            found = comparison.missed(tx.known_open(claim.id), listed, share=share)
            dues = []
            for iid in found.iids:
                key = f"caught-up-{iid}-{now:.3f}"
                made = tx.add_delivery(claim.id, key, kind="merge_request", iid=iid, facts={}, now=now)
                if made is not None:
                    dues.append(Due(Kind.DELIVERY, made, now))
            pause = self._policy.catch_up_seconds
            tx.put_off(claim, now + (pause if found.is_all else pause / _SOONER))
            if branch is not None:
                change = Change(tx, self._policy, now, who=OURSELVES)
                change.watch(tx.project(claim.id), branch)
                dues += change.finish()
        if found.iids:
            log.info("project %s: %s merge requests are not as we knew them", claim.id, len(found.iids))
        return dues

    def set_probes(self, public_url: str, now: float) -> None:
        """Build tiny repositories of our own, which are cloned from there, now and then; or no longer."""
        with self._operating(OURSELVES, now) as (tx, change):
            before = probing.ours(tx)
            if self._policy.probe_seconds:
                probing.set_up(tx, public_url, now)
            elif before is not None:
                change.disconnect(before)
                probing.forget(tx)
            change.finish()

    def probe(self, claim: Claim, now: float) -> list[Due]:
        """See what the newest of these builds came to, and begin the next one that is due.

        To be looked at again when that has ended, or soon, since the pool may be idle then.
        """
        with self._store.write_alone() as tx:
            if not tx.holds(claim, now):
                raise Conflict("somebody else looks at the probes by now")
            change = Change(tx, self._policy, now, who=OURSELVES)
            change.probe(tx.project(claim.id))
            tx.put_off(claim, now + min(self._policy.catch_up_seconds, _MINUTE))
            return change.finish()

    def compare_by(self, at: float) -> None:
        """Compare every project with GitLab at `at`, since something may have been missed."""
        with self._store.write_alone() as tx:
            tx.compare_by(at)

    def approve_or_redeploy(
        self, preview_id: int, who: str, now: float, *, sha: str | None = None, rebuild: bool = False
    ) -> list[Due]:
        """Somebody with the right to says `/preview`: approve the head commit, or build it again.

        Raises :class:`BadInput` when the merge request is closed, a verdict on the commit is on its way, or
        the head is not `sha`, which whoever asks has looked at. With `rebuild` no image that is there does.
        """
        trigger = preview.REBUILD if rebuild else preview.COMMAND
        with self._store.write_alone() as tx:
            change = Change(tx, self._policy, now, who=who)
            change.approve_or_redeploy(tx.preview(preview_id), trigger=trigger, sha=sha)
            return change.finish()

    def stop(self, preview_id: int, who: str, why: str, now: float) -> list[Due]:
        """Take a preview down; what it holds is cleaned and given back."""
        with self._store.write_alone() as tx:
            change = Change(tx, self._policy, now, who=who)
            change.stop(tx.preview(preview_id), why)
            return change.finish()

    def keep(self, preview_id: int, seconds: float, who: str, now: float) -> list[Due]:
        """Let a live preview neither expire nor give way to others for `seconds`.

        Raises :class:`BadInput` when it is not up, or when its project keeps as many as it may.
        """
        with self._store.write_alone() as tx:
            change = Change(tx, self._policy, now, who=who)
            change.keep(tx.preview(preview_id), seconds)
            return change.finish()

    def release(self, preview_id: int, who: str, now: float) -> list[Due]:
        """End :meth:`keep`."""
        with self._store.write_alone() as tx:
            change = Change(tx, self._policy, now, who=who)
            change.release(tx.preview(preview_id))
            return change.finish()

    def weigh(self, project_id: int, weight: float, who: str, now: float) -> list[Due]:
        """Give a project another share in the turns of the scheduler; 1 is the usual one."""
        if not 0 < weight <= 100:
            raise BadInput("A weight is above 0 and at most 100.")
        with self._store.write_alone() as tx:
            change = Change(tx, self._policy, now, who=who)
            change.weigh(tx.project(project_id), weight)
            return change.finish()

    def set_rules(self, project_id: int, given: Rules, who: str, now: float) -> list[Due]:
        """Decide which merge requests of a project get a preview.

        Raises :class:`BadInput` when an entry is empty or too long, or there are too many, or for a life that
        is none or too long.
        """
        rules.check(given, self._policy.longest_live_seconds)
        with self._operating(who, now) as (tx, change):
            change.set_rules(tx.project(project_id), given)
            return change.finish()

    def disconnect(self, project_id: int, who: str, now: float) -> list[Due]:
        """Take nothing from a project any more, and take down all that it has."""
        with self._operating(who, now) as (tx, change):
            change.disconnect(tx.project(project_id))
            return change.finish()

    def note_new_secrets(self, project_id: int, who: str, now: float) -> None:
        """Write down who gave the webhook of a project new secrets."""
        with self._operating(who, now) as (tx, change):
            change.note_new_secrets(tx.project(project_id))

    # --- what operators do to accounts ----------------------------------------------------------------

    def drain(self, name: str, who: str, now: float, *, undo: bool = False) -> list[Due]:
        """Take the account of tool `name` out of use, or with `undo` back into use."""
        with self._operating(who, now) as (tx, change):
            account = _account_named(tx, name)
            change.put_account(account, (pool.undrain if undo else pool.drain)(account, now))
            return change.finish()

    def add_account(self, name: str, credentials: Mapping[str, str], who: str, now: float) -> list[Due]:
        """Put the account of tool `name` into the pool, for the first time or again.

        Raises :class:`BadInput` when it is there.
        """
        with self._operating(who, now) as (tx, change):
            known = tx.account_ever_named(name)
            if known is None:
                return [Due(Kind.ACCOUNT, tx.add_account(name, credentials, now), now)]
            if known.state is not AccountState.REMOVED:
                raise BadInput(f"Account '{name}' is in the pool already.")
            tx.put_credentials(known.id, credentials)
            change.put_account(known, pool.restore(known, now))
            return change.finish()

    def change_credentials(
        self, name: str, credentials: Mapping[str, str], who: str, now: float
    ) -> list[Due]:
        """Use other credentials for the account of tool `name`; in quarantine it is tried again at once."""
        with self._operating(who, now) as (tx, change):
            account = _account_named(tx, name)
            tx.put_credentials(account.id, credentials)
            change.note(account, "its credentials were changed", preview_id=account.preview_id)
            if account.state in pool.BEING_CLEANED:
                change.put_account(account, pool.look_again(account, now))
            return change.finish()

    def check_may_clean(self, account: Account) -> None:
        """Raise :class:`BadInput` when it makes no sense to ask for a cleaning of `account`."""
        if account.state not in pool.BEING_CLEANED:
            raise BadInput(
                f"Account '{account.name}' is {account.state}: only one that is quarantined or being "
                "cleaned can be cleaned now. A preview is taken down with `preview stop`."
            )

    def clean(self, name: str, who: str, now: float, *, everything: bool = False) -> list[Due]:
        """Try again now to clean the account of tool `name`, with `everything` of what is not ours, too."""
        with self._operating(who, now) as (tx, change):
            account = _account_named(tx, name)
            self.check_may_clean(account)
            why = "everything in it is to be deleted" if everything else "it is to be cleaned now"
            change.note(account, why, preview_id=None)
            change.put_account(account, pool.look_again(account, now, everything=everything))
            return change.finish()

    def remove(self, name: str, who: str, now: float) -> list[Due]:
        """Take the account of tool `name` out of the pool for good and forget its credentials."""
        with self._operating(who, now) as (tx, change):
            account = _account_named(tx, name)
            if account.state not in pool.REMOVABLE:
                raise BadInput(f"Account '{name}' is {account.state}: drain it first, and wait for that.")
            change.put_account(account, pool.remove(account, now))
            tx.put_credentials(account.id, {})
            return change.finish()

    # --- operators' switches --------------------------------------------------------------------------

    def pause(self, who: str, why: str, now: float, *, project_id: int | None = None) -> list[Due]:
        """Plan nothing of a project; without one, the emergency stop: nothing is done to any account."""
        return self._switch(Switch(Stop.PAUSE, project_id, who, why, now))

    def freeze(self, who: str, why: str, now: float) -> list[Due]:
        """Plan nothing, and leave what is up alone; what is under way goes on."""
        return self._switch(Switch(Stop.FREEZE, None, who, why, now))

    def _switch(self, switch: Switch) -> list[Due]:
        with self._store.write_alone() as tx:
            change = Change(tx, self._policy, switch.at, who=switch.who)
            change.set_switch(switch)
            return change.finish()

    def resume(self, who: str, now: float, *, project_id: int | None = None) -> list[Due]:
        """End the pause of a project; without one, the emergency stop and the freeze.

        Raises :class:`BadInput` when nothing was stopped.
        """
        with self._store.write_alone() as tx:
            ended = tx.switches().of(project_id)
            if not ended:
                raise BadInput("Nothing of that kind is stopped; `toolforge-preview switch list` shows all.")
            change = Change(tx, self._policy, now, who=who)
            for switch in ended:
                change.end_switch(switch)
            return change.finish()

    def put_back(self, who: str, now: float, *, copied_at: float, stays_paused: bool) -> None:
        """The database was put back from a copy of `copied_at`, and is paused: doubt it, then go on.

        With `stays_paused` nothing is done to any account before an operator resumes.
        """
        with self._store.write_alone() as tx:
            change = Change(tx, self._policy, now, who=who)
            doubt.everything(change, tx, now)
            paused = tx.switches().paused
            if paused is not None and stays_paused:
                why = "the database was put back from a copy"
                tx.remove_switch(paused.name)
                change.set_switch(Switch(Stop.PAUSE, None, who, why, copied_at))
            elif paused is not None and paused.why == doubt.IS_BEING_PUT_BACK:
                # What was up had none of its time while nobody looked after it.
                change.end_switch(replace(paused, at=min(copied_at, now)))
            change.finish()

    def mind_clock(self, start: str, ahead: float, now: float) -> bool:
        """See :func:`orchestrator.jumps.mind`."""
        with self._store.write_alone() as tx:
            return jumps.mind(tx, start, ahead, now)

    @contextmanager
    def _operating(self, who: str, now: float) -> Iterator[tuple[Tx, Change]]:
        with self._store.write_alone() as tx:
            yield tx, Change(tx, self._policy, now, who=who)

    # --- what workers bring back ----------------------------------------------------------------------

    def record(self, claim: Claim, before: Deployment, outcome: out.Outcome, now: float) -> list[Due]:
        """Write down what a step of `before` brought back.

        Dropped, and looked at again, when the deployment was changed by somebody else during the step; raises
        :class:`Conflict` when the claim is somebody else's by now.
        """
        with self._store.write_alone() as tx:
            current = tx.deployment(before.id)
            if current.version != before.version:
                tx.drop_claim(claim)
                if isinstance(outcome, out.NotNow) and outcome.may_have_happened:
                    tx.put_deployment(current, preview.unsure(current, now))
                return [] if current.due_at is None else [Due(Kind.DEPLOYMENT, current.id, now)]
            if current.account_id is not None and not tx.lease_is_current(current):
                outcome = out.AccountUnusable("its lease is over")
            change = Change(tx, self._policy, now, who=OURSELVES)
            change.record(claim, current, outcome)
            return change.finish()

    def record_cleaning(
        self,
        claim: Claim,
        before: Account,
        outcome: out.CleaningOutcome,
        now: float,
        *,
        bytes_seen: int | None,
    ) -> list[Due]:
        """Write down what one try at cleaning brought back, and how full the store was when it began."""
        with self._store.write_alone() as tx:
            current = tx.account(before.id)
            if current.version != before.version:
                tx.drop_claim(claim)
                return [Due(Kind.ACCOUNT, current.id, now)]
            change = Change(tx, self._policy, now, who=OURSELVES)
            change.record_cleaning(claim, current, outcome, bytes_seen)
            return change.finish()

    def record_inspection(
        self, claim: Claim, before: Account, outcome: out.InspectionOutcome, now: float
    ) -> list[Due]:
        """Write down what a comparison of the account with Toolforge brought, unless it was changed since."""
        with self._store.write_alone() as tx:
            current = tx.account(before.id)
            if current.version != before.version:
                tx.drop_claim(claim)
                return [] if current.due_at is None else [Due(Kind.ACCOUNT, current.id, current.due_at)]
            change = Change(tx, self._policy, now, who=OURSELVES)
            keeping.record_inspection(change, tx, self._policy, claim, before, current, outcome, now)
            return change.finish()

    def inspect_all(self, now: float) -> None:
        """Let every account that is free or leased be inspected, as at a start."""
        with self._store.write() as tx:
            tx.inspect_all(now)

    # --- what time brings -----------------------------------------------------------------------------

    def sweep(self, now: float, *, limit: int = 500) -> list[Due]:
        """Take down what has expired, plan again, and return every row that is due and not looked at.

        What has waited for a version is built when the builder was seen to have it, by whatever build.

        Whether an account is leased for nothing is looked at for a part of a large pool at a time.
        """
        with self._store.read() as tx:
            is_frozen = tx.switches().is_frozen
            expired = [] if is_frozen else tx.expired(now)
            unblocked = [] if is_frozen else foresight.unblocked(tx, now)
            is_waiting = tx.is_anybody_waiting()
            idle, self._looked_up_to = tx.leased_for_nothing(after=self._looked_up_to)
        if expired or is_waiting or idle or unblocked:
            try:
                self._tidy_up(idle, now)
            except Conflict:
                # Somebody was faster; the next sweep looks again, and what is due is said all the same.
                log.info("the sweep was overtaken")
        with self._store.read() as tx:
            return tx.due(now, limit=limit)

    def forget(self, now: float) -> int:
        """Remove a small part of what is older than is to be kept; how many rows went."""
        if not self._forgetting.is_due(now):
            return 0
        try:
            with self._store.write() as tx:
                return self._forgetting.step(tx.connection, now)
        except Conflict:
            log.info("forgetting what is old was overtaken")
            return 0

    def _tidy_up(self, idle: Sequence[int], now: float) -> None:
        with self._store.write_alone() as tx:
            change = Change(tx, self._policy, now, who=OURSELVES)
            is_frozen = tx.switches().is_frozen
            for present in [] if is_frozen else tx.expired(now):
                change.expire(present, "its time was over")
            for blocked in [] if is_frozen else foresight.unblocked(tx, now):
                change.unblock(blocked)
            for account_id in idle:
                change.release_if_unused(account_id)
            change.plan_again = True
            change.finish()


def _account_named(tx: Tx, name: str) -> Account:
    account = tx.account_named(name)
    if account is None:
        raise BadInput(f"There is no account '{name}' in the pool; `toolforge-preview pool list` shows it.")
    return account
