"""No text that a user can bring in takes more time than it is long: every pattern, and every loop over texts.

Patterns are found in the source, so that a new one is tested as it comes. Functions stand in a list: whoever writes a
loop over text adds it there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest

from core.answers import passages
from core.change import Change, Operation, Position
from core.documents import graphemes
from core.documents.chunking import chunker
from core.documents.step import Chunker, DocumentSpec, document_id, render
from core.documents.structure import structured
from core.errors import FilterError, FreshetError, brief, quote
from core.formats import s3
from core.formats.timestamps import nanoseconds
from core.identity import identifiers
from core.stores.filters.language import parse_text
from flink_jobs.running import failures
from tests.growth import UNITS, Build, first_grown, grown, repeated, texts
from udfs.embedding import tokenizing
from udfs.embedding.embedder import HashEmbedder
from udfs.parsing.files import parse
from udfs.parsing.html import hides
from udfs.parsing.text import text_of
from udfs.sentiment.judge import Judge
from udfs.sentiment.vader import Vader

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "udfs", "connectors", "flink_jobs", "serving", "workloads")
ANCHORED = ("match", "fullmatch")
ANYWHERE = ("search", "finditer", "findall", "sub", "split")

# what no row, event or file can reach
OF_THE_OWNER = {
    "core/config/*.py": "the pipeline file, which is its owner's",
    "core/identity/identifiers.py": "`blocked` of the pipeline file",
    "core/formats/tables.py": "`tables` of the pipeline file, and names of tables no longer than databases have them",
    "connectors/kafka/source.py": "the pipeline file's topic pattern",
    "flink_jobs/running/failures.py": "a cause that Flink names, of which the first 2,000 characters are looked at",
}


@dataclass(frozen=True)
class Pattern:
    place: str
    name: str
    pattern: re.Pattern[str] | re.Pattern[bytes]
    methods: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.place}:{self.name}"


def sources() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")


@cache
def patterns() -> tuple[list[Pattern], list[str]]:
    """The patterns of the packages, and places where one isn't written down as a constant."""
    found, unknown = [], []
    for place, source in sources():
        tree = ast.parse(source)
        names = {
            id(node.value): node.targets[0].id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(tree):
            call = _call_of_re(node)
            if call is None:
                continue
            method, arguments = call
            name = names.get(id(node), f"line {node.lineno}")  # type: ignore[attr-defined]
            try:
                text = ast.literal_eval(arguments[0])
            except ValueError:
                unknown.append(place)
                continue
            flags = [getattr(re, each.attr) for each in ast.walk(node) if _is_flag(each)]  # type: ignore[attr-defined]
            compiled = re.compile(text, sum(flags))
            used = set(re.findall(rf"\b{re.escape(name)}\.({'|'.join(ANCHORED + ANYWHERE)})\b", source))
            used |= set() if method == "compile" else {method}
            found.append(Pattern(place, name, compiled, _tried(used)))
    return found, unknown


def _tried(used: set[str]) -> tuple[str, ...]:
    """The two that stand for all: what is tried from one place on, and what is tried from each."""
    anchored, anywhere = bool(used & set(ANCHORED)), bool(used & set(ANYWHERE))
    return ("fullmatch",) * (anchored or not anywhere) + ("finditer",) * (anywhere or not anchored)


def _call_of_re(node: ast.AST) -> tuple[str, list[ast.expr]] | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    if not isinstance(node.func.value, ast.Name) or node.func.value.id != "re":
        return None
    return (node.func.attr, node.args) if node.func.attr in ("compile", *ANCHORED, *ANYWHERE) else None


def _is_flag(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(getattr(re, node.attr, None), re.RegexFlag)


@pytest.mark.parametrize("pattern", patterns()[0], ids=str)
def test_no_pattern_takes_more_time_than_the_text_is_long(pattern: Pattern) -> None:
    source = pattern.pattern.pattern
    own = source if isinstance(source, str) else source.decode()
    literals = [each for each in dict.fromkeys(own) if each.isprintable()]
    for method in pattern.methods:
        run = partial(_run, pattern.pattern, method)
        tried = texts([*UNITS, *literals], ("", "a"), ("", "!"))
        assert first_grown(run, tried) is None, method


def _run(pattern: re.Pattern[str] | re.Pattern[bytes], method: str, text: str) -> object:
    given = text if isinstance(pattern.pattern, str) else text.encode()
    found = getattr(pattern, method)(given)
    return list(found) if method == "finditer" else found


def test_each_pattern_that_is_made_of_something_else_is_the_owners() -> None:
    assert {place for place in patterns()[1] if not any(Path(place).match(known) for known in OF_THE_OWNER)} == set()


def parsed(name: str) -> Callable[[str], object]:
    def run(text: str) -> object:
        with suppress(FreshetError):
            return list(parse(text.encode(), name))
        return None

    return run


def cut(chunks: Chunker) -> Callable[[str], object]:
    return chunks.ranges


def normal(normalize: identifiers.Normalizer) -> Callable[[str], object]:
    return lambda text: identifiers.identifiers("kind", [text[: identifiers.LONGEST]], normalize, lambda value: False)


def instant(text: str) -> object:
    with suppress(ValueError):
        return nanoseconds(text)
    return None


def filtered(text: str) -> object:
    with suppress(FilterError):
        return parse_text(text, ("a",))
    return None


def named_twice(text: str) -> object:
    return filtered("{" + "".join(f'"{at}": 1, ' for at in range(len(text))) + f'"{len(text) - 1}": 1}}')


def asked_of_all(text: str) -> object:
    stays = graphemes.whole(text)
    return [stays(offset) for offset in range(len(text))]


def notified(text: str) -> object:
    return s3.decode(s3_event(s3.notification("bucket", text, 0)))


def s3_event(value: bytes) -> s3.Event:
    return s3.Event("topic", 0, 0, None, value)


SPEC = DocumentSpec("public.t", "{a}\n\n{b|}", (), ())
WORDS, LETTERS = tokenizing._words, tokenizing._letters
VADER = Vader()
MODEL = tokenizing.tokenizer(tokenizing.DEFAULT).starts

FEW = (
    " ",
    "\n",
    "# ",
    "#\n",
    "=",
    ".",
    ". ",
    '."',
    "a",
    "a ",
    "a\n",
    "# a\n",
    "a\n=\n",
    "0",
    "漢。",
    "\u0301",
    "👩\u200d",
    "🇩🇪",
)
"""For what takes long itself: a chunker's work, a tokenizer's, hundreds of objects before the text."""

LONG = ("chunks", "the model's tokens", "JSON objects in a row", "a filter's names")

FUNCTIONS: dict[str, Callable[[str], object]] = {
    "a text": parsed("a.txt"),
    "Markdown": parsed("a.md"),
    "front matter": lambda text: parsed("a.md")(f"---\n{text}\n---\nbody"),
    "a title in front matter": lambda text: parsed("a.md")(f"---\ntitle: a{text}b\n---\nbody"),
    "HTML": lambda text: parsed("a.html")(f"<html><body>{text}"),
    "a heading of HTML": lambda text: parsed("a.html")(f"<html><body><h1>{text}</h1><h2>{text}"),
    "a style of HTML": hides,
    "CSV": parsed("a.csv"),
    "a cell of CSV": lambda text: parsed("a.csv")(f"a,b\n1,{text}\n"),
    "JSON lines": parsed("a.jsonl"),
    "JSON objects in a row": lambda text: parsed("a.jsonl")('{"a":1}' * (len(text) // 7) + text),
    "JSON": parsed("a.json"),
    "text of bytes": lambda text: text_of(text.encode() + b"\xff"),
    "words": WORDS,
    "letters": LETTERS,
    "the model's tokens": MODEL,
    "chunks of words": cut(chunker("words", WORDS, 64, 8)),
    "chunks of letters": cut(chunker("letters", LETTERS, 64, 8)),
    "chunks of the model's tokens": cut(chunker("model", MODEL, 64, 8)),
    "chunks along headings, of words": cut(structured("words", WORDS, 64, 8)),
    "chunks along headings, of letters": cut(structured("letters", LETTERS, 64, 8)),
    "whole characters": asked_of_all,
    "a vector of words' checksums": lambda text: HashEmbedder().embed([text]),
    "a text that is judged": lambda text: Judge(VADER).judge([text]),
    "an identifier of text": normal(identifiers.text),
    "an identifier in one case": normal(identifiers.fold),
    "an e-mail address": normal(identifiers.email),
    "a telephone number": normal(identifiers.phone("US")),
    "a document's text": lambda text: render(SPEC.text, {"a": text, "b": [text]}),
    "a document's id": lambda text: document_id(SPEC, Change("public.t", {"a": text}, Operation.UPSERT, Position("1"))),
    "a value in a message": quote,
    "a filter": filtered,
    "a filter's text": lambda text: filtered(f'{{"a": "{text}"}}'),
    "a filter's column": lambda text: filtered(f'{{"{text}": 1}}'),
    "a filter's names, one of them twice": named_twice,
    "a timestamp": instant,
    "a notification": notified,
    "a passage's overlap": lambda text: passages.overlap.__wrapped__(text, text[1:] + text),
    "a passage, quoted": passages.quoted,
    "a source in one line": brief,
    "a failure": failures.explained,
    "a failure's cause": lambda text: failures.explained(f"java.lang.Exception\nCaused by: {text}"),
    "a cause that is nearly known": lambda text: failures.explained("Cannot find " * (len(text) // 12)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_takes_more_time_than_the_text_is_long(name: str) -> None:
    tried = texts(FEW, ("a",), ("",)) if name.startswith(LONG) else texts(UNITS, ("", "a"), ("", "b\n"))
    assert first_grown(FUNCTIONS[name], tried) is None


QUADRATIC: list[tuple[Callable[[str], object], Build]] = [
    (partial(_run, re.compile(r"\s*x"), "finditer"), repeated("a", "\n", "")),
    (partial(_run, re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$"), "search"), repeated("# a", " ", "\x0bx")),
    (lambda text: [text[:at].title() == "" for at in range(len(text))], repeated("", "a", "")),
]
"""Each takes nanoseconds a step: a processor copies and compares letters faster than `SMALL` lets anyone see."""


@pytest.mark.parametrize("at", range(len(QUADRATIC)))
def test_what_does_is_noticed(at: int) -> None:
    assert grown(*QUADRATIC[at])


LINEAR: list[tuple[Callable[[str], object], Build]] = [
    (lambda text: [hash((character, at)) for at, character in enumerate(text * 20)], repeated("", "a", "")),
    (lambda text: sorted(text * 40, key=hash), repeated("", "ab", "")),
]


@pytest.mark.parametrize("at", range(len(LINEAR)))
def test_what_is_merely_slow_is_not(at: int) -> None:
    assert grown(*LINEAR[at]) == ""
