"""A small reader of wikitext: sections and the references in them."""

import re
from collections import Counter

SECTION = re.compile(r"^(={2,6})\s*(.+?)\s*\1\s*$", re.MULTILINE)
REFERENCE = re.compile(r"<ref[\s>/]", re.IGNORECASE)
NAMED = re.compile(r"""<ref\s+name\s*=\s*["']?([^"'>/]+?)["']?\s*/?>""", re.IGNORECASE)


def sections(text):
    """(title, body) of every section; the part before the first heading is the lead."""
    titles = ["Lead"] + [match.group(2) for match in SECTION.finditer(text)]
    bodies = SECTION.split(text)[0::3]
    return [
        (title, body) for title, body in zip(titles, bodies, strict=True) if body.strip() or title != "Lead"
    ]


def count_references(text):
    """References per section, those sections that have none, and the names that are used more than once."""
    counted = [(title, len(REFERENCE.findall(body))) for title, body in sections(text)]
    names = Counter(match.group(1).strip() for match in NAMED.finditer(text))
    return {
        "total": sum(count for _, count in counted),
        "sections": counted,
        "unsourced": [title for title, count in counted if not count],
        "reused": {name: count for name, count in names.items() if count > 1},
    }
