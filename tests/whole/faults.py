"""Faults of the local twins, armed over their own interfaces."""

from __future__ import annotations

import json
import ssl
import urllib.request
from typing import Any

from deploy.stack import Stack


def arm_toolforge(stack: Stack, kind: str, operation: str, **settings: Any) -> int:
    """Let the local Toolforge fail at `operation`, such as ``builds.start``; the number of the rule."""
    body = {"kind": kind, "operation": operation, **settings}
    return int(_post(f"{stack.places.toolforge_admin_url}/faults", body, {})["id"])


def toolforge_hits(stack: Stack) -> dict[int, int]:
    """How often each armed rule of the local Toolforge has struck, by its number."""
    with urllib.request.urlopen(f"{stack.places.toolforge_admin_url}/faults") as response:
        return {rule["id"]: rule["hits"] for rule in json.load(response)["faults"]}


def disarm_toolforge(stack: Stack, rule: int) -> None:
    """Take a rule away: the fault is over."""
    url = f"{stack.places.toolforge_admin_url}/faults/{rule}"
    with urllib.request.urlopen(urllib.request.Request(url, method="DELETE")) as response:
        response.read()


def leave_envvar(stack: Stack, account: str, name: str) -> None:
    """Set an envvar in an account, as somebody with its certificate could."""
    with stack.parts.store.read() as tx:
        known = tx.account_named(account)
        assert known is not None
        files = tx.credentials(known.id)
    context = ssl.create_default_context(cafile=str(stack.parts.settings.toolforge_ca_file))
    context.load_cert_chain(files["cert"], files["key"])
    url = f"{stack.parts.settings.toolforge_url}/envvars/v1/tool/{account}/envvars"
    _post(url, {"name": name, "value": "left behind"}, {}, context)


def arm_gitlab(stack: Stack, kind: str, operation: str, **settings: Any) -> None:
    """Let the local GitLab fail at `operation`, such as ``POST /projects/:id/statuses/:sha``."""
    headers = {"PRIVATE-TOKEN": stack.places.gitlab_root_token}
    body = {"kind": kind, "operation": operation, **settings}
    _post(f"{stack.places.gitlab_url}/-/local/faults", body, headers)


def gitlab_still_to_fail(stack: Stack) -> list[str]:
    """The operations at which the local GitLab is still to fail."""
    headers = {"PRIVATE-TOKEN": stack.places.gitlab_root_token}
    request = urllib.request.Request(f"{stack.places.gitlab_url}/-/local/faults", headers=headers)
    with urllib.request.urlopen(request) as response:
        return [fault["operation"] for fault in json.load(response)]


def _post(
    url: str, body: dict[str, Any], headers: dict[str, str], context: ssl.SSLContext | None = None
) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, context=context) as response:
        return json.loads(response.read() or b"null")
