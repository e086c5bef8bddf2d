"""The changes of one transaction: what an event means for the rows.

Only ``lifecycle.py`` opens such transactions. The pure modules decide; here it is written down, with what
``journal.py`` adds to it, and planned anew by ``planning.py``.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from orchestrator import (
    filters,
    foresight,
    history,
    opinion,
    planning,
    pool,
    preview,
    probing,
    progress,
    quiet,
    rules,
    samechange,
    watching,
)
from orchestrator import outcome as out
from orchestrator.errors import BadInput, Conflict
from orchestrator.journal import Journal
from orchestrator.lifetime import live_seconds
from orchestrator.merge_request import Command, MergeRequest, Verb, is_bot
from orchestrator.outcome import Refusal, line_is_full
from orchestrator.policy import Policy
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.progress import Scene
from orchestrator.records import Claim, Delivery, Due, Kind, Preview, Project
from orchestrator.report import instant, size
from orchestrator.rules import Rules
from orchestrator.store import Tx
from orchestrator.switches import Stop, Switch
from orchestrator.watching import Branch

#: Who is named in events that no person caused.
OURSELVES = "Toolforge Preview"
#: Marks what the rules of the project leave out, and not the repository's own file.
_BY_RULES = "rules"
#: A branch that moved under its build is looked at again after so long: references lag behind.
_BRANCH_MOVED_SECONDS = 30.0
_NOT_CONNECTED = "nothing to do: the project is not connected any more"


class Change(Journal):
    """The changes of one transaction: rows, their events, the reports to send, what is due next."""

    def __init__(self, tx: Tx, policy: Policy, now: float, *, who: str, as_of: float | None = None) -> None:
        super().__init__(tx, now, who=who)
        self._policy = policy
        self._as_of = now if as_of is None else as_of

    def finish(self) -> list[Due]:
        """Plan if needed; returns what is due."""
        if self.plan_again:
            self._who = OURSELVES
            planning.plan(self, self._tx, self._policy, self._now)
        return self._dues

    # --- from outside ---------------------------------------------------------------------------------

    def observe(self, delivery: Delivery, seen: MergeRequest) -> str:
        """Make the preview what the merge request asks for; says what came of it."""
        project = self._tx.project(delivery.project_id)
        if project.removed_at is not None:
            return _NOT_CONNECTED
        known = self._tx.preview_of(delivery.project_id, seen.iid)
        if known is None and not seen.is_open:
            return f"nothing to do: the merge request is {seen.state} and has no preview"
        if not seen.sha:
            return "nothing to do: the merge request has no commit"
        if known is not None and known.seen_at > self._as_of:
            raise Conflict("the merge request was seen later than this")
        present = self._tx.put_preview(delivery.project_id, seen, as_of=self._as_of)
        if not seen.is_open:
            self.stop(present, f"the merge request was {seen.state}")
            return f"stopped: the merge request was {seen.state}"
        newest = next(iter(self._tx.deployments_of(present.id, limit=1)), None)
        was_closed = known is not None and not known.is_open
        is_known = newest is not None and newest.sha == seen.sha and newest.state is not State.SUPERSEDED
        decided = project.rules
        reason = rules.why_not(decided, seen)
        refusal = newest.refusal if newest is not None else None
        if is_known and not was_closed and not _applies_anew(refusal, reason, seen):
            return "nothing to do: the head commit is known"
        new = self._deploy(present, decided, trigger=delivery.kind, approved=seen.is_from_project)
        if reason is not None:
            refused = preview.decline(new, Refusal(reason, {_BY_RULES: True}), self._now)
            self.put_deployment(new, refused, why=reason)
            return f"no preview: {reason}"
        if seen.is_from_project and self._is_full(present, is_bot=new.is_bot):
            failure = line_is_full(self._policy.waiting_per_project)
            self.put_deployment(new, preview.refuse(new, failure, self._now), why=failure.summary)
            return f"not built: {failure.summary}"
        return f"deployment of {seen.sha[:12]}"

    def command(self, delivery: Delivery, seen: MergeRequest, command: Command) -> tuple[str, bool]:
        """Carry out a comment's command; says what came of it, and whether that was what was asked for."""
        result = self.observe(delivery, seen)
        present = self._tx.preview_of(delivery.project_id, seen.iid)
        if present is None or result == _NOT_CONNECTED:
            return result, False
        result, was_done = self._carry_out(delivery, seen, present, command)
        remark = "" if was_done else result
        if remark != present.remark:
            self._tx.remark(present.id, remark)
            self.report(present.id, at_once=True)
        return result, was_done

    def _carry_out(
        self, delivery: Delivery, seen: MergeRequest, present: Preview, command: Command
    ) -> tuple[str, bool]:
        match command.verb:
            case Verb.STOP:
                self.stop(present, f"stopped by {self._who}")
                return "stopped", True
            case Verb.KEEP:
                return self._keep_by_command(present, command.seconds or 0.0)
            case Verb.LOGS:
                self._tx.show_logs(present.id)
                self.report(present.id, at_once=True)
                return "the note shows the logs", True
            case Verb.HELP:
                return "the note has the commands", True
            case Verb.UNKNOWN:
                return "no command is called so; those that there are stand below", False
            case _:
                return self._build_by_command(delivery, seen, present, command.verb)

    def _keep_by_command(self, present: Preview, seconds: float) -> tuple[str, bool]:
        try:
            self.keep(present, seconds)
        except BadInput as error:
            return str(error), False
        return "kept", True

    def _build_by_command(
        self, delivery: Delivery, seen: MergeRequest, present: Preview, verb: Verb
    ) -> tuple[str, bool]:
        if delivery.facts.get("sha") != seen.sha:
            return "the commit that the comment was written under is not the head any more", False
        trigger = preview.REBUILD if verb is Verb.REBUILD else preview.COMMAND
        try:
            self.approve_or_redeploy(present, trigger=trigger)
        except BadInput as error:
            # A verdict that is on its way anyhow is what was asked for.
            return str(error), present.is_open
        return "approved, or to be built again", True

    def approve_or_redeploy(
        self, present: Preview, *, trigger: str = preview.COMMAND, sha: str | None = None
    ) -> None:
        """Approve the head commit if it waits for that, or for quiet; else build it (again).

        With `sha` only where that is the head. What is only checked just now gets a deployment that stays up.
        """
        if sha is not None and sha != present.head_sha:
            raise BadInput(
                f"Commit {sha[:12]} is not the head: {present.head_sha[:12]} was pushed. Look at that one."
            )
        if present.is_branch:
            raise BadInput("A default branch gets no preview; it is tried by itself where that is wanted.")
        if not present.is_open:
            raise BadInput(f"The merge request is {present.mr_state}; reopen it to get a preview.")
        project = self._tx.project(present.project_id)
        if project.removed_at is not None:
            raise BadInput(f"{project.path} is not connected any more.")
        decided = project.rules
        newest = next(iter(self._tx.deployments_of(present.id, limit=1)), None)
        is_pending = newest is not None and newest.sha == present.head_sha and newest.is_pending
        is_blocked = newest is not None and newest.state is State.BLOCKED
        if self._is_full(present, is_bot=False):
            raise BadInput(
                f"{self._policy.waiting_per_project} deployments of this project wait already, as many as "
                "may: try again when some are done."
            )
        if newest is not None and is_pending and newest.can_be_hastened and not is_blocked:
            by_bot = self._is_by_bot(present, decided)
            self.put_deployment(newest, preview.approve(newest, self._now, is_bot=by_bot))
            verb = "approved" if newest.step is Step.AWAIT_APPROVAL else "asked for"
            why = f"commit {newest.sha} {verb} by {self._who}"
            self._event("deployment", newest.id, newest.state, newest.state, why=why, preview_id=present.id)
            self.report(present.id, at_once=True)
            self.plan_again = True
            return
        if newest is not None and is_pending and not newest.check_only and not is_blocked:
            raise BadInput(f"Commit {newest.sha[:12]} is already {newest.state}.")
        self._deploy(present, decided, trigger=trigger, approved=True)

    def unblock(self, blocked: Deployment) -> None:
        """Build what waited for its builder, as a deployment of its own; for whom it is has not changed."""
        present = self._tx.preview(blocked.preview_id)
        decided = self._tx.project(present.project_id).rules
        self._deploy(present, decided, trigger=preview.UNBLOCKED, approved=True, like=blocked)

    def _deploy(
        self,
        present: Preview,
        decided: Rules,
        *,
        trigger: str,
        approved: bool,
        like: Deployment | None = None,
    ) -> Deployment:
        for older in self._tx.unsettled_of(present.id):
            if older.may_be_superseded:
                self.put_deployment(older, preview.end(older, State.SUPERSEDED, self._now))
            elif older.step in preview.OPINION_STEPS:
                self.put_deployment(older, preview.without_opinion(older, self._now))
        step = Step.READ_FILE if approved else Step.AWAIT_APPROVAL
        by_bot, is_asked_for = self._is_by_bot(present, decided), trigger in preview.ASKED_FOR
        only_checked = decided.check_only_bots
        if only_checked is None:
            only_checked = self._policy.check_only_bots
        new = self.add_deployment(
            present,
            step=step,
            trigger=trigger,
            is_bot=like.is_bot if like else by_bot,
            check_only=like.check_only if like else by_bot and only_checked and not is_asked_for,
            ready_at=None if like or is_asked_for or not approved else self._ready_at(present, by_bot),
            due_at=self._now if approved else None,
        )
        self._tx.show_logs(present.id, shown=False)
        self._tx.remark(present.id, "")
        self._tx.set_preview(present.id, expires_at=present.expires_at, stop_reason="")
        self.release_if_done(present.id)
        self.plan_again = True
        return new

    def _is_full(self, present: Preview, *, is_bot: bool) -> bool:
        """Whether nothing more of the project may wait; bots leave people as much room as there is."""
        waiting = self._tx.waiting_in(present.project_id, but=present.id, people_only=not is_bot)
        return waiting >= self._policy.waiting_per_project

    def _is_by_bot(self, present: Preview, decided: Rules) -> bool:
        """True when no person has a hand in it: neither in the merge request nor in what is done now."""
        named = self._policy.bots | set(decided.bots)
        return all(is_bot(name, named) for name in (present.author, self._who))

    def _ready_at(self, present: Preview, by_bot: bool) -> float | None:
        """When what has just been pushed may be built; None: at once."""
        earlier = [
            quiet.Push(d.created_at, was_built=State.BUILDING in (d.entered or {}))
            for d in self._tx.deployments_of(present.id)
            if d.trigger not in {*preview.ASKED_FOR, preview.UNBLOCKED}
        ]
        return quiet.ready_at(self._now, earlier, is_bot=by_bot, quiet=self._policy.quiet)

    def stop(self, present: Preview, why: str) -> None:
        """Take everything of the preview down."""
        self._tx.set_preview(present.id, expires_at=None, stop_reason=why)
        for going in self._tx.unsettled_of(present.id):
            stopped = preview.stop(going, self._now)
            if stopped != going:
                self.put_deployment(going, stopped, why=why)
        self.report(present.id)
        self.release_if_done(present.id)
        self.plan_again = True

    def keep(self, present: Preview, seconds: float) -> None:
        """Let it neither expire nor give way for so long, if the project may keep one more."""
        longest, most = self._policy.keep_seconds, self._policy.kept_per_project
        if present.expires_at is None:
            raise BadInput(f"Nothing of !{present.iid} is up, so there is nothing to keep.")
        if not 0 < seconds <= longest:
            raise BadInput(f"A preview can be kept for {longest / 3600:g} hours at most.")
        kept = self._tx.kept(present.project_id, self._now)
        if len([other for other in kept if other.id != present.id]) >= most:
            those = ", ".join(f"!{p.iid} until {instant(p.keep_until or 0.0)}" for p in kept) or "none"
            raise BadInput(f"A project can keep {most} previews at once; kept are: {those}.")
        until = self._now + seconds
        self._tx.keep_preview(present.id, keep_until=until, expires_at=max(present.expires_at, until))
        why = f"it is kept until {instant(until)}"
        self._event("preview", present.id, "", "kept", why=why, preview_id=present.id)
        self.report(present.id)

    def release(self, present: Preview) -> None:
        """It may give way again, and lives as long as others do from when it went live."""
        live = next((d for d in self._tx.unsettled_of(present.id) if d.state is State.LIVE), None)
        if present.keep_until is None or present.expires_at is None or live is None:
            raise BadInput(f"!{present.iid} is not kept.")
        usual = max(live.since + self._stays_up(live), self._now)
        expires_at = min(present.expires_at, usual)
        self._tx.keep_preview(present.id, keep_until=None, expires_at=expires_at)
        self._event("preview", present.id, "kept", "", why="it may give way again", preview_id=present.id)
        self.report(present.id)
        self.plan_again = True

    def _stays_up(self, live: Deployment) -> float:
        decided = self._tx.project(self._tx.preview(live.preview_id).project_id).rules
        return live_seconds(live, decided, self._policy.live_seconds)

    def weigh(self, project: Project, weight: float) -> None:
        """Give the project another share in the turns."""
        self._tx.weigh(project.id, weight)
        why = f"its share is {weight:g}, it was {project.weight:g}"
        self._event("project", project.id, "", "", why=why, preview_id=None)
        self.plan_again = True

    def set_rules(self, project: Project, given: Rules) -> None:
        """Decide which merge requests of the project get a preview."""
        self._tx.set_rules(project.id, asdict(given))
        changed = [name for name, value in asdict(given).items() if value != asdict(project.rules)[name]]
        why = f"its rules are changed: {', '.join(changed) or 'nothing'}"
        self._event("project", project.id, "", "", why=why, preview_id=None)
        if given.watch_main is not project.rules.watch_main:
            watching.change_watch(self, self._tx, project, given.watch_main, self._now)
            self.plan_again = True

    def watch(self, project: Project, branch: Branch) -> None:
        """GitLab showed the project's default branch like this."""
        watching.look(self, self._tx, project, branch, self._now)

    def probe(self, project: Project) -> None:
        """Write down what the newest build of a tiny repository of ours showed, and begin the next."""
        if project.removed_at is None:
            probing.look(self, self._tx, project, self._policy.probe_seconds, self._now)

    def disconnect(self, project: Project) -> None:
        """Take nothing from the project any more, and take down all that it has."""
        why = "the project was disconnected"
        unsettled = {one.preview_id for one, project_id in self._tx.unsettled() if project_id == project.id}
        for preview_id in sorted(unsettled):
            self.stop(self._tx.preview(preview_id), why)
        self._tx.disconnect(project.id, self._now)
        self._event("project", project.id, "connected", "", why=why, preview_id=None)

    def note_new_secrets(self, project: Project) -> None:
        """The project's webhook has got new secrets."""
        self._event("project", project.id, "", "", why="its webhook has new secrets", preview_id=None)

    # --- from operators -------------------------------------------------------------------------------

    def set_switch(self, switch: Switch) -> None:
        """Stop what `switch` says; one that is set already is told anew, since when it was."""
        known = next((s for s in self._tx.switches().on if s.name == switch.name), switch)
        self._tx.put_switch(switch.name, asdict(replace(switch, at=known.at)))
        self._event("switch", switch.project_id or 0, "", switch.stop, why=switch.why, preview_id=None)
        self._tell_of_switch(switch)

    def end_switch(self, switch: Switch) -> None:
        """Go on; what was under way has its whole patience again, and what is up lost none of its time."""
        self._tx.remove_switch(switch.name)
        self._event("switch", switch.project_id or 0, switch.stop, "", why="resumed", preview_id=None)
        if switch.project_id is None:
            self._tx.count_anew(self._now)
            if switch.stop is Stop.PAUSE:
                self._tx.stay_longer(max(self._now - switch.at, 0.0))
        self._tell_of_switch(switch)
        self.plan_again = True

    def _tell_of_switch(self, switch: Switch) -> None:
        for going in self._tx.unfinished():
            if going.deployment.is_on_its_way and switch.project_id in {None, going.project_id}:
                self.report(going.deployment.preview_id)

    # --- from workers ---------------------------------------------------------------------------------

    def record(self, claim: Claim, current: Deployment, outcome: out.Outcome) -> None:
        """Write down what a step of `current` brought back, and what follows from it."""
        foresight.learn(self._tx, current, outcome, self._now)
        others = self._tx.neighbours_of(current)
        serving = next((d for d in others if d.state is State.LIVE), None)
        scene = Scene(
            now=self._now,
            patience=self._policy.patience,
            serving=serving,
            address_busy=any(d.is_at_the_address for d in others),
            frozen=self._tx.switches().is_frozen,
            has_time_to_spare=self._has_time_to_spare(current, outcome),
            awaited=foresight.awaited(self._tx, current, outcome, self._now),
        )
        applied = progress.apply(current, outcome, scene)
        if isinstance(outcome, out.BuildSucceeded):
            applied = self._measure(current, applied, outcome)
        if isinstance(outcome, out.FileRead):
            applied = foresight.forewarned(self._tx, current, applied, self._now)
            seconds = self._policy.limits.cohort_seconds
            applied = samechange.joined(self._tx, applied, seconds, self._now)
        if isinstance(outcome, out.OpinionGiven):
            applied = self._with_newest(current, applied, outcome)
        is_tried_again = applied.retry != current.retry
        why = _why(outcome)
        is_decided = isinstance(outcome, out.FileRead) or applied.state is State.BLOCKED
        if is_decided and applied.failure is not None:
            why = applied.failure.summary
        is_news = is_tried_again or applied.opinion != current.opinion
        after = self.put_deployment(current, applied, claim=claim, why=why, is_news=is_news)
        if applied.retry is not None and is_tried_again:
            again = f"{applied.retry.why}; no fault of the commit, so it is built once more"
            self.note(after, again, preview_id=after.preview_id)
        self._keep_log(current, after, outcome)
        if after.state is State.LIVE and current.state is not State.LIVE:
            self._goes_live(after, serving)
        if isinstance(outcome, out.AccountUnusable):
            self._lose_account(current, outcome.reason)
            if after.state is State.QUEUED and any(d.id > after.id and d.is_pending for d in others):
                self.put_deployment(after, preview.end(after, State.SUPERSEDED, self._now))
        if current.step is Step.ROLL_BACK and isinstance(outcome, out.NotNow) and serving is not None:
            self._cannot_be_put_back(after, serving)
        if isinstance(outcome, out.WrongCommit):
            self._look_again(current)
        self._adapt(outcome)
        if after.is_probe:
            self._go_on_probing(after)
        elif after.is_spare and not after.is_pending and current.is_pending:
            watching.judge(self, self._tx, after, self._now)
        is_decided = current.is_pending and not after.is_pending
        is_blocked = after.state is State.BLOCKED and current.state is not State.BLOCKED
        if isinstance(outcome, out.BuildSucceeded) or is_decided or is_blocked:
            samechange.tell(self, self._tx, after, self._now)
        if after.is_settled or after.step in preview.AT_REST:
            self._release_of(current)

    def _go_on_probing(self, tried: Deployment) -> None:
        """Once nothing of it is left to remove, it is looked at what came of it."""
        if tried.is_settled:
            project_id = self._tx.preview(tried.preview_id).project_id
            self._tx.compare_project_by(project_id, self._now)

    def _has_time_to_spare(self, current: Deployment, outcome: out.Outcome) -> bool:
        """Whether nobody would miss what a second opinion takes; not looked at where none is wanted."""
        if not isinstance(outcome, out.StageFailed) or not opinion.is_wanted(current, outcome.failure):
            return False
        project = self._tx.project(self._tx.preview(current.preview_id).project_id)
        return planning.has_time_to_spare(self._tx, self._policy, current, project, self._now)

    def _with_newest(self, asked: Deployment, after: Deployment, outcome: out.OpinionGiven) -> Deployment:
        """Write down how full the store is by now; in the opinion, also which versions there are."""
        if asked.account_id is not None and outcome.bytes_used is not None:
            self._tx.put_store_use(asked.account_id, outcome.bytes_used, outcome.bytes_limit)
        if asked.failure is None or after.opinion is None:
            return after
        newest = foresight.newest(self._tx, asked.failure, self._now)
        given = replace(after, opinion=replace(after.opinion, newest=newest))
        self.note(given, f"second opinion: {outcome.says}", preview_id=given.preview_id)
        return given

    def _measure(self, built: Deployment, after: Deployment, outcome: out.BuildSucceeded) -> Deployment:
        """Write down what the build took: seconds, and bytes of the store since it was last looked at.

        Where builds share a store, what two of them took at once counts for the one that ended later.
        """
        project = self._tx.project(self._tx.preview(built.preview_id).project_id)
        size = None
        if outcome.bytes_used is not None and built.account_id is not None:
            size = max(outcome.bytes_used - (self._tx.account(built.account_id).bytes_used or 0), 0)
            # A component's image comes on top of the commit's.
            size += (built.image_bytes or 0) if built.image is not None else 0
            self._tx.put_store_use(built.account_id, outcome.bytes_used, outcome.bytes_limit)
        self._tx.put_figures(
            project.id,
            image_bytes=history.expected_bytes(project.image_bytes, size),
            build_seconds=history.expected_seconds(project.build_seconds, self._now - built.since),
        )
        return replace(after, image_bytes=size)

    def _cannot_be_put_back(self, failed: Deployment, serving: Deployment) -> None:
        """The address stays with an image that failed: what was good there is good no more."""
        if failed.state is State.FAILED:
            why = "its image could not be put back after a bad push"
            self._tx.set_preview(failed.preview_id, expires_at=None, stop_reason=why)
            self.put_deployment(serving, preview.stop(serving, self._now), why=why)

    def _goes_live(self, live: Deployment, predecessor: Deployment | None) -> None:
        kept_until = self._tx.preview(live.preview_id).keep_until or 0.0
        expires_at = max(self._now + self._stays_up(live), kept_until)
        self._tx.set_preview(live.preview_id, expires_at=expires_at, stop_reason="")
        if predecessor is not None:
            replaced = preview.end(predecessor, State.STOPPED, self._now)
            self.put_deployment(predecessor, replaced, why=f"replaced by deployment {live.id}")

    def _lose_account(self, current: Deployment, reason: str) -> None:
        """All that the preview has on this account is out of reach: put the account away, start anew."""
        if current.account_id is None:
            return
        account = self._tx.account(current.account_id)
        if account.fence != current.fence or account.state is not AccountState.LEASED:
            return
        for other in self._tx.unsettled_of(current.preview_id):
            if other.state is State.LIVE and other.account_id == account.id:
                self.put_deployment(
                    other, preview.stop(other, self._now), why="its account could not be used"
                )
        self.put_account(account, pool.refuse(account, reason, self._now), why=reason)
        self._tx.close_lease(account, self._now, before=None, after=None)
        self.plan_again = True

    def _look_again(self, moved_on: Deployment) -> None:
        """The head is another commit than was said: ask GitLab, in case its next delivery is lost."""
        project_id = self._tx.preview(moved_on.preview_id).project_id
        if moved_on.is_spare:
            self._tx.compare_project_by(project_id, self._now + _BRANCH_MOVED_SECONDS)
            return
        tries = sum(d.sha == moved_on.sha for d in self._tx.deployments_of(moved_on.preview_id, limit=10))
        # GitLab's references can lag behind its answers: more patiently each time.
        at = self._now + min(2.0**tries, 300.0)
        delivery_id = self._tx.add_delivery(
            project_id,
            f"moved-{moved_on.id}",
            kind="merge_request",
            iid=moved_on.iid,
            facts={},
            now=at,
        )
        if delivery_id is not None:
            self._dues.append(Due(Kind.DELIVERY, delivery_id, at))

    def _keep_log(self, current: Deployment, after: Deployment, outcome: out.Outcome) -> None:
        match outcome:
            case out.StageFailed() if after.retry != current.retry:
                # That of the next build is the one to be read.
                return
            case out.BuildSucceeded(log=log) | out.StageFailed(log=log) | out.OpinionGiven(log=log):
                pass
            case out.JobNotReady(log=log) | out.ChecksDone(log=log) if after.failure is not None:
                pass
            case _:
                return
        if log is not None:
            kind = "build" if current.state is State.BUILDING else "job"
            kind = "latest" if isinstance(outcome, out.OpinionGiven) else kind
            self._tx.put_log(current.id, kind, log.text, is_truncated=log.is_truncated, now=self._now)
            self._tx.forget_logs(current.preview_id, keep=self._policy.logs_per_preview)

    def _adapt(self, outcome: out.Outcome) -> None:
        """Ask less of Toolforge when it complains, carefully more when builds go well."""
        went_well = isinstance(outcome, out.BuildSucceeded)
        if not went_well and not (isinstance(outcome, out.NotNow) and outcome.throttled):
            return
        limits = self._policy.limits
        before = self._tx.ceiling(limits)
        after = before.eased(limits) if went_well else before.lowered()
        if after != before:
            self._tx.put_switch("ceiling", asdict(after))

    def record_cleaning(
        self, claim: Claim, current: Account, outcome: out.CleaningOutcome, bytes_seen: int | None
    ) -> None:
        """Write down what one try at cleaning brought back; when it is over, end the lease."""
        if current.bytes_before is None:
            current = replace(current, bytes_before=bytes_seen)
        poll_seconds = self._policy.clean_poll_seconds
        after = pool.apply(
            current,
            outcome,
            self._now,
            poll_seconds=poll_seconds,
            inspect_seconds=self._policy.janitor_seconds,
        )
        why = outcome.reason if isinstance(outcome, out.CleaningFailed | out.FoundForeign) else ""
        self.put_account(current, after, claim=claim, why=why)
        if after.state is current.state:
            return
        bytes_after = outcome.bytes_after if isinstance(outcome, out.Cleaned) else None
        had_it = self._tx.close_lease(current, self._now, before=current.bytes_before, after=bytes_after)
        for preview_id in had_it:
            self.report(preview_id, at_once=True)
            if bytes_after is not None:
                receipt = f"{size(current.bytes_before or 0)} of images before, {size(bytes_after)} after"
                why = f"{current.name} was given back clean: {receipt}"
                self.note(after, why, preview_id=preview_id)
        self.plan_again = True

    def take_down(self, live: Deployment, why: str) -> None:
        """Stop one live deployment; what else its preview has goes on."""
        self._tx.set_preview(live.preview_id, expires_at=None, stop_reason=why)
        self.put_deployment(live, preview.stop(live, self._now), why=why)
        self.release_if_done(live.preview_id)
        self.plan_again = True

    def _release_of(self, settled: Deployment) -> None:
        """Give back the account that the deployment was on, and the one that its preview has."""
        own = self._tx.account_of(settled.preview_id)
        if own is not None:
            self.release_if_unused(own.id)
        if settled.account_id is not None and (own is None or own.id != settled.account_id):
            self.release_if_unused(settled.account_id)


def _applies_anew(refusal: Refusal | None, reason: str | None, seen: MergeRequest) -> bool:
    """Whether what was left out may apply by now: the rules, or what the filters looked at, have changed."""
    if refusal is None or reason is not None:
        return False
    return bool(refusal.facts.get(_BY_RULES)) or dict(refusal.facts) != filters.facts(seen)


def _why(outcome: out.Outcome) -> str:
    """The sentence of the timeline where the outcome knows better than the transition table."""
    match outcome:
        case out.StageFailed(failure):
            return failure.summary
        case out.WrongCommit(_, resolved):
            return f"the merge request moved to {resolved} before the build"
        case out.AccountUnusable(reason):
            return reason
        case out.DoesNotApply(refusal):
            return f"does not apply here: {refusal.why}"
        case _:
            return ""
