"""One step at a time against a local Toolforge: what it does there, and what it brings back."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from orchestrator import outcome as out
from orchestrator.belongings import PUBLISHED_JOB
from orchestrator.outcome import Pin, Retry
from orchestrator.preview import Deployment, State, Step
from orchestrator.rules import Rules
from orchestrator.settings import load_settings
from orchestrator.toolforge import AccountClient, BuildStatus, Busy, TooManyBuilds
from tests.worker.scene import (
    BROKEN,
    CRASHING,
    ENDLESS,
    GOOD,
    LATE,
    LOUD,
    MISSING,
    OTHER_SHA,
    PINNED,
    SHA,
    Workshop,
    a_deployment,
    a_site,
    built,
    job_named,
    sort,
    until,
)
from worker import build, deploy, teardown
from worker.step import Site


def started(account: AccountClient, iid: int = GOOD) -> Deployment:
    """A deployment whose build was started."""
    deployment = a_deployment(iid)
    outcome = build.start(a_site(account, deployment))
    assert isinstance(outcome, out.BuildStarted)
    return replace(deployment, step=Step.WATCH_BUILD, build_id=outcome.build_id)


def shown(deployment: Deployment) -> str:
    """A deployment's image as jobs-api keeps it: without the registry's host."""
    return str(deployment.image).partition("/")[2]


def ended(account: AccountClient, deployment: Deployment, **changes: object) -> out.Outcome:
    """What watching the build brings once it is over."""
    site = a_site(account, deployment, **changes)
    found: out.Outcome = until(lambda: (o := build.watch(site)) != out.BuildGoesOn() and o)
    return found


# --- starting a build ---------------------------------------------------------------------------------


def test_a_build_is_started_for_the_head_of_the_merge_request(account: AccountClient) -> None:
    deployment = started(account)
    (there,) = account.builds()
    assert (there.id, there.image_name) == (deployment.build_id, deployment.image_name)


def test_a_build_that_was_started_before_is_found_and_not_started_again(account: AccountClient) -> None:
    deployment = started(account, ENDLESS)
    assert build.start(a_site(account, deployment)) == out.BuildStarted(str(deployment.build_id))
    assert len(account.builds()) == 1


def test_a_build_that_toolforge_failed_is_not_taken_for_the_next_one(account: AccountClient) -> None:
    first = started(account)
    retried = replace(first, build_id=None, retry=Retry(str(first.build_id), "the image store was away"))
    again = build.start(a_site(account, retried))
    assert isinstance(again, out.BuildStarted)
    assert again.build_id != first.build_id
    assert build.start(a_site(account, retried)) == replace(again, tree="")


def test_a_build_whose_answer_was_lost_is_found_and_not_started_again(
    workshop: Workshop, account: AccountClient
) -> None:
    deployment = a_deployment()
    workshop.fault("lost", "builds.start")
    with pytest.raises(Exception, match="did not arrive"):
        build.start(a_site(account, deployment))
    (there,) = account.builds()
    assert build.start(a_site(account, deployment)) == out.BuildStarted(there.id)
    assert len(account.builds()) == 1


def test_the_build_of_another_deployment_is_not_taken_for_ones_own(account: AccountClient) -> None:
    first, second = started(account), started(account)
    assert first.build_id != second.build_id


def test_a_merge_request_that_moved_on_is_the_wrong_commit(account: AccountClient) -> None:
    outcome = build.start(a_site(account, a_deployment(sha=OTHER_SHA)))
    assert isinstance(outcome, out.WrongCommit)
    assert account.build(outcome.build_id).resolved_ref == outcome.resolved != OTHER_SHA


def test_a_build_of_another_commit_under_the_same_name_is_not_adopted(account: AccountClient) -> None:
    deployment = a_deployment()
    earlier = build.start(a_site(account, deployment))
    assert isinstance(earlier, out.BuildStarted)
    assert build.start(a_site(account, deployment)) == earlier, "its own is"
    outcome = build.start(a_site(account, replace(deployment, sha=OTHER_SHA)))
    assert isinstance(outcome, out.WrongCommit)
    assert outcome.build_id != earlier.build_id


def test_a_repository_that_cannot_be_cloned_fails_with_toolforges_words(account: AccountClient) -> None:
    first = build.start(a_site(account, a_deployment(MISSING)))
    assert isinstance(first, out.NotNow), "GitLab may be away for a moment"
    outcome = build.start(a_site(account, a_deployment(MISSING, attempts=2)))
    assert isinstance(outcome, out.StageFailed)
    assert outcome.failure.stage == "build"
    assert "exit status 128" in outcome.failure.summary
    assert "public" in outcome.failure.remedy


def test_no_build_is_started_when_the_lease_is_lost(account: AccountClient) -> None:
    def lost() -> None:
        raise RuntimeError("the lease is over")

    with pytest.raises(RuntimeError):
        build.start(a_site(account, a_deployment(), guard=lost))
    assert account.builds() == []


def test_too_many_builds_are_told_apart_from_other_conflicts(account: AccountClient) -> None:
    for _ in range(4):
        started(account, ENDLESS)
    with pytest.raises(TooManyBuilds):
        build.start(a_site(account, a_deployment()))


# --- merged results -----------------------------------------------------------------------------------

#: The head of a merge request; what is built resolves to its merge, `SHA`.
HEAD = OTHER_SHA


def merging(account: AccountClient, **changes: object) -> Site:
    """Where a project wants merged results, and GitLab merges the head as `SHA`."""
    site = a_site(account, a_deployment(sha=HEAD), merged_now=lambda: SHA, is_merge=lambda sha: sha == SHA)
    project = replace(site.project, rules=Rules(merged_result=True))
    return replace(site, project=project, **changes)  # type: ignore[arg-type]


def test_the_merge_is_built_and_found_again(workshop: Workshop, account: AccountClient) -> None:
    site = merging(account, tree=lambda sha: f"files of {sha[:1]}")
    outcome = build.start(site)
    assert isinstance(outcome, out.BuildStarted)
    assert (outcome.merged_sha, outcome.tree) == (SHA, "files of a")
    (there,) = workshop.toolforge.state()["tools"][workshop.tool]["builds"]
    assert there["ref"] == f"refs/merge-requests/{site.preview.iid}/merge"
    assert build.start(site) == out.BuildStarted(outcome.build_id, merged_sha=SHA)


def test_one_that_has_conflicts_is_built_alone(workshop: Workshop, account: AccountClient) -> None:
    site = merging(account, deployment=a_deployment(), merged_now=lambda: None)
    outcome = build.start(site)
    assert isinstance(outcome, out.BuildStarted)
    assert outcome.merged_sha is None
    (there,) = workshop.toolforge.state()["tools"][workshop.tool]["builds"]
    assert there["ref"].endswith("/head")


def test_an_old_merge_is_not_built(account: AccountClient) -> None:
    stale = merging(account, is_merge=lambda sha: False)
    assert isinstance(build.start(stale), out.NotNow)
    moved = replace(stale, head_now=lambda: "c" * 40)
    assert build.start(moved) == out.WrongCommit(None, "c" * 40)
    assert account.builds() == []


def test_a_merge_of_another_head_that_was_built_in_between_is_the_wrong_commit(
    account: AccountClient,
) -> None:
    merges = iter([True, False])
    outcome = build.start(merging(account, is_merge=lambda sha: next(merges)))
    assert isinstance(outcome, out.WrongCommit)
    assert (outcome.resolved, outcome.build_id is None) == (SHA, False)


def test_files_of_a_merge_that_moved_on_meanwhile_are_not_known(account: AccountClient) -> None:
    site = merging(account, merged_now=lambda: "c" * 40, is_merge=lambda sha: True, tree=lambda sha: "files")
    outcome = build.start(site)
    assert isinstance(outcome, out.BuildStarted)
    assert (outcome.merged_sha, outcome.tree) == (SHA, "")


def test_an_image_of_the_same_merge_is_run_again(account: AccountClient) -> None:
    before = built(account)
    site = merging(account, reusable=lambda sha, tree: before.image if sha == SHA else None)
    assert build.start(site) == out.BuildReused(str(before.image), "", SHA)


# --- watching a build ---------------------------------------------------------------------------------


def test_a_build_that_runs_goes_on(account: AccountClient) -> None:
    assert build.watch(a_site(account, started(account, ENDLESS))) == out.BuildGoesOn()


def test_a_build_that_ends_well_brings_its_image_by_digest_and_its_log(account: AccountClient) -> None:
    outcome = ended(account, started(account))
    assert isinstance(outcome, out.BuildSucceeded)
    assert "@sha256:" in outcome.image
    assert outcome.log is not None
    assert "built" in outcome.log.text
    assert outcome.bytes_used
    assert outcome.bytes_limit


def test_a_store_that_cannot_be_read_does_not_hold_the_verdict_up(
    workshop: Workshop, account: AccountClient
) -> None:
    deployment = started(account)
    workshop.fault("status", "builds.quotas", status=503, count=None)
    outcome = ended(account, deployment)
    assert isinstance(outcome, out.BuildSucceeded)
    assert (outcome.bytes_used, outcome.bytes_limit) == (None, None)
    assert len(list(workshop.toolforge.faults)) == 1
    assert next(iter(workshop.toolforge.faults)).hits > 0


def test_an_image_of_the_same_files_is_run_instead_of_built_again(account: AccountClient) -> None:
    before = built(account)
    again = a_site(account, a_deployment(), reusable=lambda sha, tree: before.image)
    assert build.start(again) == out.BuildReused(str(before.image))
    forgotten = a_site(account, a_deployment(), reusable=lambda sha, tree: "tool-x/gone:latest@sha256:0")
    assert isinstance(build.start(forgotten), out.BuildStarted)
    anew = a_site(account, a_deployment(trigger="rebuild"), reusable=lambda sha, tree: before.image)
    assert isinstance(build.start(anew), out.BuildStarted)


def test_a_build_that_fails_brings_cause_and_log(account: AccountClient) -> None:
    outcome = ended(account, started(account, BROKEN))
    assert isinstance(outcome, out.StageFailed)
    assert outcome.failure.summary == "the Python dependencies could not be installed"
    assert "the last words" in outcome.failure.excerpt
    assert outcome.log is not None
    assert "the last words" in outcome.log.text


def test_a_version_that_is_refused_is_looked_up_in_the_commit(account: AccountClient) -> None:
    pin = Pin("Python", "3.99", ".python-version")
    asked: list[str] = []

    def pins(runtime: str) -> tuple[Pin, ...]:
        asked.append(runtime)
        return (pin,)

    assert ended(account, started(account, BROKEN), pins=pins).refused == ()
    assert asked == []
    assert ended(account, started(account, PINNED), pins=pins).refused == (pin,)
    assert asked == ["Python"]


def test_a_long_log_is_kept_with_its_end(account: AccountClient) -> None:
    outcome = ended(
        account, started(account, LOUD), settings=load_settings(gitlab_token="none", log_limit_bytes=1000)
    )
    assert isinstance(outcome, out.BuildSucceeded)
    assert outcome.log is not None
    assert outcome.log.is_truncated
    assert len(outcome.log.text.encode()) <= 1000
    assert "the end" in outcome.log.text
    assert "line 10 " not in outcome.log.text


def test_a_log_that_breaks_off_does_not_change_the_verdict(
    workshop: Workshop, account: AccountClient
) -> None:
    deployment = started(account)
    workshop.fault("status", "builds.logs", status=500, count=None)
    outcome = ended(account, deployment)
    assert isinstance(outcome, out.BuildSucceeded)
    assert outcome.log is not None
    assert "could not be read" in outcome.log.text


def test_a_build_that_was_pruned_has_vanished(account: AccountClient) -> None:
    deployment = started(account)
    account.delete_build(str(deployment.build_id))
    assert build.watch(a_site(account, deployment)) == out.BuildVanished()


# --- jobs ---------------------------------------------------------------------------------------------


def test_a_candidate_runs_beside_the_published_job_and_is_not_published(
    workshop: Workshop, account: AccountClient
) -> None:
    good, new = built(account), built(account)
    assert deploy.publish(a_site(account, good)) == out.JobStarted()
    assert deploy.start_candidate(a_site(account, new)) == out.JobStarted()
    assert workshop.images() == {
        PUBLISHED_JOB: shown(good),
        new.candidate_name: shown(new),
    }
    until(lambda: deploy.watch_candidate(a_site(account, new)) == out.JobReady())


def test_a_tool_can_know_where_it_is_served(workshop: Workshop, account: AccountClient) -> None:
    deployment = built(account)
    deploy.start_candidate(a_site(account, deployment, address="https://dev.example.org/"))
    envvars = workshop.toolforge.state()["tools"][workshop.tool]["envvars"]
    assert envvars["PREVIEW_URL"] == "https://dev.example.org/"


def test_publishing_again_changes_nothing_and_publishing_another_swaps_in_place(
    workshop: Workshop,
    account: AccountClient,
) -> None:
    good, new = built(account), built(account)
    for deployment in (good, good, new):
        assert deploy.publish(a_site(account, deployment)) == out.JobStarted()
    assert workshop.images() == {PUBLISHED_JOB: shown(new)}
    until(lambda: deploy.watch_job(a_site(account, new)) == out.JobReady())


def test_an_image_that_the_registry_does_not_show_just_now_is_tried_again(
    account: AccountClient,
) -> None:
    missing = replace(built(account), image=f"tool-{account.tool}/mr9-d9:latest@sha256:{'0' * 64}")
    outcome = deploy.publish(a_site(account, missing))
    assert isinstance(outcome, out.NotNow)
    assert "No such image" in outcome.reason
    assert not outcome.throttled


def test_a_job_that_toolforge_refuses_fails_with_its_words(
    workshop: Workshop, account: AccountClient
) -> None:
    deployment = built(account)
    body = '{"error": ["Requested memory 9Gi is over maximum allowed per container (6Gi)"]}'
    workshop.fault("status", "jobs.update", status=400, body=body)
    outcome = deploy.publish(a_site(account, deployment))
    assert isinstance(outcome, out.StageFailed)
    assert outcome.failure.stage == "start"
    assert "over maximum allowed" in outcome.failure.summary


def test_a_crash_loop_fails_with_exit_code_and_log(account: AccountClient) -> None:
    deployment = built(account, CRASHING)
    deploy.publish(a_site(account, deployment))
    outcome = until(
        lambda: isinstance(o := deploy.watch_job(a_site(account, deployment)), out.StageFailed) and o
    )
    assert outcome.failure.stage == "start"
    assert "exit code 3" in outcome.failure.summary
    assert "Traceback: no module" in outcome.failure.excerpt
    assert "Traceback: no module" in outcome.log.text


def test_what_a_job_wrote_before_the_deployment_began_is_not_its_log(account: AccountClient) -> None:
    deployment = built(account, CRASHING)
    deploy.publish(a_site(account, deployment))
    until(lambda: "no module" in deploy.job_log(a_site(account, deployment)).text)
    began = {**(deployment.entered or {}), State.STARTING: time.time()}
    assert "no module" in deploy.job_log(a_site(account, replace(deployment, entered=began))).text
    later = began | {State.STARTING: time.time() + 100.0}
    assert deploy.job_log(a_site(account, replace(deployment, entered=later))).text == ""


def test_a_job_that_is_not_there_has_vanished(account: AccountClient) -> None:
    assert deploy.watch_job(a_site(account, a_deployment(image="tool-t/mr1-d1"))) == out.JobVanished()


def test_a_job_that_is_late_is_told_with_its_log_only_when_its_time_is_over(account: AccountClient) -> None:
    deployment = built(account, LATE)
    deploy.publish(a_site(account, deployment))
    early = deploy.watch_job(a_site(account, deployment))
    assert isinstance(early, out.JobNotReady)
    assert early.failure is None
    late = until(lambda: (o := deploy.watch_job(a_site(account, deployment, now=1e6))) and o.failure and o)
    assert late.failure.excerpt == late.log.text == "still loading"


def test_the_good_image_is_put_back(workshop: Workshop, account: AccountClient) -> None:
    good, bad = built(account), built(account)
    deploy.publish(a_site(account, bad))
    assert deploy.roll_back(a_site(account, bad, serving=good)) == out.RolledBack()
    assert workshop.images() == {PUBLISHED_JOB: shown(good)}


def test_with_nothing_good_there_is_nothing_to_put_back(workshop: Workshop, account: AccountClient) -> None:
    assert deploy.roll_back(a_site(account, built(account))) == out.RolledBack()
    assert account.jobs() == []


# --- tidying ------------------------------------------------------------------------------------------


def over(deployment: Deployment, state: State) -> Deployment:
    return replace(deployment, state=state, step=Step.TIDY)


def test_tidying_cancels_a_running_build_and_waits_for_its_end(account: AccountClient) -> None:
    other = started(account, ENDLESS)
    cancelled = over(started(account, ENDLESS), State.CANCELLED)
    assert teardown.tidy(a_site(account, cancelled)) == out.TidyGoesOn()
    until(lambda: teardown.tidy(a_site(account, cancelled)) == out.Tidied())
    ends = {b.id: (b.has_ended, b.status) for b in account.builds()}
    assert ends[str(cancelled.build_id)] == (True, BuildStatus.CANCELLED)
    assert ends[str(other.build_id)][0] is False, "it is none of our business"


def test_tidying_before_a_build_was_started_is_done_at_once(account: AccountClient) -> None:
    assert teardown.tidy(a_site(account, over(a_deployment(), State.SUPERSEDED))) == out.Tidied()


def test_tidying_takes_the_candidate_away_and_leaves_the_published_job(account: AccountClient) -> None:
    good, bad = built(account), replace(built(account), had_candidate=True)
    deploy.publish(a_site(account, good))
    deploy.start_candidate(a_site(account, bad))
    tidied = teardown.tidy(a_site(account, over(bad, State.FAILED), serving=good))
    assert tidied == out.Tidied()
    assert job_named(account, PUBLISHED_JOB) is not None
    assert job_named(account, bad.candidate_name) is None


def test_tidying_a_failure_takes_its_own_published_job_away(account: AccountClient) -> None:
    bad = built(account)
    deploy.publish(a_site(account, bad))
    assert teardown.tidy(a_site(account, over(bad, State.FAILED))) == out.Tidied()
    assert account.jobs() == []


def test_tidying_does_not_touch_the_address_that_another_deployment_is_tried_at(
    account: AccountClient,
) -> None:
    bad, other = built(account), built(account)
    deploy.publish(a_site(account, other))
    teardown.tidy(a_site(account, over(bad, State.FAILED), address_busy=True))
    assert job_named(account, PUBLISHED_JOB) is not None


# --- cleaning -----------------------------------------------------------------------------------------


def clean(account: AccountClient) -> out.CleaningOutcome:
    return teardown.clean(account, sort(account), lambda: None, is_late=False)[0]


def limit(account: AccountClient) -> int | None:
    return account.store_use().limit


def emptied(account: AccountClient) -> out.CleaningOutcome:
    """What the last of as many cleanings as it takes brings."""
    return until(lambda: isinstance(o := clean(account), out.Cleaned) and o)  # type: ignore[no-any-return]


def test_an_account_that_was_never_used_is_clean(account: AccountClient) -> None:
    assert clean(account) == out.Cleaned(0, 0, limit(account))


def test_a_cleaning_empties_everything_and_says_how_much_there_was(account: AccountClient) -> None:
    deploy.publish(a_site(account, built(account)))
    account.set_envvar("PREVIEW_FORGOTTEN", "x")
    used = account.store_use().used
    assert used > 0
    outcome, seen = teardown.clean(account, sort(account), lambda: None, is_late=False)
    assert seen == used
    emptied(account)
    assert isinstance(outcome, out.Cleaned | out.CleaningGoesOn)
    assert (account.jobs(), account.builds(), account.envvars()) == ([], [], [])
    assert account.store_use().used == 0


def test_a_cleaning_leaves_the_envvars_that_operators_have_set(account: AccountClient) -> None:
    account.set_envvar("DUMMY_SECRET", "x")
    deploy.publish(a_site(account, built(account)))
    assert isinstance(emptied(account), out.Cleaned)
    assert account.envvars() == ["DUMMY_SECRET"]


def test_images_are_not_deleted_while_a_build_could_still_push_one(account: AccountClient) -> None:
    built(account)
    started(account, ENDLESS)
    before = account.store_use().used
    assert clean(account) == out.CleaningGoesOn("a cancelled build has not ended yet")
    assert account.store_use().used == before
    emptied(account)
    assert account.store_use().used == 0


def test_a_cleaning_that_aborts_half_way_is_carried_on_by_the_next(
    workshop: Workshop, account: AccountClient
) -> None:
    for _ in range(3):
        built(account)
    workshop.fault("clean_fails", count=1, after=1)
    with pytest.raises(Busy, match="error trying to delete artifact"):
        clean(account)
    assert account.store_use().used > 0
    assert isinstance(emptied(account), out.Cleaned)


def test_an_image_project_that_does_not_exist_is_clean(account: AccountClient) -> None:
    account.delete_images()


def test_a_cleaning_says_what_remains(workshop: Workshop, account: AccountClient) -> None:
    deploy.publish(a_site(account, built(account)))
    workshop.fault("status", "jobs.delete", status=404, body='{"error": ["Job does not exist"]}')
    outcome = clean(account)
    assert isinstance(outcome, out.CleaningGoesOn)
    assert outcome.remaining == "job preview"


def test_nothing_is_deleted_when_the_lease_is_lost(account: AccountClient) -> None:
    deploy.publish(a_site(account, built(account)))

    def lost() -> None:
        raise RuntimeError("the lease is over")

    with pytest.raises(RuntimeError):
        teardown.clean(account, sort(account), lost, is_late=False)
    assert len(account.jobs()) == 1
    assert account.store_use().used > 0


# --- what somebody else left ---------------------------------------------------------------------------


def test_what_is_foreign_is_left_alone_and_named(workshop: Workshop, account: AccountClient) -> None:
    deploy.publish(a_site(account, built(account)))
    workshop.leaves_job(account)
    theirs = workshop.leaves_build(account)
    used = account.store_use().used
    for _ in range(2):
        outcome = clean(account)
        assert outcome == out.FoundForeign(
            f"somebody else uses it: found job cronjob, build {theirs}, image their-tool"
        )
    assert [job.name for job in account.jobs()] == ["cronjob"], "ours is gone"
    assert [one.id for one in account.builds()] == [theirs]
    assert account.envvars() == []
    assert account.store_use().used == used, "images go all at once, or not at all"


def test_an_account_is_clean_by_itself_once_the_foreign_things_are_gone(
    workshop: Workshop, account: AccountClient
) -> None:
    deploy.publish(a_site(account, built(account)))
    workshop.leaves_job(account)
    assert isinstance(clean(account), out.FoundForeign)
    account.delete_job("cronjob")
    assert isinstance(clean(account), out.Cleaned)
    assert account.store_use().used == 0


def test_a_registry_that_lists_nothing_just_now_does_not_hide_what_is_foreign(
    workshop: Workshop, account: AccountClient
) -> None:
    deploy.publish(a_site(account, built(account)))
    theirs = workshop.leaves_build(account)
    account.delete_build(theirs)
    used = account.store_use().used
    workshop.fault("status", "jobs.images", status=200, body='{"images": []}', count=1)
    assert clean(account) == out.CleaningGoesOn("images that are not listed")
    assert account.store_use().used == used
    assert clean(account) == out.FoundForeign("somebody else uses it: found image their-tool")


def test_a_foreign_build_that_runs_keeps_the_images(workshop: Workshop, account: AccountClient) -> None:
    built(account)
    url = "https://gitlab.example.org/group/theirs.git"
    theirs = account.start_build(source_url=url, ref="x", image_name=f"mr{ENDLESS}-by-hand")
    assert isinstance(clean(account), out.FoundForeign)
    assert not account.build(theirs.id).has_ended
    assert account.store_use().used > 0


def test_things_called_like_ours_that_we_know_nothing_of_are_foreign(
    workshop: Workshop, account: AccountClient
) -> None:
    theirs = workshop.leaves_build(account, "mr1-d999999")
    outcome = clean(account)
    assert isinstance(outcome, out.FoundForeign)
    assert "image mr1-d999999" in outcome.reason
    assert account.build(theirs).has_ended


def test_an_operators_order_deletes_what_is_foreign_but_no_envvars(
    workshop: Workshop, account: AccountClient
) -> None:
    workshop.leaves_job(account)
    workshop.leaves_build(account)
    account.set_envvar("DUMMY_SECRET", "x")

    def cleaned() -> bool:
        outcome, _ = teardown.clean(account, sort(account), lambda: None, is_late=False, everything=True)
        return isinstance(outcome, out.Cleaned)

    until(cleaned)
    assert (account.jobs(), account.builds(), account.store_use().used) == ([], [], 0)
    assert account.envvars() == ["DUMMY_SECRET"]


def test_a_slow_toolforge_does_not_change_what_a_step_brings(
    workshop: Workshop, account: AccountClient
) -> None:
    workshop.fault("slow", "builds.start", seconds=20)
    begun = time.monotonic()
    started(account)
    assert time.monotonic() - begun >= 0.2
