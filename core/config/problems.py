"""What is wrong in a pipeline file, in plain sentences: the setting, the value seen, and what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from inspect import isclass
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

Place = tuple[str, ...]
"""A setting's keys, the outermost first; of lists the index, as text."""

_SECRET = re.compile(r"password|secret|\btoken\b|jaas|credential|dsn|api[-_.]?key", re.IGNORECASE)
_SETTING_FIRST = re.compile(r"[a-z_.-]+ is ")
_LONGEST = 80
_ALTERNATIVES = ("str", "int", "float", "bool")
_NOTHING_SEEN = object()

PATTERNS: Mapping[str, str] = MappingProxyType(
    {
        r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$": "up to 100 letters, digits, _, . and -, the first a letter or digit",
        r"^[1-9][0-9]{0,5} ?(s|min|h|d)$": "a number and its unit, s, min, h or d, as in 7 d",
        r"^[A-Za-z_][A-Za-z0-9_]{0,62}$": "up to 63 letters, digits and _, the first no digit",
        r"^https?://[^\s/@]+/?$": "a server's address, as in http://127.0.0.1:4566",
        r"^https?://[^\s/@]+/\S+$": "a queue's URL, as in https://sqs.eu-west-1.amazonaws.com/123456789012/pages",
        r"^https?://[^\s/?#@]+[^\s?#@]*$": "a URL that begins with http:// or https://, without ? and #",
        r"^[A-Za-z0-9_.-]{1,128}$": "a stream's name: up to 128 letters, digits, _, . and -",
        r"^arn:[a-z-]+:kinesis:[a-z0-9-]+:\d{12}:stream/[\w.-]+$": (
            "a stream's ARN, as in arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
        ),
        r"^[A-Za-z0-9_.-]{3,255}$": "a table's name: 3 to 255 letters, digits, _, . and -",
        r"^[^.\x00]+(\.[^.\x00]+)?$": "table or schema.table, as in public.article_chunks",
        r"^[A-Za-z_][A-Za-z0-9_]{0,199}$": "a collection's name: up to 200 letters, digits and _, the first no digit",
        r"^[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?$": (
            "an index's name: up to 45 small letters, digits and -, the first and the last no -"
        ),
        r"^[a-z_][a-z0-9_]*$": "the name of a text search configuration of PostgreSQL's, as in english",
        r"^[a-z0-9][a-z0-9_.-]*$": "small letters, digits, _, . and -, the first a letter or digit",
        r"^[0-9a-f]{64}$": "64 hexadecimal digits, as `freshet serve-key add` writes them",
        r"^(-1|[1-9][0-9]{0,5}(ms|s|m))$": "a time as OpenSearch has it, as in 30s, or -1 for never",
        r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$": "a bucket's name: 3 to 63 small letters, digits, . and -",
        r"^([A-Za-z0-9_.=-]{1,100}/){0,5}$": "up to five folders, each with a / behind it, as in letters/articles/",
        r"^[A-Za-z0-9-]{1,63}$": "an endpoint's name: up to 63 letters, digits and -",
        r"^[a-z][a-z0-9-]{0,39}$": "a cloud's region, as in us-east-1",
    }
)
"""What a text must be, by the regular expression that it must match."""

_TIME = "a time with its offset, as in 2026-01-31T12:00:00Z"
_KINDS = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_parsing", "float_type", "finite_number"), "a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    **dict.fromkeys(("timezone_aware", "datetime_type", "datetime_parsing", "datetime_from_date_parsing"), _TIME),
    "path_type": "a path",
}
_LISTS = ("tuple_type", "list_type", "frozen_set_type", "set_type")
_SETTINGS = ("model_type", "model_attributes_type", "dict_type", "mapping_type")
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("more than", "gt"),
    "less_than": ("less than", "lt"),
}


