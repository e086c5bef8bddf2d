"""The emoji that may be given or written by name; GitLab knows all of Unicode's, these are the usual ones."""

from __future__ import annotations

import re

EMOJI = {
    "thumbsup": "👍",
    "thumbsdown": "👎",
    "eyes": "👀",
    "white_check_mark": "✅",
    "x": "❌",
    "rocket": "🚀",
    "tada": "🎉",
    "heart": "❤️",
    "warning": "⚠️",
    "construction": "🚧",
    "hourglass": "⌛",
    "hourglass_flowing_sand": "⏳",
    "clock1": "🕐",
    "no_entry": "⛔",
    "no_entry_sign": "🚫",
    "stop_sign": "🛑",
    "stop_button": "⏹️",
    "information_source": "ℹ️",  # noqa: RUF001
    "question": "❓",
    "fire": "🔥",
    "bug": "🐛",
    "lock": "🔒",
    "unlock": "🔓",
    "wrench": "🔧",
    "hammer": "🔨",
    "sparkles": "✨",
    "star": "⭐",
    "100": "💯",
    "ok_hand": "👌",
    "wave": "👋",
    "pray": "🙏",
    "clap": "👏",
    "raised_hands": "🙌",
    "point_up": "☝️",
    "smile": "😄",
    "thinking": "🤔",
    "confused": "😕",
    "cry": "😢",
    "laughing": "😆",
    "broken_heart": "💔",
    "green_heart": "💚",
    "red_circle": "🔴",
    "green_circle": "🟢",
    "yellow_circle": "🟡",
    "blue_circle": "🔵",
    "white_circle": "⚪",
    "heavy_check_mark": "✔️",
    "recycle": "♻️",
    "repeat": "🔁",
    "arrows_counterclockwise": "🔄",
    "wastebasket": "🗑️",
    "bell": "🔔",
    "robot": "🤖",
    "package": "📦",
    "zzz": "💤",
    "coffee": "☕",
    "link": "🔗",
    "mag": "🔍",
    "pushpin": "📌",
    "stopwatch": "⏱️",
    "bulb": "💡",
    "memo": "📝",
    "globe_with_meridians": "🌐",
}

_NAMED = re.compile(r":([a-z0-9_]+):")


def with_emoji(text: str) -> str:
    """A text with `:names:` turned into the signs; unknown names stay as they are."""
    return _NAMED.sub(lambda match: EMOJI.get(match.group(1), match.group()), text)
