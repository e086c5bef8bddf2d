"""What GitLab sends, and what a web process makes of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import logging
import time
from typing import Any

import httpx
from sqlalchemy import select
from werkzeug.serving import make_server

from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.records import Delivery
from orchestrator.signing import signing_key
from tests.background import Background
from tests.fresh import make_empty
from web.app import create_app

SECRET = "right-secret"
PROJECT = 77
SHA = "a" * 40
#: Werkzeug's line for each request says nothing that a failing test would not.
logging.getLogger("werkzeug").setLevel(logging.ERROR)


def merge_request_event(action: str = "open", iid: int = 1, project: int = PROJECT) -> dict[str, Any]:
    """What a merge request's webhook carries."""
    return {
        "object_kind": "merge_request",
        "user": {"id": 5, "username": "dana"},
        "project": {"id": project, "path_with_namespace": "group/tool"},
        "object_attributes": {
            "iid": iid,
            "action": action,
            "state": "opened",
            "last_commit": {"id": SHA},
            "source_project_id": project,
            "target_project_id": project,
        },
        "changes": {},
    }


def comment_event(
    note: str = "/preview", action: str | None = "create", on: str = "MergeRequest", iid: int = 1
) -> dict[str, Any]:
    """What a comment's webhook carries; `action` is missing in older versions."""
    attributes: dict[str, Any] = {"id": 31, "note": note, "noteable_type": on}
    if action is not None:
        attributes["action"] = action
    return {
        "object_kind": "note",
        "user": {"id": 5, "username": "dana"},
        "project": {"id": PROJECT},
        "object_attributes": attributes,
        "merge_request": {"iid": iid, "last_commit": {"id": SHA}},
    }


class WebScene(Background):
    """A web process behind a real HTTP server, with one connected project; a context manager."""

    def __init__(self, parts: Parts, *, port: int = 0) -> None:
        self.parts = parts
        self._keys = itertools.count(1)
        self.project_id = self._connect()
        self.app = create_app(parts)
        server = make_server("127.0.0.1", port, self.app, threaded=True)
        super().__init__(server)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False)

    def _connect(self) -> int:
        with self.parts.store.write() as tx:
            return tx.put_project(
                gitlab_id=PROJECT,
                path="group/tool",
                web_url="http://gitlab/group/tool",
                git_url="http://gitlab/group/tool.git",
                secret_digests=[hashlib.sha256(SECRET.encode()).hexdigest()],
                checks=[],
                now=1.0,
            )

    def forget(self) -> None:
        """Empty the database, but for the connected project."""
        make_empty(self.parts.store.engine)
        self.project_id = self._connect()

    def __exit__(self, *problem: object) -> None:
        self.client.close()
        super().__exit__(*problem)

    def get(self, path: str) -> httpx.Response:
        """A page."""
        return self.client.get(path)

    def delivers(
        self, payload: object, *, secret: str | None = SECRET, key: str | None = None
    ) -> httpx.Response:
        """GitLab delivers `payload`; each delivery has a key of its own unless one is given."""
        headers = {"Idempotency-Key": key or f"key-{next(self._keys)}"}
        if secret is not None:
            headers["X-Gitlab-Token"] = secret
        return self.client.post("/webhook/gitlab", json=payload, headers=headers)

    def delivers_signed(
        self,
        payload: object,
        secret_key: str,
        *,
        generation: int,
        key: str | None = None,
        late: float = 0.0,
        **headers: str,
    ) -> httpx.Response:
        """GitLab delivers `payload` with the token and with a signature that is `late` seconds old."""
        body = json.dumps(payload).encode()
        key, moment = key or f"key-{next(self._keys)}", str(int(time.time() - late))
        signed = f"{key}.{moment}.".encode() + body
        mac = hmac.digest(signing_key(secret_key, PROJECT, generation), signed, "sha256")
        headers = {name.replace("_", "-"): value for name, value in headers.items()} | {
            "X-Gitlab-Token": SECRET,
            "webhook-id": key,
            "webhook-timestamp": moment,
            "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
        }
        return self.client.post("/webhook/gitlab", content=body, headers=headers)

    def delivers_bytes(self, body: bytes, *, secret: str = SECRET) -> httpx.Response:
        """GitLab, or somebody else, delivers any bytes."""
        return self.client.post("/webhook/gitlab", content=body, headers={"X-Gitlab-Token": secret})

    def taken(self) -> list[Delivery]:
        """All deliveries in the database, the oldest first."""
        with self.parts.store.engine.connect() as connection:
            ids = connection.scalars(select(t.delivery.c.id).order_by(t.delivery.c.id)).all()
        with self.parts.store.read() as tx:
            return [tx.delivery(delivery_id) for delivery_id in ids]

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, but for what is counted, which is written later."""
        with self.parts.store.engine.connect() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(select(table))]
                for table in t.metadata.sorted_tables
                if table is not t.tally
            }
