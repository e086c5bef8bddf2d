"""Who is believed to be GitLab: tokens, signatures, replays, and both while secrets change."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.records import Project
from orchestrator.signing import (
    TOLERANCE_SECONDS,
    digest,
    refusal,
    session_key,
    signing_key,
    signing_token,
    trusted,
)

NOW = 1_790_000_000.0
INSTALLATION = "a secret of the installation, 32 or more"
BODY = b'{"object_kind": "merge_request"}'
PROJECT = Project(
    id=1,
    gitlab_id=77,
    path="group/tool",
    web_url="",
    git_url="",
    secret_digests=(digest("new"), digest("old")),
    checks=(),
    created_at=0.0,
)
SIGNED = replace(PROJECT, signing=(3, 2))
CHANGING = NOW + 60.0


def signed(generation: int = 3, *, at: float = NOW, body: bytes = BODY, key: str = "id-1") -> dict[str, str]:
    """As the specification says, written out anew."""
    secret = base64.b64decode(signing_token(signing_key(INSTALLATION, 77, generation)).split("_")[1])
    message = key.encode() + b"." + str(int(at)).encode() + b"." + body
    mac = base64.b64encode(hmac.new(secret, message, hashlib.sha256).digest()).decode()
    return {"webhook-id": key, "webhook-timestamp": str(int(at)), "webhook-signature": f"v1,{mac}"}


def refused(project: Project, headers: dict[str, str], body: bytes = BODY) -> str | None:
    return refusal(trusted(project, INSTALLATION, NOW), headers, body, NOW)


def test_sessions_have_a_key_of_their_own_for_each_gitlab() -> None:
    keys = {session_key(INSTALLATION, "https://gitlab.example"), session_key(INSTALLATION, "https://other")}
    assert len(keys) == 2
    assert session_key("other" * 8, "https://gitlab.example") not in keys
    assert not keys & {signing_key(INSTALLATION, 77, 1)}


def test_the_newest_token_counts_where_gitlab_does_not_sign() -> None:
    assert refused(PROJECT, {"x-gitlab-token": "new"}) is None
    for wrong in ({"x-gitlab-token": "old"}, {"x-gitlab-token": ""}, {}):
        assert "X-Gitlab-Token" in str(refused(PROJECT, wrong))


def test_the_token_before_counts_while_deliveries_with_it_are_on_their_way() -> None:
    changing = replace(PROJECT, old_secrets_until=CHANGING)
    assert refused(changing, {"x-gitlab-token": "old"}) is None
    assert refused(replace(PROJECT, old_secrets_until=NOW - 1), {"x-gitlab-token": "old"}) is not None


def test_a_signature_counts_and_a_token_alone_does_not() -> None:
    assert refused(SIGNED, signed()) is None
    assert "webhook-timestamp" in str(refused(SIGNED, {"x-gitlab-token": "new"}))


def test_the_key_before_counts_only_while_it_is_being_changed() -> None:
    assert "wrong" in str(refused(SIGNED, signed(2)))
    assert refused(replace(SIGNED, old_secrets_until=CHANGING), signed(2)) is None
    assert "wrong" in str(refused(replace(SIGNED, old_secrets_until=CHANGING), signed(1)))


def test_a_token_still_counts_when_gitlab_has_only_just_begun_to_sign() -> None:
    begun = replace(PROJECT, signing=(1,), old_secrets_until=CHANGING)
    assert refused(begun, {"x-gitlab-token": "old"}) is None
    assert refused(begun, signed(1)) is None
    assert refused(begun, {**signed(2), "x-gitlab-token": "new"}) is not None, "a wrong signature is wrong"
    assert refused(replace(begun, old_secrets_until=None), {"x-gitlab-token": "new"}) is not None


def test_several_signatures_may_be_sent_and_one_has_to_fit() -> None:
    headers = signed()
    headers["webhook-signature"] = f"v1,AAAA v1a,BBBB {headers['webhook-signature']}"
    assert refused(SIGNED, headers) is None


@pytest.mark.parametrize("seconds", [-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1])
def test_a_replay_is_refused(seconds: float) -> None:
    assert "clock" in str(refused(SIGNED, signed(at=NOW + seconds)))


def test_nothing_that_is_signed_can_be_changed() -> None:
    assert refused(SIGNED, signed(), BODY + b" ") is not None
    assert refused(SIGNED, {**signed(), "webhook-id": "id-2"}) is not None
    assert refused(SIGNED, {**signed(), "webhook-timestamp": str(int(NOW) + 1)}) is not None


def test_projects_do_not_share_a_key() -> None:
    assert signing_key(INSTALLATION, 77, 1) != signing_key(INSTALLATION, 78, 1)
    assert refused(replace(SIGNED, gitlab_id=78), signed()) is not None


def test_without_the_installations_secret_the_token_is_all_there_is() -> None:
    found = trusted(SIGNED, None, NOW)
    assert refusal(found, {"x-gitlab-token": "new"}, BODY, NOW) is None


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()))
def test_whatever_stands_in_the_headers_it_is_refused(headers: dict[str, str]) -> None:
    assert refused(SIGNED, headers) is not None
