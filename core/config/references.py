"""Which columns a pipeline file names, and which of them a table hasn't: so that a slip is reported before it costs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from core.config.documents import Document
from core.config.pipeline import Pipeline
from core.config.profiles import Record
from core.documents.templates import parts, whole_columns


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in the file that names a column, or several of which the first that is there counts; "" for none."""

    setting: str
    names: tuple[str, ...]

    def is_met(self, there: Collection[str]) -> bool:
        """Whether a row with these columns has what is named."""
        return any(not name or any(each in there for each in whole_columns(name)) for name in self.names)


def references(pipeline: Pipeline) -> Mapping[str, tuple[Reference, ...]]:
    """By table, as the file names it."""
    job = pipeline.job
    return {table: tuple(_of_table(f"{job.setting}.{table}", each)) for table, each in job.tables.items()}


def _of_table(at: str, table: Document | Record) -> Iterator[Reference]:
    return _of_record(at, table) if isinstance(table, Record) else _of_document(at, table)


def _of_document(at: str, document: Document) -> Iterator[Reference]:
    yield from _of_template(f"{at}.text", document.text)
    yield from (Reference(f"{at}.metadata", tuple(names.split("|"))) for names in document.metadata)
    yield from (Reference(f"{at}.key", (name,)) for name in document.key)


def _of_record(at: str, record: Record) -> Iterator[Reference]:
    for kind, places in record.identifiers.items():
        for place in places:
            yield from _of_place(f"{at}.identifiers.{kind}", place)
    for name, place in record.attributes.items():
        yield from _of_place(f"{at}.attributes.{name}", place)
    for name, event in record.events.items():
        yield from (Reference(f"{at}.events.{name}", (each,)) for each in (event.column, event.by) if each)
    if record.time:
        yield Reference(f"{at}.time", (record.time,))
    yield from (Reference(f"{at}.key", (name,)) for name in record.key)


def _of_place(setting: str, place: str) -> Iterator[Reference]:
    if "{" in place:
        yield from _of_template(setting, place)
    else:
        yield Reference(setting, (place,))


def _of_template(setting: str, template: str) -> Iterator[Reference]:
    yield from (Reference(setting, names) for _, names in parts(template) if names is not None)


def unmet(named: tuple[Reference, ...], there: Collection[str], what: str) -> list[str]:
    """A line for each place that names what isn't `there`, which are the columns of `what`."""
    lines: dict[str, None] = {}
    for reference in named:
        if not reference.is_met(there):
            names = " or ".join(dict.fromkeys(name for name in reference.names if name))
            lines[f"{reference.setting} names {names}, which {what} lacks{alike(names, there)}"] = None
    return list(lines)


def never_carried(named: tuple[Reference, ...], there: Mapping[str, str], what: str) -> list[str]:
    """A line for each place that names a column whose values no change carries: `there` says why, by column, or "".

    Also where it is one of several, or part of one: a snapshot's rows may have it.
    """
    lines: dict[str, None] = {}
    for reference in named:
        for name in filter(None, reference.names):
            column = next((each for each in whole_columns(name) if each in there), "")
            if column and there[column]:
                lines[f"{reference.setting} names {column} of {what}, {there[column]}"] = None
    return list(lines)


def alike(name: str, there: Collection[str]) -> str:
    """A half sentence: what may have been meant; else what there is, as far as that is short. "" for nothing."""
    if near := nearest(name, there):
        return f": did you mean {near}?"
    listed = ", ".join(there)
    return f"; there are {listed}" if listed and len(listed) <= 300 else ""


def nearest(name: str, there: Collection[str]) -> str:
    """What is most like a name; "" where nothing is much like it."""
    folded = {each.casefold(): each for each in there}
    near = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else ""
