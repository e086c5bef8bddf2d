"""From a row of the database to the frozen object that stands for it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import Row

from orchestrator.outcome import CheckResult, Failure
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.records import Delivery, Event, Preview, Project


def project_from(row: Row[Any]) -> Project:
    """The project in `row`."""
    values = {f.name: getattr(row, f.name) for f in fields(Project)}
    return Project(**values | {"checks": tuple((path, status) for path, status in row.checks)})


def preview_from(row: Row[Any]) -> Preview:
    """The preview in `row`."""
    return Preview(**{f.name: getattr(row, f.name) for f in fields(Preview)})


def account_from(row: Row[Any]) -> Account:
    """The account in `row`."""
    values = {f.name: getattr(row, f.name) for f in fields(Account)}
    return Account(**values | {"state": AccountState(row.state)})


def deployment_from(row: Row[Any]) -> Deployment:
    """The deployment in `row`."""
    values = {f.name: getattr(row, f.name) for f in fields(Deployment)}
    return Deployment(
        **values
        | {
            "state": State(row.state),
            "step": Step(row.step),
            "failure": Failure(**row.failure) if row.failure else None,
            "checks": tuple(CheckResult(**check) for check in row.checks),
        }
    )


def delivery_from(row: Row[Any]) -> Delivery:
    """The delivery in `row`."""
    return Delivery(**{f.name: getattr(row, f.name) for f in fields(Delivery)})


def event_from(row: Row[Any]) -> Event:
    """The event in `row`."""
    return Event(**{f.name: getattr(row, f.name) for f in fields(Event)})
