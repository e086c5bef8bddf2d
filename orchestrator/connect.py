"""Connecting what is outside: GitLab projects and dev tool accounts, each tried before it is taken."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator import signing
from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput, TryLater
from orchestrator.gitlab import GitLabBusy, GitLabError, Missing, NotPermitted
from orchestrator.records import Due, Kind, Project
from orchestrator.toolforge import Gone, NotAllowed

#: Doubled separators map to another image project on Toolforge, and such tools cannot be built.
_TOOL = re.compile(r"[a-z](?:[a-z0-9]|[-_](?![-_])){0,62}")


#: So long secrets count that GitLab has been given new ones for.
_OLD_SECRETS_SECONDS = 600.0
#: Or so long, where GitLab's answer was lost: nobody knows which ones it uses until it takes new ones.
_UNSURE_SECONDS = 10 * 365 * 86400.0
_MOST_SECRETS = 10


def connect_project(
    parts: Parts, path: str, *, checks: Sequence[tuple[str, int | None]], now: float
) -> list[Due]:
    """Connect a GitLab project: make its webhook with a fresh secret, and look at its open merge requests.

    Connected already, it gets a new secret, and keeps its checks where none are given. Raises
    :class:`BadInput` when GitLab does not let us; nothing is changed then.
    """
    try:
        seen = parts.gitlab.project(path)
        project_id = int(seen.get("id") or 0)
        listed = parts.gitlab.open_merge_requests(project_id)
        own_id = _change_secret(parts, seen, project_id, checks, now)
    except Missing:
        raise BadInput(f"GitLab knows no project '{path}', or the token cannot see it.") from None
    except NotPermitted as error:
        raise BadInput(
            f"The GitLab token may not connect '{path}'. It needs the scope api, and its user the Maintainer "
            f"role in the project: make such a token, or have a Maintainer raise the role. ({error})"
        ) from None
    return _look_at(parts, own_id, list(listed), now)


def _change_secret(
    parts: Parts,
    seen: Mapping[str, Any],
    project_id: int,
    checks: Sequence[tuple[str, int | None]],
    now: float,
) -> int:
    """Give webhook and database fresh secrets; those before count until all deliveries have arrived."""
    secret = secrets.token_urlsafe(32)
    with parts.store.write() as tx:
        before = tx.project_by_gitlab_id(project_id)
        fresh = _fresh(before, signing.digest(secret), now)
        checks = checks or (before.checks if before else ())
        description = _description(seen, checks)
        own_id = tx.put_project(gitlab_id=project_id, now=now, removed_at=None, **description, **fresh)
        if before is not None and before.removed_at is not None:
            tx.see_anew(own_id)
    generation = fresh["signing"][0] if fresh["signing"] else 1
    try:
        is_signed = parts.gitlab.add_hook(
            project_id,
            f"{parts.settings.public_url}/webhook/gitlab",
            secret,
            signing_token=_signing_token(parts, project_id, generation),
        )
    except GitLabError as error:
        with parts.store.write() as tx:
            if before is None:
                tx.remove_project(own_id)
            else:
                # GitLab may have taken the new secrets, where its answer was lost.
                kept = fresh if isinstance(error, GitLabBusy) else {}
                tx.put_project(gitlab_id=project_id, now=now, **(_as_before(before) | kept))
        raise
    with parts.store.write() as tx:
        signs = {"signing": fresh["signing"] or [generation]} if is_signed else {"signing": []}
        due_at = now + parts.settings.catch_up_seconds
        until = None if before is None else now + _OLD_SECRETS_SECONDS
        tx.put_project(gitlab_id=project_id, due_at=due_at, now=now, old_secrets_until=until, **signs)
    return own_id


def _fresh(before: Project | None, digest: str, now: float) -> dict[str, Any]:
    """The secrets that count until it is known whether GitLab has the new ones, which may be never.

    Where GitLab did not sign before, a key counts only once it is known that it will.
    """
    if before is None:
        return {"secret_digests": [digest], "signing": [], "old_secrets_until": None}
    # What GitLab uses after an answer that was lost is one of those that it was ever given since.
    is_unsure = (before.old_secrets_until or 0.0) > now + _OLD_SECRETS_SECONDS
    known = _MOST_SECRETS if is_unsure else 1
    generations = before.signing
    return {
        "secret_digests": [digest, *before.secret_digests[:known]],
        "signing": [generations[0] + 1, *generations[:known]] if generations else [],
        "old_secrets_until": now + _UNSURE_SECONDS,
    }


def _signing_token(parts: Parts, project_id: int, generation: int) -> str | None:
    secret_key = parts.settings.secret_key
    if secret_key is None:
        return None
    key = signing.signing_key(secret_key.get_secret_value(), project_id, generation)
    return signing.signing_token(key)


def _description(seen: Mapping[str, Any], checks: Sequence[tuple[str, int | None]]) -> dict[str, Any]:
    return {
        "path": str(seen["path_with_namespace"]),
        "web_url": str(seen["web_url"]),
        "git_url": str(seen["http_url_to_repo"]),
        "checks": [list(check) for check in checks],
    }


def _as_before(project: Project) -> dict[str, Any]:
    """What the project was connected with."""
    return {
        "path": project.path,
        "web_url": project.web_url,
        "git_url": project.git_url,
        "checks": [list(check) for check in project.checks],
        "secret_digests": list(project.secret_digests),
        "signing": list(project.signing),
        "old_secrets_until": project.old_secrets_until,
        "removed_at": project.removed_at,
    }


def disconnect_project(parts: Parts, project: Project, who: str, now: float) -> tuple[list[Due], str]:
    """Take nothing from a project any more, take down all that it has, and delete its webhook.

    Also returns why GitLab did not let the webhook be deleted; empty when it is gone.
    """
    dues = parts.lifecycle.disconnect(project.id, who, now)
    try:
        parts.gitlab.remove_hook(project.gitlab_id, f"{parts.settings.public_url}/webhook/gitlab")
    except GitLabError as error:
        return dues, str(error)
    return dues, ""


def path_in(parts: Parts, address: str) -> str:
    """The path ``group/name`` of a project's address in GitLab, or of a path.

    Raises :class:`BadInput` when the address is none of our GitLab's.
    """
    path = address
    if "://" in address:
        inside = address.removeprefix(f"{parts.gitlab.url}/")
        if inside == address:
            raise BadInput(f"'{address}' is not at {parts.gitlab.url}, the GitLab of this installation.")
        path = inside.partition("/-/")[0]
    path = path.strip("/").removesuffix(".git")
    if "/" not in path:
        raise BadInput(f"'{address}' is no project: give group/name, or its address in GitLab.")
    return path


def _look_at(parts: Parts, project_id: int, iids: Sequence[int], now: float) -> list[Due]:
    """As if GitLab had told us of each of these merge requests."""
    dues = []
    with parts.store.write() as tx:
        for iid in iids:
            key = f"connected-{iid}-{now:.3f}"
            delivery_id = tx.add_delivery(project_id, key, kind="merge_request", iid=iid, facts={}, now=now)
            if delivery_id is not None:
                dues.append(Due(Kind.DELIVERY, delivery_id, now))
    return dues


def add_account(parts: Parts, tool: str, credentials: Mapping[str, str], now: float) -> list[Due]:
    """Add a dev tool account to the pool; it is emptied and looked at before anybody gets it.

    Raises :class:`BadInput` when the name or the credentials are of no use; nothing is changed then.
    """
    with parts.store.read() as tx:
        if tx.account_named(tool) is not None:
            raise BadInput(
                f"Account '{tool}' is in the pool already. Other credentials are given to it by "
                "`toolforge-preview pool apply FILE`."
            )
    check_account(parts, tool, credentials)
    return parts.lifecycle.add_account(tool, credentials, "operator", now)


def check_account(parts: Parts, tool: str, credentials: Mapping[str, str]) -> None:
    """Raise :class:`BadInput` when no tool can have that name, or Toolforge refuses the credentials."""
    if not _TOOL.fullmatch(tool):
        raise BadInput(f"'{tool}' is no usable tool name: lower case letters, digits and single - or _.")
    try:
        with parts.toolforge.account(tool, credentials) as account:
            account.jobs()
    except (NotAllowed, Gone) as error:
        raise BadInput(f"Toolforge refuses the credentials of '{tool}': {error}") from None
    except TryLater as error:
        raise BadInput(f"The credentials of '{tool}' could not be tried: {error}") from None
