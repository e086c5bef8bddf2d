"""What a change of state writes with the row: its event, its report, what is due next, an account given back.

One journal a transaction. What an event from outside means stands in ``change.py``, what a plan decides is
carried out by ``planning.py``.
"""

from __future__ import annotations

from orchestrator import counting, pool, preview, tally
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.records import Claim, Due, Kind, Preview
from orchestrator.store import Tx
from orchestrator.tally import Count

#: Changes on the way to a verdict are gathered this long before GitLab is told.
_GATHER_SECONDS = 1.0


class Journal:
    """The rows that one transaction changes. `who` is named in the events."""

    def __init__(self, tx: Tx, now: float, *, who: str) -> None:
        self._tx = tx
        self._now = now
        self._who = who
        self._dues: list[Due] = []
        #: Something has changed that a plan depends on.
        self.plan_again = False

    def add_deployment(
        self,
        present: Preview,
        *,
        step: Step,
        trigger: str,
        is_bot: bool,
        check_only: bool = False,
        ready_at: float | None = None,
        due_at: float | None = None,
    ) -> Deployment:
        """A new try at the head commit, with its event and its report; returns it as written."""
        new = self._tx.add_deployment(
            present,
            step=step,
            trigger=trigger,
            actor=self._who,
            now=self._now,
            is_bot=is_bot,
            check_only=check_only,
            ready_at=ready_at,
            due_at=due_at,
        )
        if new.due_at is not None:
            self._dues.append(Due(Kind.DEPLOYMENT, new.id, new.due_at))
        self._event("deployment", new.id, "", new.state, why=f"commit {new.sha}", preview_id=present.id)
        counting.add(self._tx.connection, {tally.key(Count.ENTERED, new.state, tally.by(new)): 1.0})
        self.report(present.id, at_once=True)
        return new

    def put_deployment(
        self,
        before: Deployment,
        after: Deployment,
        *,
        claim: Claim | None = None,
        why: str = "",
        is_news: bool = False,
    ) -> Deployment:
        """Write a deployment with its event, its report and what is due next; returns it as written.

        Another state is reported anyhow, what else `is_news` is, too.
        """
        after = self._tx.put_deployment(before, after, claim=claim)
        if after.due_at is not None:
            self._dues.append(Due(Kind.DEPLOYMENT, after.id, after.due_at))
        if after.state is not before.state:
            sentence = preview.TRANSITIONS[before.state, after.state]
            counting.add(self._tx.connection, tally.of_change(before, after, self._now))
            self._event(
                "deployment",
                after.id,
                before.state,
                after.state,
                why=why or sentence,
                preview_id=after.preview_id,
                account_id=after.account_id,
            )
            self.report(after.preview_id, at_once=after.state in {State.LIVE, State.FAILED, State.BLOCKED})
            self.plan_again = True
        elif before.step is Step.READ_FILE and after.step is Step.AWAIT_SLOT:
            # Its place in the queue can be told from now on.
            self.report(after.preview_id)
            self.plan_again = True
        elif (before.holds_build_slot and not after.holds_build_slot) or after.is_settled:
            self.plan_again = True
        elif is_news:
            self.report(after.preview_id)
        return after

    def put_account(
        self,
        before: Account,
        after: Account,
        *,
        claim: Claim | None = None,
        why: str = "",
        preview_id: int | None = None,
    ) -> Account:
        """Write an account with its event and what is due next; returns it as written."""
        after = self._tx.put_account(before, after, claim=claim)
        if after.due_at is not None:
            self._dues.append(Due(Kind.ACCOUNT, after.id, after.due_at))
        if after.state is not before.state:
            sentence = pool.TRANSITIONS[before.state, after.state]
            self._event(
                "account", after.id, before.state, after.state, why=why or sentence, preview_id=preview_id
            )
        return after

    def note(self, subject: Deployment | Account, why: str, *, preview_id: int | None) -> None:
        """A line of the timeline about something that stays in its state."""
        kind = "deployment" if isinstance(subject, Deployment) else "account"
        self._event(kind, subject.id, subject.state, subject.state, why=why, preview_id=preview_id)

    def expire(self, present: Preview, why: str) -> None:
        """Take down what is live, unless its next commit is on its way.

        A commit that waits for an approval goes on waiting.
        """
        going = self._tx.unsettled_of(present.id)
        if any(deployment.is_on_its_way for deployment in going):
            return
        self._tx.set_preview(present.id, expires_at=None, stop_reason=why)
        for live in going:
            if live.state is State.LIVE:
                self.put_deployment(live, preview.stop(live, self._now), why=why)
        self.release_if_done(present.id)
        self.plan_again = True

    def release_if_done(self, preview_id: int) -> None:
        """Give the preview's account back for cleaning when nothing of it needs it any more."""
        account = self._tx.account_of(preview_id)
        if account is not None:
            self.release_if_unused(account.id)

    def release_if_unused(self, account_id: int) -> None:
        """Give a leased account back for cleaning when nothing needs it any more."""
        account = self._tx.account(account_id)
        if account.state is AccountState.LEASED and not self._tx.is_needed(account):
            self.give_back(account)

    def give_back(self, account: Account) -> None:
        """Let a leased account be cleaned."""
        self.put_account(account, pool.release(account, self._now), preview_id=account.preview_id)
        self.plan_again = True

    def _event(
        self,
        subject: str,
        subject_id: int,
        before: str,
        after: str,
        *,
        why: str,
        preview_id: int | None,
        account_id: int | None = None,
    ) -> None:
        self._tx.add_event(
            subject,
            subject_id,
            before,
            after,
            who=self._who,
            why=why,
            now=self._now,
            preview_id=preview_id,
            account_id=account_id,
        )

    def report(self, preview_id: int, *, at_once: bool = False) -> None:
        """GitLab is to be told of the preview: at once, or together with what follows soon."""
        at = self._now if at_once else self._now + _GATHER_SECONDS
        due = self._tx.mark_report(preview_id, at)
        if due is not None:
            self._dues.append(due)
