"""YAML from strangers as plain values, each with its line and column.

Pure. Only what a configuration needs is taken: mappings with text keys, lists, texts, numbers, truth values
and null. Aliases and anchors (a few lines of which can stand for gigabytes), tags (which can stand for code),
keys given twice, deep nesting and large files are refused, each with its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.errors import PreviewError

MOST_BYTES = 64 * 1024
MOST_DEPTH = 12
_TAG = "tag:yaml.org,2002:"
#: What a plain scalar may be read as; all others of YAML 1.1 (dates, 1:30 for 90, 0b1) stay texts.
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}")

#: A value that has been read: a mapping, a tuple, a text, a number, a truth value or None.
Value = Mapping[str, "Value"] | tuple["Value", ...] | str | int | float | bool | None
#: The way to a value: keys and, in lists, numbers from 0.
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Line and column, both from 1, as editors count."""

    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """A value with the places of all that is in it."""

    value: Value
    #: Where the value of a path begins.
    values: Mapping[KeyPath, Place]
    #: Where the key of a path begins.
    keys: Mapping[KeyPath, Place]


class Unreadable(PreviewError):
    """The file cannot be read at all; `place` says where that was noticed, `path` within what."""

    def __init__(self, message: str, place: Place = Place(1, 1), path: KeyPath = ()) -> None:
        super().__init__(message)
        self.place = place
        self.path = path


def read(content: bytes) -> Document:
    """The document that `content` is; raises :class:`Unreadable` for what is none, or is refused."""
    if len(content) > MOST_BYTES:
        raise Unreadable(f"the file has {len(content)} bytes; expected {MOST_BYTES} at most")
    try:
        loader = _Loader(content.decode())
        root = loader.get_single_node()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable("expected text in UTF-8", Place(line, 1)) from None
    except yaml.MarkedYAMLError as error:
        raise Unreadable(f"no YAML: {_words(error)}", _place(error.problem_mark)) from None
    except yaml.YAMLError:
        raise Unreadable("no YAML: expected printable characters only") from None
    except (ValueError, OverflowError):
        # PyYAML makes characters and versions of any number.
        raise Unreadable("no YAML: a number after \\U or %YAML is too large") from None
    walk = _Walk(loader)
    return Document(walk.value(root, ()) if root is not None else {}, walk.values, walk.keys)


class _Loader(yaml.SafeLoader):
    """Stops at the first thing that is refused, before the parts that it stands for are made."""

    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise Unreadable("aliases and anchors (* and &) are not taken", _place(event.start_mark))
        if getattr(event, "tag", None) is not None:
            raise Unreadable("tags (!) are not taken", _place(event.start_mark))
        if self.depth >= MOST_DEPTH:
            raise Unreadable(
                f"nested too deeply; expected {MOST_DEPTH} levels at most", _place(event.start_mark)
            )
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Walk:
    """Makes values of nodes and notes their places."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self.values: dict[KeyPath, Place] = {}
        self.keys: dict[KeyPath, Place] = {}

    def value(self, node: Node, path: KeyPath) -> Value:
        """What `node`, at `path`, stands for."""
        self.values[path] = _place(node.start_mark)
        match node:
            case MappingNode():
                return self._mapping(node, path)
            case SequenceNode():
                return tuple(self.value(item, (*path, index)) for index, item in enumerate(node.value))
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: KeyPath) -> Mapping[str, Value]:
        found: dict[str, Value] = {}
        for key_node, value_node in node.value:
            place = _place(key_node.start_mark)
            key = self._scalar(key_node, path) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str):
                raise Unreadable("expected a text as key; put it in quotes", place, path)
            if key in found:
                line = self.keys[(*path, key)].line
                raise Unreadable(f"the key is there twice, first on line {line}", place, (*path, key))
            self.keys[(*path, key)] = place
            found[key] = self.value(value_node, (*path, key))
        return found

    def _scalar(self, node: Node, path: KeyPath) -> Value:
        text: str = node.value
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise Unreadable("expected text without NUL and half characters", _place(node.start_mark), path)
        match node.tag.removeprefix(_TAG):
            case "bool":
                return bool(yaml.SafeLoader.bool_values[text.lower()])
            case "null":
                return None
            case "int" if _INTEGER.fullmatch(text):
                return int(text)
            case "float" if _NUMBER.fullmatch(text):
                return float(text)
        return text


def _place(mark: yaml.Mark | None) -> Place:
    return Place(1, 1) if mark is None else Place(mark.line + 1, mark.column + 1)


def _words(error: yaml.MarkedYAMLError) -> str:
    return ", ".join(part for part in (error.context, error.problem) if part)[:200]
