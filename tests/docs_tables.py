"""Tables of the documentation that list what code has: made from there by `python -m tests.docs_tables`.

A table stands between two lines of its page, `<!-- made by python -m tests.docs_tables: NAME -->` and
`<!-- to here -->`. What it says of an entry is the entry's own: a class's first sentence, or an attribute.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args, get_type_hints

from chaos.feeds import FEEDS
from core.config.dead_letters import DeadLetters, LettersTarget
from core.config.embedding import Embedding, Provider
from core.config.format import Encoding, Format, Promise
from core.config.jobs import KINDS
from core.config.pipeline import Database, Reselect
from core.config.source import Origin, Source
from core.config.store import Store
from core.config.targets import Target
from core.config.variants import kinds
from core.metrics.figures import METRICS
from serving.figures import FIGURES
from tests.deploy import ran
from tests.pages import PAGES
from udfs.embedding.engines import ENGINES

COMMAND = "python -m tests.docs_tables"

_MADE = re.compile(rf"(?<=^<!-- made by {COMMAND}: )([a-z ]+) -->\n.*?(?=^<!-- to here -->$)", re.DOTALL | re.MULTILINE)
_SENTENCE = re.compile(r".*?\.(?=\s|$)", re.DOTALL)

Row = Sequence[str]


def said_of(kind: type) -> str:
    """The first sentence of a class's docstring, in one line, without its full stop."""
    found = _SENTENCE.match(inspect.getdoc(kind) or "")
    assert found is not None, f"{kind.__name__}'s docstring has no first sentence"
    return " ".join(found[0].split()).removesuffix(".")


def nameable() -> Iterator[Row]:
    """What a pipeline file may name, in place of one another or side by side."""
    yield "setting", ""
    parts: tuple[tuple[str, type, type], ...] = (
        ("source.{}", Source, Origin),
        ("format: {}", Format, Encoding),
        ("embedding.{}", Embedding, Provider),
        ("store.{}", Store, Target),
        ("dead_letters.{}", DeadLetters, LettersTarget),
        ("reselect.{}", Reselect, Database),
    )
    for written, section, kind in parts:
        for name, each in kinds(section, kind).items():
            yield f"`{written.format(name)}`", said_of(each)
        if section is Format:
            for name, of in KINDS.items():
                yield f"`{name}`", said_of(get_args(get_type_hints(of)["return"])[0])
        if section is Embedding:
            for name, engine in ENGINES.items():
                yield f"`embedding.engine: {name}`", engine.what.removesuffix(".")


def feeds() -> Iterator[Row]:
    """The formats, with what each promises by the sources that it may come from."""
    yield "`format`", "from", "what orders a key's changes", "what it can lose, and what Freshet does"
    # their own defaults, though some of them must be given
    origins = {name: kind.model_construct() for name, kind in kinds(Source, Origin).items()}
    for name, kind in kinds(Format, Encoding).items():
        encoding = kind.model_construct()
        promises: dict[Promise, list[str]] = {}
        for source, origin in origins.items():
            if not origin.misfit(name, encoding.tells_order):
                promises.setdefault(encoding.promise(origin), []).append(f"`{source}`")
        for promise, sources in promises.items():
            feed = f", from {promise.feed}" if promise.feed else ""
            yield f"`{name}`{feed}", ", ".join(sources), promise.order, promise.loses


def stores() -> Iterator[Row]:
    """The stores of vectors, with what each can hold to."""
    yield (
        "`store`",
        "what orders changes",
        "while a document is swapped",
        "a search after a write",
        "filters",
        "words",
        "limits",
    )
    for name, kind in kinds(Store, Target).items():
        if (promise := kind.promise) is not None:
            said = (promise.order, promise.swapped, promise.after, promise.filters, promise.words, promise.limits)
            yield f"`{name}`", *said


def figures() -> Iterator[Row]:
    """What a job counts."""
    yield "figure", "labels", ""
    for name, each in METRICS.items():
        unit = f" ({each.unit})" if each.unit else ""
        yield f"`{name}`", _coded(each.labels), each.description + unit


def figures_of_a_server() -> Iterator[Row]:
    """What `freshet serve` counts."""
    yield "figure", "labels", ""
    yield from ((f"`{each.name}`", _coded(each.labels), each.description) for each in FIGURES)


def feeds_of_chaos() -> Iterator[Row]:
    """The feeds of `freshet chaos`."""
    yield "`--feed`", "what is written, and how its changes are sent", "the truth", "its own faults"
    for name, each in FEEDS.items():
        yield f"`{name}`", each.written, each.truth, "; ".join(each.own_faults)


def what_ran() -> Iterator[Row]:
    """What of every deployment file ran, and by which test."""
    yield "file", "ran", "by, in `tests/deploy/`", "never ran"
    for row in ran.ROWS:
        yield _coded(row.files), row.ran, _coded(row.tests), row.never or "nothing"


TABLES: Mapping[str, Callable[[], Iterator[Row]]] = {
    "nameable": nameable,
    "feeds": feeds,
    "stores": stores,
    "figures": figures,
    "figures of a server": figures_of_a_server,
    "feeds of chaos": feeds_of_chaos,
    "what ran": what_ran,
}
"""By the names in the pages; the first row is the head."""


def _coded(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def table(name: str) -> str:
    """A table in Markdown."""
    head, *rows = TABLES[name]()
    lines = [_line(head), "|" + "---|" * len(head), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    return re.sub(r"\|\s+(?=\|)", "| ", f"| {' | '.join(row)} |")


def made(page: Path) -> str:
    """A page's text, its tables as code has them now."""
    return _MADE.sub(lambda found: f"{found[1]} -->\n{table(found[1])}", page.read_text(encoding="utf-8"))


def tables_in(page: Path) -> list[str]:
    """The names of the tables that are made in a page."""
    return [found[1] for found in _MADE.finditer(page.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    for each in PAGES:
        each.write_text(made(each), encoding="utf-8")
