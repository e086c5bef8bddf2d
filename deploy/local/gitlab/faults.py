"""What goes wrong on demand, and the count of what was asked.

A fault names an operation by its pattern (`POST /projects/:id/statuses/:sha`, `git receive-pack`, `*`), a
kind, and how often it strikes. It may be armed from another thread or over HTTP at any moment.

Kinds for requests: `slow` (seconds), `status` (an answer with that code, nothing done), `cut_before`
(connection closed, nothing done), `lost` (done, then the connection is closed without an answer), `cut_mid`
(done, then the connection is closed in mid-answer). Kinds for deliveries (the operation is the event, as
`merge_request`): `twice`, `late` (seconds), `reorder` (held back until the hook's next delivery has gone
out), `drop`.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

REQUEST_KINDS = frozenset({"slow", "status", "cut_before", "lost", "cut_mid"})
DELIVERY_KINDS = frozenset({"twice", "late", "reorder", "drop"})
FOREVER = -1


@dataclass(slots=True)
class Fault:
    """`count` is how often it still strikes (-1: always); `skip` lets that many pass first."""

    id: int
    operation: str
    kind: str
    count: int = 1
    skip: int = 0
    seconds: float = 0.0
    status: int = 500
    retry_after: int = 1
    struck: int = 0


class Faults:
    """The armed faults, and the counters of calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[Fault] = []
        self._last = 0
        self._calls: dict[str, Counter[str]] = {}

    def add(self, operation: str, kind: str, **options: Any) -> Fault:
        """Arm a fault. ValueError for an unknown kind or option."""
        if kind not in REQUEST_KINDS | DELIVERY_KINDS:
            known = ", ".join(sorted(REQUEST_KINDS | DELIVERY_KINDS))
            raise ValueError(f"unknown kind of fault {kind!r}; known: {known}")
        unknown = set(options) - {"count", "skip", "seconds", "status", "retry_after"}
        if unknown:
            raise ValueError(f"unknown options of a fault: {', '.join(sorted(unknown))}")
        with self._lock:
            self._last += 1
            fault = Fault(self._last, operation, kind, **options)
            self._armed.append(fault)
            return fault

    def strike(self, operation: str, kinds: frozenset[str]) -> Fault | None:
        """The fault that hits this operation now, or None. Counts as one strike."""
        if not self._armed:
            return None
        with self._lock:
            for fault in self._armed:
                if fault.kind not in kinds or not fnmatchcase(operation, fault.operation):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                return self._struck(fault)
        return None

    def _struck(self, fault: Fault) -> Fault:
        fault.struck += 1
        if fault.count != FOREVER:
            fault.count -= 1
            if fault.count <= 0:
                self._armed.remove(fault)
        return fault

    def armed(self) -> list[dict[str, Any]]:
        """The faults that still wait for their moment."""
        with self._lock:
            return [asdict(fault) for fault in self._armed]

    def clear(self, fault_id: int | None = None) -> int:
        """Disarm one fault, or all; how many there were."""
        with self._lock:
            gone = [fault for fault in self._armed if fault_id in (None, fault.id)]
            self._armed = [fault for fault in self._armed if fault not in gone]
            return len(gone)

    def count_call(self, operation: str, status: int | str) -> None:
        """Add an answered request to the counters."""
        with self._lock:
            self._calls.setdefault(operation, Counter())[str(status)] += 1

    def calls(self) -> dict[str, dict[str, Any]]:
        """Requests so far: operation -> `{count, by_status}`."""
        with self._lock:
            return {
                operation: {"count": sum(counter.values()), "by_status": dict(counter)}
                for operation, counter in sorted(self._calls.items())
            }

    def count(self, operation: str) -> int:
        """How many requests matched an operation's pattern so far."""
        with self._lock:
            return sum(
                sum(counter.values()) for name, counter in self._calls.items() if fnmatchcase(name, operation)
            )

    def reset_calls(self) -> None:
        """Start counting from nothing."""
        with self._lock:
            self._calls.clear()