def place_of(problem: Mapping[str, Any]) -> Place:
    """The place of a problem of pydantic's, as the file has it: without the names of a value's possible types."""
    place = tuple(str(part) for part in problem["loc"])
    if place[-1:] == ("[key]",):
        return place[:-1]
    return place[:-1] if _of_alternatives(place) else place


def distinct(problems: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The problems, those of a value that may be of several types once."""
    seen: set[Place] = set()
    for problem in problems:
        loc = tuple(str(part) for part in problem["loc"])
        if _of_alternatives(loc):
            if loc[:-1] in seen:
                continue
            seen.add(loc[:-1])
        yield problem


def sentence(problem: Mapping[str, Any], raw: Any, root: type[BaseModel]) -> str:
    """What is wrong: the setting's place, the value seen unless it may be a secret, and what would be right.

    raw   the file, as YAML gives it
    root  the model that it didn't fit
    """
    loc, place = tuple(str(part) for part in problem["loc"]), place_of(problem)
    where, kind = _written(place, root), problem["type"]
    if kind == "missing":
        return f"{where} is missing; it is required"
    if kind == "extra_forbidden":
        return f"{where} is no setting{_instead(place, root)}"
    if kind in ("too_short", "string_too_short"):
        needed = problem["ctx"]["min_length"]
        return f"{where} is empty: it needs {'a text' if kind == 'string_too_short' else f'at least {needed}'}"
    seen = _seen(raw, place)
    if (right := _right(problem, seen, place, root)) is None:
        return _as_it_says(where, problem["msg"].removeprefix("Value error, "), place, loc, seen)
    if seen is None:
        return f"{where} is empty: it must be {right}"
    if seen is _NOTHING_SEEN or isinstance(seen, dict | list):
        return f"{where} must be {right}{_unlike(seen)}"
    return f"{where} is {_show(place, seen)}: it must be {right}"


def _as_it_says(where: str, message: str, place: Place, loc: Place, seen: Any) -> str:
    """A problem that one of our own validators tells."""
    if not place:
        return message
    if loc[-1:] == ("[key]",):
        return f"{where} {message}"
    if _SETTING_FIRST.match(message):
        return f"{where}.{message}"
    if seen is None or seen is _NOTHING_SEEN or isinstance(seen, dict | list):
        return f"{where}: {message}"
    return f"{where} is {_show(place, seen)}: {message[:1].lower()}{message[1:]}"


def _right(problem: Mapping[str, Any], seen: Any, place: Place, root: type[BaseModel]) -> str | None:
    """What the value must be; None where the problem isn't one of pydantic's own that are known here."""
    kind, context = problem["type"], problem.get("ctx", {})
    if _of_alternatives(tuple(str(part) for part in problem["loc"])):
        return "a text, a number, true or false"
    if kind in _LISTS:
        return f"a list, as in [{seen if _is_plain(seen) and not _hides(place) else 'a, b'}]"
    if kind in _SETTINGS:
        return _settings_words(place, seen, root)
    if kind == "string_type":
        return "a text" if seen is None or isinstance(seen, dict | list) else "a text: put it in quotes"
    if kind == "literal_error":
        return f"{context['expected'].replace(chr(39), '')}{_nearest(seen, context['expected'])}"
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], f"a text that matches {context['pattern']}")
    if kind == "string_too_long":
        return f"a text of {context['max_length']:,} characters at most"
    if kind in _BOUNDS:
        words, limit = _BOUNDS[kind]
        return f"{words} {context[limit]:{',' if isinstance(context[limit], int) else 'g'}}"
    return _KINDS.get(kind)


def _of_alternatives(loc: Place) -> bool:
    return len(loc) > 2 and loc[0] == "flink" and loc[-1] in _ALTERNATIVES


def _settings_words(place: Place, seen: Any, root: type[BaseModel]) -> str:
    kind = _at(place, root)
    names = _settings(kind)
    if names and isinstance(seen, str | int) and _is_plain(seen) and not _hides(place):
        first = _at((*place, names[0]), root)
        if isclass(first) and isinstance(seen, first):
            return f"settings of its own, as in {{{names[0]}: {seen}}}"
    if names:
        return f"settings of its own: {_listed(names)}"
    inner = _bare(get_args(kind)[1]) if get_origin(kind) is dict else None
    return "names with settings of their own each" if _is_model(inner) else "names with a value each, as in {a: b}"


def _instead(place: Place, root: type[BaseModel]) -> str:
    """What may have been meant by a setting that is none."""
    here = _settings(_at(place[:-1], root))
    if near := get_close_matches(place[-1], here, 1):
        return f"; did you mean {near[0]}?"
    elsewhere = [where for where in _everywhere(root) if where.rpartition(".")[2] == place[-1]]
    if elsewhere:
        return f" here; did you mean {elsewhere[0]}?"
    return f"; there {'is' if len(here) == 1 else 'are'} {_listed(here)}" if here else "; leave it out"


def _written(place: Place, root: type[BaseModel]) -> str:
    """A place as the file writes it: pydantic names a default by its field, which may have another name there."""
    if place and _is_model(kind := _at(place[:-1], root)) and (field := kind.model_fields.get(place[-1])) is not None:
        place = (*place[:-1], field.alias or place[-1])
    return ".".join(place)


def _nearest(seen: Any, expected: str) -> str:
    near = get_close_matches(str(seen), re.findall(r"'([^']*)'", expected), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _at(place: Place, root: type[BaseModel]) -> Any:
    """The type of what stands at a place; None where that isn't known."""
    kind: Any = root
    for part in place:
        kind = _bare(kind)
        if _is_model(kind):
            kind = next((f.annotation for name, f in kind.model_fields.items() if part in (f.alias, name)), None)
        else:
            arguments = get_args(kind)
            kind = arguments[1 if get_origin(kind) is dict else 0] if arguments else None
    return _bare(kind)


def _bare(kind: Any) -> Any:
    """A type without what is said about it, and without None as another possibility."""
    while get_origin(kind) in (Annotated, Union, UnionType):
        kind = next(each for each in get_args(kind) if each is not NoneType)
    return kind


def _settings(kind: Any) -> list[str]:
    return [field.alias or name for name, field in kind.model_fields.items()] if _is_model(kind) else []


def _everywhere(kind: Any, place: str = "") -> Iterator[str]:
    """Every setting by its place, as documentation writes them: `documents.….text`."""
    for name, field in kind.model_fields.items():
        here, inner = f"{place}{field.alias or name}", _bare(field.annotation)
        yield here
        if get_origin(inner) in (dict, tuple):
            here, inner = f"{here}.…", _bare(get_args(inner)[1 if get_origin(inner) is dict else 0])
        if _is_model(inner):
            yield from _everywhere(inner, f"{here}.")


def _is_model(kind: Any) -> bool:
    return isclass(kind) and issubclass(kind, BaseModel)


def _seen(raw: Any, place: Place) -> Any:
    for part in place:
        if isinstance(raw, dict) and part in raw:
            raw = raw[part]
        elif isinstance(raw, list) and part.isdecimal() and int(part) < len(raw):
            raw = raw[int(part)]
        else:
            return _NOTHING_SEEN
    return raw


def _is_plain(seen: Any) -> bool:
    return isinstance(seen, str | int | float) and len(str(seen)) <= _LONGEST


def _unlike(seen: Any) -> str:
    return "" if seen is _NOTHING_SEEN else f", but is {'a list' if isinstance(seen, list) else 'names with values'}"


def _hides(place: Place) -> bool:
    return any(_SECRET.search(part) for part in place)


def _show(place: Place, seen: Any) -> str:
    if _hides(place) or (isinstance(seen, str) and "://" in seen and "@" in seen):
        return "(not shown)"
    if isinstance(seen, bool):
        return str(seen).lower()
    shown = repr(seen) if isinstance(seen, str | int | float) else repr(str(seen))
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"
