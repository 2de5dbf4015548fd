"""A source, an endpoint that embeds and a place for dead letters are added by their settings and an entry each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import pytest
from pydantic import ValidationError
from pyflink.common import Row

from connectors.opening import dead_letters, sources
from connectors.opening.log_identity import ask
from core.config.dead_letters import DeadLetters, LettersTarget
from core.config.embedding import Embedding, Provider
from core.config.format import Encoding, Files, Format
from core.config.jobs import KINDS
from core.config.log_identity import LogIdentity
from core.config.pipeline import Pipeline
from core.config.request_limits import Limits
from core.config.source import Origin, Source
from core.config.variants import kinds
from core.decoding import DECODERS
from core.letters import Letter, Message
from core.stores.contract import Vectors
from flink_jobs.job import BUILDERS
from flink_jobs.sources import events
from flink_jobs.steps.letters import WriteLetter
from operations.check import Finding, check
from operations.dead_letters import replay
from operations.servers import reach
from operations.verify.whole import COMPARISONS
from tests.flink_jobs.test_meters import Group
from tests.operations.test_search import pipeline
from udfs.embedding.embedder import dimension, embedder
from udfs.embedding.remote import endpoints
from udfs.embedding.tokenizing import tokenizer_of

__all__ = ["pipeline"]


class Paper(Origin):
    """A source that the product doesn't have."""

    at: ClassVar[str] = "url"

    url: str

    @property
    def servers(self) -> tuple[str, ...]:
        return (self.url,)

    def misfit(self, format_: str, tells_order: bool) -> str:
        return "" if format_ == "debezium" else f"paper has no {format_}"

    def no_beginning(self) -> str:
        return "paper has no beginning"


class WithPaper(Source):
    """The settings, with one more source."""

    paper: Paper | None = None


class Bin(LettersTarget):
    """A place for dead letters that the product doesn't have."""

    @property
    def place(self) -> str:
        return "the bin"


class WithBin(DeadLetters):
    """The settings, with one more place."""

    bin: Bin | None = None


class OfBin:
    """As much of such a place as reaching it, `freshet check` and `freshet dead-letters` ask for."""

    name, setting, servers = "the bin", "dead_letters.bin", ()

    def look(self) -> bool:
        return True

    def room(self, make: bool = True) -> int:
        return 7_000

    def usual_room(self) -> int:
        return 7_000

    def sink(self, table: str) -> ToBin:
        return ToBin()

    def letters(self) -> AbstractContextManager[InBin]:
        return nullcontext(InBin())


class ToBin:
    """Writes letters to it, from a job."""

    def write(self, letter: Message) -> None:
        BINNED.append(letter)

    def close(self) -> None:
        BINNED.clear()


BINNED: list[Message] = []


class InBin:
    """Two letters, of which one is the pipeline's."""

    ends: ClassVar[dict[str, str]] = {}

    def read(self, since: Mapping[str, str] = ends) -> Iterator[Letter]:
        for number, name in enumerate(("rivers", "seas")):
            details = {"pipeline": name, "source.topic": "sheets", "source.partition": "0", "source.offset": "7"}
            yield Letter(f"bag {number}", 5, None, b"torn", (), details)

    def at(self, place: str) -> Letter | None:
        return next((each for each in self.read() if each.place == place), None)


class Sheets:
    """Where events of such a source are sent again."""

    names = frozenset(["sheets"])

    def __init__(self) -> None:
        self.sent: list[bytes | None] = []

    def whole(self, letter: Letter) -> Letter | None:
        return letter

    def send(self, letters: Sequence[Letter]) -> None:
        self.sent += [each.value for each in letters]


SHEETS = Sheets()


class Abacus(Provider):
    """An endpoint that the product doesn't have."""

    beads: int

    @property
    def shortens(self) -> int:
        return self.beads

    def documented(self, model: str) -> Limits:
        return Limits(2)


class WithAbacus(Embedding):
    """The settings, with one more endpoint."""

    abacus: Abacus | None = None


class OfAbacus:
    """Vectors of as many numbers as it has beads."""

    where = "the abacus"

    def __init__(self, beads: int) -> None:
        self.beads, self.asked = beads, [0]

    def ask(self, texts: Sequence[str]) -> Vectors:
        self.asked.append(len(texts))
        return np.array([[len(text), *[1] * (self.beads - 1)] for text in texts], np.float32)

    def close(self) -> None:
        pass


