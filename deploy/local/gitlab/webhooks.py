"""Telling others: webhooks are sent beside the request that caused them, as soon as it happened.

Each delivery is remembered before it is sent, so that one that a restart interrupted is sent again with the
same `Idempotency-Key`. GitLab does not send again because of a bad answer or none (`WebHookService#execute`
takes note of it and is done); only a worker that died sends again, and who asks for it by hand. It counts
failures, and pauses or disables the hook: see :mod:`deploy.local.gitlab.standing`.

Headers are those of `WebHookService#build_headers`: `X-Gitlab-Webhook-UUID` is another one for each delivery,
`X-Gitlab-Event-UUID` the same for all that one request sends to one hook.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from deploy.local.gitlab import standing
from deploy.local.gitlab.faults import DELIVERY_KINDS
from deploy.local.gitlab.model import Delivery, Hook, Project

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

#: trigger -> (the hook's switch, the event's header)
EVENTS = {
    "push": ("push_events", "Push Hook"),
    "tag_push": ("tag_push_events", "Tag Push Hook"),
    "merge_request": ("merge_requests_events", "Merge Request Hook"),
    "note": ("note_events", "Note Hook"),
    "issue": ("issues_events", "Issue Hook"),
}
VERSION = "18.2.1"
RESPONSE_SHOWN = 8192
SIGNING_KEY_BYTES = 32


@dataclass(slots=True)
class Chain:
    """What one request sets off. `given`: the event that the caller itself was called for (recursion)."""

    given: str = ""
    made: dict[int, str] = field(default_factory=dict)

    def event(self, hook_id: int) -> str:
        """The value of `X-Gitlab-Event-UUID` for a hook."""
        return self.given or self.made.setdefault(hook_id, str(uuid.uuid4()))


#: Of the request at hand; None for work that GitLab does later, in a process of its own (after a push).
chain: ContextVar[Chain | None] = ContextVar("chain", default=None)


class Webhooks:
    """Sends deliveries and keeps each hook's standing."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._session: aiohttp.ClientSession | None = None
        self._held: dict[int, list[asyncio.Event]] = {}

    async def start(self) -> None:
        """Open the client, and send again what was under way when the server last ended."""
        # A connection for each delivery, as GitLab does: one that is kept can be closed by the receiver
        # in the very moment in which it is used again, and the delivery would be lost.
        connector = aiohttp.TCPConnector(limit=100, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        for delivery in self._lab.store.deliveries:
            hook = self._lab.store.hooks.get(delivery.hook_id)
            if delivery.status == "pending" and hook:
                self._lab.spawn(self._send(hook, delivery))

    async def close(self) -> None:
        """Let go of the client's connections."""
        if self._session:
            await self._session.close()

    def wanted(self, project: Project, trigger: str) -> bool:
        """Whether any hook of the project listens to such an event, so that a payload is worth making."""
        switch = EVENTS[trigger][0]
        return any(getattr(hook, switch) for hook in self._lab.store.hooks.by("project_id", project.id))

    def fire(self, project: Project, trigger: str, data: dict[str, Any]) -> None:
        """Send an event to every hook of the project that listens to it and is not disabled."""
        switch = EVENTS[trigger][0]
        for hook in self._lab.store.hooks.by("project_id", project.id):
            if getattr(hook, switch) and self.executable(hook):
                self._start(hook, trigger, data)

    def executable(self, hook: Hook) -> bool:
        """Whether a hook is sent to: not disabled, and not pausing."""
        return self.alert_status(hook) == "executable"

    def alert_status(self, hook: Hook) -> str:
        """`executable`, `temporarily_disabled` or `disabled`."""
        return standing.alert_status(hook, self._patience(), time.time())

    def _patience(self) -> standing.Patience:
        settings = self._lab.settings
        return standing.Patience(
            settings.webhook_auto_disable, settings.webhook_pause_seconds, settings.webhook_max_pause_seconds
        )

    def _start(self, hook: Hook, trigger: str, data: dict[str, Any]) -> None:
        fault = self._lab.faults.strike(trigger, DELIVERY_KINDS)
        delivery = self._new(hook, trigger, data, str(uuid.uuid4()))
        if fault is None:
            self._lab.spawn(self._send(hook, delivery))
        elif fault.kind == "drop":
            delivery.status, delivery.error = "internal error", "dropped by a fault"
            self._lab.store.deliveries.save(delivery)
        elif fault.kind == "twice":
            again = self._new(hook, trigger, data, delivery.idempotency_key)
            self._lab.spawn(self._send(hook, delivery))
            self._lab.spawn(self._send(hook, again))
        elif fault.kind == "late":
            self._lab.spawn(self._send(hook, delivery, after=fault.seconds))
        else:
            self._lab.spawn(self._hold(hook, delivery, fault.seconds or 10.0))

    def _new(self, hook: Hook, trigger: str, data: dict[str, Any], key: str) -> Delivery:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"GitLab/{VERSION}",
            "Idempotency-Key": key,
            "X-Gitlab-Event": EVENTS[trigger][1],
            "X-Gitlab-Webhook-UUID": str(uuid.uuid4()),
            "X-Gitlab-Instance": self._lab.url,
            "X-Gitlab-Event-UUID": (chain.get() or Chain()).event(hook.id),
        }
        if hook.token:
            headers["X-Gitlab-Token"] = "[REDACTED]"
        delivery = self._lab.store.deliveries.insert(
            hook_id=hook.id,
            project_id=hook.project_id,
            trigger=trigger,
            url=hook.url,
            idempotency_key=key,
            request_headers=headers,
            request_data=data,
        )
        past = self._lab.store.deliveries.by("hook_id", hook.id)
        for old in past[: max(0, len(past) - self._lab.settings.deliveries_kept_per_hook)]:
            self._lab.store.deliveries.delete(old)
        return delivery

    async def _hold(self, hook: Hook, delivery: Delivery, at_most: float) -> None:
        """Send only when the hook's next delivery has gone out (or nothing came for a while)."""
        gone_out = asyncio.Event()
        self._held.setdefault(hook.id, []).append(gone_out)
        try:
            await asyncio.wait_for(gone_out.wait(), at_most)
        except TimeoutError:
            self._held[hook.id].remove(gone_out)
        await self._send(hook, delivery)

    async def _send(self, hook: Hook, delivery: Delivery, after: float = 0.0) -> None:
        if after:
            await asyncio.sleep(after)
        await self._attempt(hook, delivery)
        for gone_out in self._held.pop(hook.id, []):
            gone_out.set()

    async def _attempt(self, hook: Hook, delivery: Delivery) -> None:
        assert self._session is not None
        body = json.dumps(delivery.request_data, separators=(",", ":")).encode()
        signed = self._signature(hook, delivery.idempotency_key, body)
        # The signature may be shown in the list of deliveries, unlike the tokens.
        delivery.request_headers = {**delivery.request_headers, **signed}
        headers = {**delivery.request_headers, **({"X-Gitlab-Token": hook.token} if hook.token else {})}
        started = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=self._lab.settings.webhook_timeout_seconds)
        code = 0
        try:
            async with self._session.post(
                hook.url,
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                ssl=hook.enable_ssl_verification,
            ) as answer:
                code = answer.status
                text = await answer.content.read(RESPONSE_SHOWN)
                delivery.status = str(code)
                delivery.response_body = text.decode(errors="replace")
                delivery.response_headers = dict(list(answer.headers.items())[:50])
        except TimeoutError:
            delivery.status, delivery.error = "internal error", "Net::ReadTimeout"
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            delivery.status, delivery.error = "internal error", str(problem) or type(problem).__name__
        delivery.duration = round(time.monotonic() - started, 6)
        self._lab.store.deliveries.save(delivery)
        if 200 <= code < 400:
            standing.succeeded(hook)
        else:
            standing.failed(hook, self._patience(), time.time())
        self._lab.store.hooks.save(hook)

    def _signature(self, hook: Hook, key: str, body: bytes) -> dict[str, str]:
        """The headers of Standard Webhooks, for this moment; none without a signing token."""
        if not hook.signing_token or not self._lab.settings.webhook_signing:
            return {}
        moment = str(int(time.time()))
        signed = hmac.new(signing_key(hook.signing_token), f"{key}.{moment}.".encode() + body, hashlib.sha256)
        return {
            "webhook-id": key,
            "webhook-timestamp": moment,
            "webhook-signature": "v1," + base64.b64encode(signed.digest()).decode(),
        }

    async def test(self, hook: Hook, trigger: str, data: dict[str, Any]) -> Delivery:
        """Send at once, even to a disabled hook, and wait for the answer."""
        delivery = self._new(hook, trigger, data, str(uuid.uuid4()))
        await self._attempt(hook, delivery)
        return delivery

    async def resend(self, hook: Hook, past: Delivery) -> Delivery:
        """Send a past delivery again: same body and key, a new entry in the list."""
        delivery = self._new(hook, past.trigger, past.request_data, past.idempotency_key)
        await self._attempt(hook, delivery)
        return delivery


def signing_key(token: str) -> bytes:
    """The key in a signing token: `whsec_` and the standard base64 of 32 bytes. ValueError for anything else.

    (gitlab-org/gitlab!230944 brought signing, !231325 the API's `signing_token` and `signing_token_present`.)
    """
    encoded = token.removeprefix("whsec_")
    if encoded == token:
        raise ValueError("a signing token starts with whsec_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error as problem:
        raise ValueError("a signing token ends in base64") from problem
    if len(key) != SIGNING_KEY_BYTES:
        raise ValueError(f"the key in a signing token has {SIGNING_KEY_BYTES} bytes")
    return key
