"""Faults of the local twins, armed over their own interfaces."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from deploy.stack import Stack


def arm_toolforge(stack: Stack, kind: str, operation: str, **settings: Any) -> None:
    """Let the local Toolforge fail at `operation`, such as ``builds.start``."""
    _post(
        f"{stack.places.toolforge_admin_url}/faults", {"kind": kind, "operation": operation, **settings}, {}
    )


def arm_gitlab(stack: Stack, kind: str, operation: str, **settings: Any) -> None:
    """Let the local GitLab fail at `operation`, such as ``POST /projects/:id/statuses/:sha``."""
    headers = {"PRIVATE-TOKEN": stack.places.gitlab_root_token}
    body = {"kind": kind, "operation": operation, **settings}
    _post(f"{stack.places.gitlab_url}/-/local/faults", body, headers)


def _post(url: str, body: dict[str, Any], headers: dict[str, str]) -> None:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request) as response:
        response.read()
