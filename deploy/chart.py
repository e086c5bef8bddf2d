"""Waiting times over pool sizes, as an SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from orchestrator.simulation.figures import Figures, Waits

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 120, 40, 50
#: Lines across the chart, in seconds: the scale is logarithmic.
_TICKS = (
    (1.0, "1 s"),
    (10.0, "10 s"),
    (60.0, "1 min"),
    (600.0, "10 min"),
    (3600.0, "1 h"),
    (6 * 3600.0, "6 h"),
    (86400.0, "1 d"),
    (7 * 86400.0, "7 d"),
    (70 * 86400.0, "70 d"),
    (700 * 86400.0, "700 d"),
)
_LINES: Sequence[tuple[str, str, Callable[[Waits], float]]] = (
    ("99 of 100", "#b32424", lambda waits: waits.nearly_all),
    ("95 of 100", "#ac6600", lambda waits: waits.most),
    ("half", "#14866d", lambda waits: waits.median),
)


def chart(found: Sequence[Figures]) -> str:
    """How long people (where there are none: bots) wait for their verdict, by number of accounts."""
    who = "people" if any(one.to_verdict["people"].most for one in found) else "bots"
    longest = max(one.to_verdict[who].nearly_all for one in found)
    top = next((index for index, (seconds, _) in enumerate(_TICKS) if seconds >= longest), len(_TICKS) - 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 22, f"How long {who} wait for their verdict, by accounts in the pool"),
    ]
    for index, (_, label) in enumerate(_TICKS[: top + 1]):
        y = _y(_TICKS[index][0], top)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#c8ccd1"/>')
        parts.append(_text(_LEFT - 8, y + 4, label, anchor="end"))
    places = [_x(index, len(found)) for index in range(len(found))]
    step = -(-len(found) // 20)
    for x, one in list(zip(places, found, strict=True))[::step]:
        parts.append(_text(x, _HEIGHT - _BOTTOM + 20, str(one.accounts), anchor="middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, "accounts", anchor="middle"))
    parts += _lines(found, who, places, top)
    return "\n".join([*parts, "</svg>\n"])


def _lines(found: Sequence[Figures], who: str, places: Sequence[float], top: int) -> list[str]:
    parts = []
    for row, (label, colour, read) in enumerate(_LINES):
        points = [(x, _y(read(one.to_verdict[who]), top)) for x, one in zip(places, found, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(_text(_WIDTH - _RIGHT + 14, _TOP + 16 + 18 * row, label, colour=colour))
    return parts


def _x(index: int, of: int) -> float:
    width = _WIDTH - _LEFT - _RIGHT
    return _LEFT + width / 2 if of == 1 else _LEFT + 10 + index * (width - 20) / (of - 1)


def _y(seconds: float, top: int) -> float:
    """Between two lines across, the distance is by the logarithm's straight piece; less than 1 s is 1 s."""
    height = _HEIGHT - _TOP - _BOTTOM
    ticks = [tick for tick, _ in _TICKS[: top + 1]]
    value = min(max(seconds, ticks[0]), ticks[-1])
    if len(ticks) == 1:
        return _TOP + height
    below = max(index for index, tick in enumerate(ticks[:-1]) if tick <= value)
    within = (value - ticks[below]) / (ticks[below + 1] - ticks[below])
    return _TOP + height * (1 - (below + within) / (len(ticks) - 1))


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#202122") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
