"""A pipeline file as YAML: its values, the line of each, and in plain words why a text is no YAML."""

from __future__ import annotations

from typing import Any

import yaml

_MOST_VALUES = 100_000
"""Of a file, each counted as often as aliases name it."""


def read(text: str) -> Any:
    """The values. Raises yaml.YAMLError, also where a key stands twice, an alias names what it is a part of, or there
    are too many values, or too deep ones: ten lines of aliases can stand for 10,000,000,000.
    """
    try:
        _count(yaml.compose(text, yaml.SafeLoader), set(), {})
        return yaml.load(text, _UniqueKeys)
    except RecursionError:
        raise yaml.YAMLError("its values are nested too deep") from None
    except (ValueError, AttributeError) as error:  # the latter of what is marked as a time and is none
        raise yaml.YAMLError(f"a value is none of its kind: {error}") from None


def _count(node: yaml.Node | None, around: set[int], counts: dict[int, int]) -> int:
    """How many values a node stands for. Raises ComposerError where it is a part of itself, or stands for too many.

    around  what this one is in
    counts  of those that were seen
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) in counts:
        return counts[id(node)]
    parts = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else node.value
    count = 1
    for each in parts:
        if id(each) in around or each is node:
            raise yaml.composer.ComposerError(None, None, "an alias names what it is a part of", each.start_mark)
        count += _count(each, around | {id(node)}, counts)
        if count > _MOST_VALUES:
            what = f"it has more than {_MOST_VALUES:,} values, with those that aliases name"
            raise yaml.composer.ComposerError(None, None, what, each.start_mark)
    counts[id(node)] = count
    return count


def lines(text: str) -> dict[tuple[str, ...], int]:
    """The line of each key and each of a list's entries, from 1 on, by its place, in a text that `read` takes."""
    found: dict[tuple[str, ...], int] = {}
    _walk(yaml.compose(text, yaml.SafeLoader), (), found, set())
    return found


def _walk(node: yaml.Node | None, place: tuple[str, ...], found: dict[tuple[str, ...], int], seen: set[int]) -> None:
    if id(node) in seen:
        return  # an alias: its parts have the lines where they stand, however often they are named
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            found[here] = key.start_mark.line + 1
            _walk(value, here, found, seen)
    elif isinstance(node, yaml.SequenceNode):
        for at, value in enumerate(node.value):
            here = (*place, str(at))
            found[here] = value.start_mark.line + 1
            _walk(value, here, found, seen)


def reason(error: yaml.YAMLError) -> tuple[int | None, str]:
    """The line, from 1 on, in which a text stops being YAML, where that is known; and why."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return None, f"this is no YAML: {error}"
    problem = error.problem or "it can't be read"
    said = next((words for sign, words in _PLAIN.items() if sign in problem), problem)
    return error.problem_mark.line + 1, said if problem.endswith("stands twice") else f"this is no YAML: {said}"


_PLAIN = {
    r"'\t' that cannot start": "a tab stands here; indent with spaces",
    "mapping values are not allowed": (
        "a colon stands where none may; look at the indentation, or put a text with a colon in quotes"
    ),
    "could not find expected ':'": "a name stands here without a colon and a value",
    "but got '{'": "a text with ${…} must stand in quotes between braces or brackets",
    "cannot start any token": "a text that begins with such a sign must stand in quotes",
    "expected <block end>": "the indentation doesn't fit the lines above",
    "'<stream end>'": "a bracket or brace is never closed",
    "while scanning a quoted scalar": "a quote is never closed",
    "found unexpected end of stream": "a quote is never closed",
}
"""What the parser says, by a part of it."""


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets the last of two equal keys win silently; here it is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, as SafeLoader makes it, if no key comes twice."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep)
