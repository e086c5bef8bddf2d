"""Connecting what is outside: GitLab projects and dev tool accounts, each tried before it is taken."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence

from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput, TryLater
from orchestrator.gitlab import Missing, NotPermitted
from orchestrator.records import Due, Kind
from orchestrator.toolforge import Gone, NotAllowed

#: Doubled separators map to another image project on Toolforge, and such tools cannot be built.
_TOOL = re.compile(r"[a-z](?:[a-z0-9]|[-_](?![-_])){0,62}")


def connect_project(
    parts: Parts, path: str, *, checks: Sequence[tuple[str, int | None]], now: float
) -> list[Due]:
    """Connect a GitLab project: make its webhook with a fresh secret, and look at its open merge requests.

    Connected already, it gets a new secret. Raises :class:`BadInput` when GitLab does not let us.
    """
    try:
        seen = parts.gitlab.project(path)
        project_id = int(seen["id"])
        open_iids = parts.gitlab.open_merge_requests(project_id)
        secret = secrets.token_urlsafe(32)
        # The secret is stored first: a delivery that comes at once is already known to be authentic.
        with parts.store.write() as tx:
            own_id = tx.put_project(
                gitlab_id=project_id,
                path=str(seen["path_with_namespace"]),
                web_url=str(seen["web_url"]),
                git_url=str(seen["http_url_to_repo"]),
                secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
                checks=[list(check) for check in checks],
                now=now,
            )
        parts.gitlab.add_hook(project_id, f"{parts.settings.public_url}/webhook/gitlab", secret)
    except Missing:
        raise BadInput(f"GitLab knows no project '{path}', or the token cannot see it.") from None
    except NotPermitted as error:
        raise BadInput(
            f"The GitLab token may not connect '{path}' (it needs scope api and the Maintainer role): {error}"
        ) from None
    return _look_at(parts, own_id, open_iids, now)


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
    if not _TOOL.fullmatch(tool):
        raise BadInput(f"'{tool}' is no usable tool name: lower case letters, digits and single - or _.")
    with parts.store.read() as tx:
        if tx.account_named(tool) is not None:
            raise BadInput(f"Account '{tool}' is in the pool already.")
    _try_credentials(parts, tool, credentials)
    with parts.store.write() as tx:
        return [Due(Kind.ACCOUNT, tx.add_account(tool, credentials, now), now)]


def _try_credentials(parts: Parts, tool: str, credentials: Mapping[str, str]) -> None:
    try:
        with parts.toolforge.account(tool, credentials) as account:
            account.jobs()
    except (NotAllowed, Gone) as error:
        raise BadInput(f"Toolforge refuses the credentials of '{tool}': {error}") from None
    except TryLater as error:
        raise BadInput(f"The credentials of '{tool}' could not be tried: {error}") from None
