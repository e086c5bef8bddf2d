"""The admin port's page for people: what each tool holds, as plain tables. Everything foreign is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#202122}"
    "h1{font-size:1.5rem}h2{margin-top:2.5rem;border-bottom:1px solid #a2a9b1}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem}caption{text-align:left;font-weight:600}"
    "th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #eaecf0;vertical-align:top}"
    "code{font-size:.9em}.none{color:#72777d}@media(prefers-color-scheme:dark){body{background:#101418;color:#eaecf0}"
    "a{color:#88a3e8}}"
)


def page(tools: dict[str, Any], faults: list[dict[str, Any]], calls: dict[str, Any]) -> str:
    """The page as HTML."""
    parts = [_tool(name, held) for name, held in tools.items()]
    parts.append("<h2>Faults</h2>" + _table("", ("id", "kind", "tool", "operation", "hits"), faults))
    counted = [{"operation": key, "calls": count} for key, count in sorted(calls["by_operation"].items())]
    parts.append("<h2>Calls</h2>" + _table("", ("operation", "calls"), counted))
    return (
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
        f"content='width=device-width'><title>Local Toolforge</title><style>{STYLE}</style></head><body>"
        f"<h1>Local Toolforge</h1>{''.join(parts)}</body></html>"
    )


def _tool(name: str, held: dict[str, Any]) -> str:
    quota = held["quota"]
    url = html.escape(held["public_url"], quote=True)
    published = html.escape(held["published"] or "nothing is published")
    images = [{**one, "tags": ", ".join(one["tags"]) or "untagged"} for one in held["images"]]
    jobs = [{**one, "image": one["spec"]["imagename"], "state": one["status_short"]} for one in held["jobs"]]
    builds = sorted(held["builds"], key=lambda build: build["number"], reverse=True)
    envvars = [{"name": key} for key in sorted(held["envvars"])]
    return (
        f"<h2>{html.escape(name)}</h2><p><a href='{url}'>{url}</a> ({published}); image store: "
        f"{html.escape(quota['used'])} of {html.escape(quota['limit'])}</p>"
        + _table("Builds", ("id", "status", "image_name", "ref", "resolved_ref", "source_url"), builds)
        + _table("Jobs", ("name", "state", "image"), jobs)
        + _table("Images", ("repository", "tags", "digest", "size"), images)
        + _table("Environment variables", ("name",), envvars)
    )


def _table(caption: str, columns: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> str:
    shown = [
        "<tr>" + "".join(f"<td>{html.escape(str(row.get(column, '')))}</td>" for column in columns) + "</tr>"
        for row in rows
    ]
    if not shown:
        return f"<p class='none'>{html.escape(caption or 'Nothing')}: none</p>"
    head = "".join(f"<th scope='col'>{html.escape(column)}</th>" for column in columns)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{''.join(shown)}</tbody></table>"
