"""From a row of the database to the frozen object that stands for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any

from sqlalchemy import Row

from orchestrator import rules
from orchestrator.mainline import Verdict
from orchestrator.outcome import (
    CheckResult,
    Evidence,
    Failure,
    Opinion,
    Pin,
    PinChange,
    Refusal,
    Retry,
    Says,
)
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.records import Delivery, Event, Lease, Preview, Project
from orchestrator.runtimes import RuntimeSeen
from orchestrator.switches import Stop, Switch


def _reader(record: type[Any]) -> Callable[[Row[Any]], dict[str, Any]]:
    """Reads the columns that are named like the fields of `record`."""
    names = [field.name for field in fields(record)]
    read = attrgetter(*names)
    return lambda row: dict(zip(names, read(row), strict=True))


_project, _preview, _account = _reader(Project), _reader(Preview), _reader(Account)
_deployment, _delivery, _event = _reader(Deployment), _reader(Delivery), _reader(Event)
_lease, _runtime, _verdict = _reader(Lease), _reader(RuntimeSeen), _reader(Verdict)


def project_from(row: Row[Any]) -> Project:
    """The project in `row`."""
    values = _project(row)
    values["checks"] = tuple((path, status) for path, status in values["checks"])
    values["secret_digests"] = tuple(values["secret_digests"])
    values["rules"] = rules.from_json(values["rules"])
    values["signing"] = tuple(values["signing"] or ())
    return Project(**values)


def preview_from(row: Row[Any]) -> Preview:
    """The preview in `row`."""
    return Preview(**_preview(row))


def account_from(row: Row[Any]) -> Account:
    """The account in `row`."""
    values = _account(row)
    values["state"] = AccountState(values["state"])
    values["own_envvars"] = None if values["own_envvars"] is None else tuple(values["own_envvars"])
    values["lent_envvars"] = tuple(values["lent_envvars"] or ())
    return Account(**values)


def deployment_from(row: Row[Any]) -> Deployment:
    """The deployment in `row`."""
    values = _deployment(row)
    values["state"] = State(values["state"])
    values["step"] = Step(values["step"])
    values["failure"] = _failure(values["failure"]) if values["failure"] else None
    values["pins"] = tuple(Pin(**pin) for pin in values["pins"] or ())
    values["change"] = PinChange(**values["change"]) if values["change"] else None
    values["warning"] = _failure(values["warning"]) if values["warning"] else None
    values["retry"] = Retry(**values["retry"]) if values["retry"] else None
    values["opinion"] = _opinion(values["opinion"]) if values["opinion"] else None
    values["refusal"] = Refusal(**values["refusal"]) if values["refusal"] else None
    values["checks"] = tuple(CheckResult(**check) for check in values["checks"])
    return Deployment(**values)


def _failure(kept: Mapping[str, Any]) -> Failure:
    lines = tuple(Evidence(**line) for line in kept.get("evidence", ()))
    return Failure(**{**kept, "evidence": lines})


def _opinion(kept: Mapping[str, Any]) -> Opinion:
    says = kept.get("says")
    return Opinion(**{**kept, "says": None if says is None else Says(says)})


def verdict_from(row: Row[Any]) -> Verdict:
    """What is known of a default branch."""
    values = _verdict(row)
    values["failure"] = _failure(values["failure"]) if values["failure"] else None
    return Verdict(**values)


def delivery_from(row: Row[Any]) -> Delivery:
    """The delivery in `row`."""
    return Delivery(**_delivery(row))


def runtime_from(row: Row[Any]) -> RuntimeSeen:
    """What is known of a version."""
    return RuntimeSeen(**_runtime(row))


def switch_from(value: Mapping[str, Any]) -> Switch:
    """The switch that is kept as `value`."""
    return Switch(**{**value, "stop": Stop(value["stop"])})


def event_from(row: Row[Any]) -> Event:
    """The event in `row`."""
    return Event(**_event(row))


def lease_from(row: Row[Any]) -> Lease:
    """The lease in `row`."""
    return Lease(**_lease(row))