@pytest.fixture
def toys(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    asking = sources.Asking(
        lambda paper, pipeline: f"{paper.url} has {len(pipeline.documents)} sheets",
        lambda paper, order: LogIdentity(order, {"paper": paper.url}),
        lambda paper: nullcontext(SHEETS),
    )
    monkeypatch.setitem(cast("dict[str, Any]", sources.SOURCES), "paper", asking)
    monkeypatch.setitem(cast("dict[str, Any]", events.READERS), "paper", lambda *given: events.Feed(given[-1]))
    monkeypatch.setitem(cast("dict[str, Any]", dead_letters.PLACES), "bin", lambda target, pipeline: OfBin())
    yield pipeline.model_copy(
        update={
            "source": WithPaper(paper=Paper(url="http://127.0.0.1:1")),
            "dead_letters": WithBin(bin=Bin()),
        }
    )


def test_a_source_that_is_added_is_named_asked_and_read(toys: Pipeline) -> None:
    assert (toys.source.name, toys.reads_kafka) == ("paper", False)
    assert reach(toys) == "http://127.0.0.1:1 has 1 sheets"
    assert ask(toys).identity == LogIdentity("debezium", {"paper": "http://127.0.0.1:1"})
    assert toys.source.chosen.no_beginning() == "paper has no beginning"
    misfit = Format.model_validate({"files": {}}).misfit(toys.source)
    assert toys.format.misfit(toys.source) == "" and misfit == "paper has no files"
    assert events.feed(cast("Any", None), toys).events is toys.source.chosen
    with pytest.raises(ValidationError, match=r"names nothing; it must have one of kafka, kinesis, .*, paper"):
        WithPaper()


def test_check_looks_for_its_server_and_at_where_dead_letters_go(toys: Pipeline) -> None:
    found = {each.step: each for each in check(toys)}
    assert found["source.paper"].message.startswith("source.paper.url: nobody answers at 127.0.0.1:1")
    assert found["dead_letters.bin"] == Finding("dead_letters.bin", True, "the bin takes letters of 7,000 bytes")


def test_a_job_writes_letters_there_without_a_connector_of_flinks(toys: Pipeline) -> None:
    place = dead_letters.place_of_letters(toys)
    sink = place.sink("dead_letters")
    assert not isinstance(sink, str)
    operator, counted = WriteLetter(place, sink), Counter[str]()
    operator.open(cast("Any", SimpleNamespace(get_metrics_group=lambda: Group(counted))))
    assert list(operator.flat_map(Row(b"k", b"v" * 9_000, None))) == []
    assert counted == {"freshet.letters": 1}
    (letter,) = BINNED
    assert letter.key == b"k" and letter.value is not None and len(letter.value) < 7_000
    operator.close()


def test_its_letters_are_found_and_sent_to_the_source_again_once(
    toys: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with dead_letters.letters(toys) as there:
        found = there.at("bag 1")
        assert found is not None and found.pipeline == "seas"
    for sent in (1, 0):
        with replay(toys, lambda letter: True, None, again=False) as replayed:
            assert replayed.counts == ({"sheets": 1} if sent else {}) and replayed.left["of other pipelines"] == 1
            assert replayed.send() == sent
    assert SHEETS.sent == [b"torn"]


def test_an_endpoint_that_is_added_embeds(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[OfAbacus] = []

    def open_abacus(embedding: Embedding, to: Abacus, of_questions: bool) -> OfAbacus:
        opened.append(OfAbacus(to.beads))
        return opened[-1]

    monkeypatch.setitem(cast("dict[str, Any]", endpoints.ENDPOINTS), "abacus", open_abacus)
    with pytest.raises(ValidationError, match=r"max_texts needs an endpoint: one of openai, .*, abacus"):
        WithAbacus(max_texts=3)
    embedding = WithAbacus(model="beads", abacus=Abacus(beads=4))
    assert (embedding.remote, embedding.provided_by, dimension(embedding)) == (True, "abacus", 4)
    assert tokenizer_of(embedding).name == "letters4"
    vectors = embedder(embedding).embed(["a", "bb", "ccc"])
    assert vectors.shape == (3, 4) and np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert max(opened[0].asked) == 2


def test_all_that_a_file_may_name_has_its_entry() -> None:
    assert kinds(Source, Origin).keys() == sources.SOURCES.keys() == events.READERS.keys()
    rows = {name for name, kind in kinds(Format, Encoding).items() if kind.of_rows and not issubclass(kind, Files)}
    assert rows == DECODERS.keys()
    assert kinds(DeadLetters, LettersTarget).keys() == dead_letters.PLACES.keys()
    assert kinds(Embedding, Provider).keys() == endpoints.ENDPOINTS.keys()
    assert KINDS.keys() == BUILDERS.keys()
    # feedback has no tables to be compared with
    assert KINDS.keys() - {"feedback"} == COMPARISONS.keys()
