"""Maintainers set which merge requests get a preview, and give the webhook new secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import pytest

from orchestrator.records import Project
from orchestrator.rules import Drafts, Forks
from tests.web.house import House, Visitor
from tests.web.test_pages import tags_in, words_in

SETTINGS = "/group/tool/-/settings"
HOSTILE = "</textarea><script>alert(1)</script>"


@pytest.fixture
def maintainer(house: House) -> Iterator[Visitor]:
    with house.visitor("maintainer") as visitor:
        yield visitor


def project(house: House) -> Project:
    with house.web.parts.store.read() as tx:
        return tx.project(house.web.project_id)


def form(visitor: Visitor, **changes: str) -> dict[str, str]:
    """What the form of the page sends when nothing but `changes` is written into it."""
    page = visitor.get(SETTINGS).text
    chosen = re.findall(
        r'<select class="cdx-select" name="(\w+)">.*?<option value="([\w-]+)" selected>', page
    )
    texts = re.findall(r'<textarea [^>]*name="(\w+)"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    lines = re.findall(r'name="(seen|life)" value="(\w*)"', page)
    return {**dict(chosen), **{name: unescape(text) for name, text in texts}, **dict(lines)} | changes


def sends(visitor: Visitor, **changes: str) -> str:
    """Sends the form, and reads what came of it."""
    answer = visitor.posts(SETTINGS, **form(visitor, **changes))
    assert answer.status_code == 303
    return words_in(visitor.get(answer.headers["Location"]).text)


def test_a_form_that_is_sent_as_it_is_changes_nothing(house: House, maintainer: Visitor) -> None:
    before = project(house).rules
    assert set(form(maintainer)) == {
        *("forks", "drafts", "check_only_bots", "build", "refused_versions", "watch_main", "life", "seen"),
        *("labels", "no_labels", "targets", "paths", "ignored_paths", "bots"),
    }
    assert "It is set so already." in sends(maintainer)
    assert project(house).rules == before
    assert house.web.parts.views.history("project") == []


def test_rules_are_set_and_it_is_written_down_by_whom(house: House, maintainer: Visitor) -> None:
    words = sends(
        maintainer,
        forks="never",
        drafts="wait",
        check_only_bots="no",
        build="merged-result",
        refused_versions="fail",
        watch_main="issue",
        life=" 36h ",
        paths=" src/* \r\n\r\nweb/*\n",
        labels=HOSTILE,
    )
    rules = project(house).rules
    assert (rules.forks, rules.drafts, rules.check_only_bots) == (Forks.NEVER, Drafts.WAIT, False)
    assert rules.paths == ("src/*", "web/*")
    assert rules.merged_result
    assert rules.life == "36h"
    changed = (
        "forks, drafts, labels, paths, check_only_bots, merged_result, refused_versions, watch_main, life"
    )
    assert f"max its rules are changed: {changed}" in words
    page = maintainer.get(SETTINGS).text
    assert "alert(1)" in page
    assert [tag for tag, _ in tags_in(page)].count("script") == 1, "our own file, and nothing else"
    assert form(maintainer)["labels"] == HOSTILE
    assert form(maintainer)["check_only_bots"] == "no"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"forks": "always"}, "cannot be chosen"),
        ({"drafts": ""}, "cannot be chosen"),
        ({"check_only_bots": "perhaps"}, "cannot be chosen"),
        ({"build": "nothing"}, "cannot be chosen"),
        ({"watch_main": "always"}, "cannot be chosen"),
        ({"life": "<b>long</b>"}, "is no duration such as 90m, 48h or 3d"),
        ({"life": "100d"}, "336h at most"),
        ({"paths": "x" * 300}, "1 to 255 characters"),
        ({"bots": "\n".join(f"bot-{number}" for number in range(60))}, "60 entries are too many"),
    ],
)
def test_what_cannot_be_is_told_and_changes_nothing(
    house: House, maintainer: Visitor, changes: dict[str, str], words: str
) -> None:
    before = project(house).rules
    assert words in sends(maintainer, **changes)
    assert project(house).rules == before


def test_of_two_who_change_at_once_the_second_is_told(house: House, maintainer: Visitor) -> None:
    given = form(maintainer, forks="never")
    with house.visitor("operator") as other:
        assert "It is set, and counts" in sends(other, drafts="wait")
    answer = maintainer.posts(SETTINGS, **given)
    assert "Somebody else has changed" in maintainer.get(answer.headers["Location"]).text
    assert (project(house).rules.forks, project(house).rules.drafts) == (Forks.APPROVAL, Drafts.WAIT)


def test_the_webhook_gets_new_secrets_that_nobody_sees(house: House, maintainer: Visitor) -> None:
    before = project(house)
    answer = maintainer.posts(f"{SETTINGS}/rotate")
    assert answer.status_code == 303
    page = maintainer.get(answer.headers["Location"]).text
    assert "The webhook has new secrets" in page
    assert "max its webhook has new secrets" in words_in(page)
    after = project(house)
    assert after.secret_digests[0] != before.secret_digests[0]
    assert after.old_secrets_until is not None, "those before count for a while"
    hooks = house.seeder.api("GET", f"/projects/{house.project.id}/hooks")
    (ours,) = [hook for hook in hooks if hook["url"] == f"{house.url}/webhook/gitlab"]
    assert ours["signing_token_present"] is True
    for secret in (*after.secret_digests, "whsec_", "k" * 40):
        assert secret not in page


def test_secrets_stay_as_they_were_when_gitlab_does_not_take_new_ones(
    house: House, maintainer: Visitor
) -> None:
    before = project(house)
    maintainer.get(SETTINGS)
    house.gitlab.faults.add("GET /projects/:id", "status", status=403, count=1)
    answer = maintainer.posts(f"{SETTINGS}/rotate")
    assert "The secrets are as they were" in maintainer.get(answer.headers["Location"]).text
    assert project(house) == before


def test_who_is_no_maintainer_sees_neither_the_page_nor_the_way_to_it(house: House) -> None:
    for who in ("nobody", "developer"):
        with house.visitor(who) as visitor:
            assert SETTINGS not in visitor.get("/group/tool/-/").text
            assert visitor.get(SETTINGS).status_code == 403
    with house.visitor("maintainer") as visitor:
        assert f'href="{SETTINGS}"' in visitor.get("/group/tool/-/").text
