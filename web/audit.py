"""Who did what: every change of state, filtered, and to take away as CSV or JSON.

What was set for projects only operators see here; its Maintainers see it on the project's settings page.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from flask import Blueprint, Response, current_app, render_template, request

from orchestrator.errors import BadInput
from orchestrator.markdown import plain
from orchestrator.pages import Pages
from orchestrator.pool import AccountState
from orchestrator.preview import State
from orchestrator.reading import ALL_SUBJECTS, PUBLIC_SUBJECTS, NumberedEvent, Sought
from web import people
from web.parts import parts_of
from web.words import moment

blueprint = Blueprint("audit", __name__)

_SHOWN = 100
_COLUMNS = ("id", "at", "subject", "subject_id", "merge_request", "before", "after", "who", "why")
_FILTERS = ("project", "subject", "after", "who", "text", "since", "until")
#: A spreadsheet takes what begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def subjects() -> Sequence[str]:
    """What events who asks may see are about."""
    return ALL_SUBJECTS if people.is_operator() else PUBLIC_SUBJECTS


def sought(pages: Pages, given: Mapping[str, str]) -> Sought:
    """The events that `given` (parameters of an address) asks for, as far as who asks may see them.

    Raises :class:`BadInput` when that makes no sense.
    """
    visible = subjects()
    path = given.get("project", "")
    project = next((one for one in pages.projects() if one.path == path), None)
    if path and project is None:
        raise BadInput(f"No project '{path[:100]}' is connected.")
    subject = given.get("subject", "")
    if subject and subject not in visible:
        raise BadInput(f"The subject is one of {', '.join(visible)}.")
    return Sought(
        subjects=visible,
        subject=subject,
        who=given.get("who", "")[:255],
        text=given.get("text", "")[:255],
        after=given.get("after", "")[:16],
        project_id=project.id if project else None,
        since=_day(given.get("since", ""), "since"),
        until=_day(given.get("until", ""), "until", is_end=True),
    )


def _day(text: str, name: str, *, is_end: bool = False) -> float | None:
    """Seconds since the epoch at which a day begins or ends, in UTC, or of an exact time."""
    if not text:
        return None
    try:
        given = datetime.fromisoformat(text)
        given = given if given.tzinfo else given.replace(tzinfo=UTC)
        return (given + timedelta(days=is_end and len(text) == len("2026-01-31"))).timestamp()
    except (ValueError, OverflowError):
        raise BadInput(
            f"'{name}' is a day such as 2026-01-31, or a time such as 2026-01-31T14:00Z."
        ) from None


@blueprint.get("/audit")
def show() -> str:
    """The newest events that fit the filter."""
    pages, visible = parts_of(current_app).pages, subjects()
    before = request.args.get("before", type=int)
    found, names, following = pages.events(sought(pages, request.args), before=before, most=_SHOWN)
    chosen = {name: request.args[name] for name in _FILTERS if request.args.get(name)}
    return render_template(
        "audit.html",
        found=found,
        names=names,
        next=following,
        chosen=chosen,
        subjects=visible,
        states=list(dict.fromkeys([*map(str, State), *map(str, AccountState)])),
        projects=pages.projects(),
        actors=pages.actors(visible),
    )


@blueprint.get("/audit.<any(csv, json):form>")
def export(form: str) -> Response:
    """All events that fit the filter, the newest first."""
    pages = parts_of(current_app).pages
    rows = pages.export(sought(pages, request.args))
    made = _csv(rows) if form == "csv" else _json(rows)
    headers = {"Content-Disposition": f'attachment; filename="audit.{form}"', "Cache-Control": "no-store"}
    return Response(made, mimetype=f"{'text' if form == 'csv' else 'application'}/{form}", headers=headers)


def _values(one: NumberedEvent, name: str) -> dict[str, str | int]:
    event = one.event
    return {
        "id": one.id,
        "at": moment(event.at),
        "subject": event.subject,
        "subject_id": event.subject_id,
        "merge_request": name,
        "before": event.before,
        "after": event.after,
        "who": plain(event.who),
        "why": plain(event.why),
    }


def _csv(rows: Iterable[tuple[NumberedEvent, str]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    for one, name in rows:
        writer.writerow([_harmless(value) for value in _values(one, name).values()])
        if buffer.tell() > 2**15:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _harmless(value: str | int) -> str | int:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _json(rows: Iterable[tuple[NumberedEvent, str]]) -> Iterator[str]:
    yield "["
    for number, (one, name) in enumerate(rows):
        yield (",\n" if number else "\n") + json.dumps(_values(one, name))
    yield "\n]\n"
