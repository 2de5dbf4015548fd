"""Settings of one kind, of which a pipeline file names one or some: each is a field of the same model."""

from __future__ import annotations

from typing import TypeVar, get_args

from pydantic import BaseModel

Settings = TypeVar("Settings", bound=BaseModel)


def named(section: BaseModel, kind: type[Settings]) -> dict[str, Settings]:
    """Those that the file names, by their fields' names."""
    return {name: each for name, each in section if isinstance(each, kind)}


def one(section: BaseModel, kind: type[Settings]) -> tuple[str, Settings]:
    """The one that the file names, with its field's name. Raises ValueError where it names none, or several."""
    found = named(section, kind)
    if len(found) != 1:
        there = ", ".join(kinds(type(section), kind))
        raise ValueError(f"names {' and '.join(found) or 'nothing'}; it must have one of {there}")
    ((name, each),) = found.items()
    return name, each


def kinds(section: type[BaseModel], kind: type[Settings]) -> dict[str, type[Settings]]:
    """What a file may name of a kind, by the fields' names, in their order."""
    return {
        name: each
        for name, field in section.model_fields.items()
        for each in (field.annotation, *get_args(field.annotation))
        if isinstance(each, type) and issubclass(each, kind)
    }
