"""A run looks at whose its stores are and what made them, on a real store and without a job."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rich.console import Console

from connectors.opening import stores as opening
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from core.stores.contract import VectorStore
from core.stores.fingerprint import Owner
from core.stores.owning import How
from core.stores.ranking import Mode
from flink_jobs.running.jobs import newest_state
from operations import owning
from operations.owning import forsake, how_of, nothing_found, otherwise, refused, since_ns, take
from operations.reporting import unheard
from operations.resuming import Beginning
from operations.run import start
from operations.search import answered, search
from operations.servers import stores
from stack.local import Stack
from terminal.lines import printer
from tests.connectors.damage import hand
from tests.connectors.test_store_contract import plan
from tests.operations.test_verify import database, pipeline_of
from udfs.embedding.embedder import dimension, embedder

KAFKA = {"topic": "t", "properties.bootstrap.servers": "x:1", "scan.startup.mode": "earliest-offset"}
TABLES: dict[str, Any] = {"public.a": {"text": "{body}", "metadata": ["lang"]}}


class Place:
    """A folder to start runs of pipelines in, and a database for their stores."""

    def __init__(self, folder: Path, stack: Stack, dsn: str) -> None:
        self.folder, self._stack, self.dsn = folder, stack, dsn

    def pipeline(self, **changes: Any) -> Pipeline:
        settings = {"source": {"kafka": KAFKA}, "documents": TABLES, "name": "articles", **changes}
        pipeline = pipeline_of(self.folder, self._stack, self.dsn, **settings)
        opening.prepare(opening.stores_of(pipeline), lambda: dimension(pipeline.embedding))
        return pipeline

    def run(self, how: How = How.REFUSE, without_state: bool = False, **changes: Any) -> tuple[Owner, str]:
        printed = StringIO()
        owner = take(self.pipeline(**changes), printer(Console(file=printed, width=300)), how, without_state)
        return owner, printed.getvalue()

    def checkpoint(self) -> None:
        file = self.folder / ".freshet/pipelines/articles/checkpoints/job/chk-1/_metadata"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")

    def store(self, **changes: Any) -> VectorStore:
        (store,) = stores(self.pipeline(**changes)).values()
        return store

    def fill(self, count: int = 3) -> None:
        store, model = self.store(), embedder("hash")
        plans = [plan(f"public.a/{number}", "1", f"text {number}") for number in range(count)]
        store.apply(plans, [model.embed([chunk.text for chunk in each.write]) for each in plans])
        store.close()


@pytest.fixture
def place(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    yield Place(tmp_path, stack, database(stack))


OTHER_TEXT = {"documents": {"public.a": {"text": "{title}", "metadata": ["lang"]}}}


def test_runs_of_one_file_follow_each_other(place: Place) -> None:
    first, printed = place.run()
    place.checkpoint()
    second, _ = place.run()
    assert printed == ""
    assert second.epoch > first.epoch
    assert place.store().owner() == second


def test_a_changed_file_is_refused_until_it_is_said_what_becomes_of_what_is_there(place: Place) -> None:
    place.run()
    place.fill()
    place.checkpoint()
    for without_state in (False, True):
        with pytest.raises(ConfigError) as raised:
            place.run(without_state=without_state, **OTHER_TEXT)
        message = str(raised.value)
        assert "table chunks: text of public.a was '{body}', is '{title}'" in message
        assert "freshet run pipeline.yaml --mixed    keeps what is there, 3 chunks" in message
        assert "--rebuild" in message
    changed = place.pipeline(**OTHER_TEXT)
    assert "was not started" in refused(changed, "pgvector")[0]
    assert otherwise(changed, stores(changed)) == [
        "store.pgvector: table chunks: text of public.a was '{body}', is '{title}'"
    ]

    _, printed = place.run(How.MIXED, **OTHER_TEXT)
    assert "mixed: store.pgvector: table chunks: text of public.a was '{body}', is '{title}'" in printed
    place.run(**OTHER_TEXT)
    assert refused(changed, "pgvector") == []
    (note,) = otherwise(changed, stores(changed))
    assert note.startswith("what hasn't changed since is as before (--mixed): store.pgvector")
    home = place.folder / ".freshet/pipelines/articles"
    assert newest_state(home, since_ns(changed)) is not None

    place.run(How.REBUILD, **OTHER_TEXT)
    assert otherwise(changed, stores(changed)) == []
    assert newest_state(home) is not None
    assert newest_state(home, since_ns(changed)) is None, "no run goes on from a state of before the rebuild"
    place.run(**OTHER_TEXT)
    assert newest_state(home, since_ns(changed)) is None
    place.checkpoint()
    assert newest_state(home, since_ns(changed)) is not None


def test_another_prompt_before_the_documents_is_refused_too(place: Place) -> None:
    place.run()
    place.fill()
    place.checkpoint()
    e5 = {"embedding": {"model": "hash", "prompts": {"query": "query: ", "document": "passage: "}}}
    with pytest.raises(ConfigError) as raised:
        place.run(**e5)
    message = str(raised.value)
    assert "table chunks: embedding: before each document stood nothing, stands 'passage: '" in message
    assert "Embeds every text, as all 3 chunks there were embedded behind another prompt" in message
    place.run(How.REBUILD, **e5)
    place.fill()
    with pytest.raises(ConfigError, match="stood 'passage: ', stands nothing"):
        place.run(without_state=True)
    place.run(without_state=True, embedding={"model": "hash", "prompts": {"document": "passage: "}})


def test_a_first_run_that_left_nothing_is_no_obstacle_to_the_corrected_file(place: Place) -> None:
    place.run()
    place.checkpoint()
    changed = place.pipeline(**OTHER_TEXT)
    assert "the run before: text of public.a was" in refused(changed, "pgvector")[1]
    forsake(place.pipeline())
    assert refused(changed, "pgvector") == []
    _, printed = place.run(**OTHER_TEXT)
    assert printed == "" and not owning.has_state(changed)


def test_a_state_is_kept_where_nothing_comes_again(place: Place) -> None:
    latest = {"source": {"kafka": {**KAFKA, "scan.startup.mode": "latest-offset"}}}
    place.run(**latest)
    place.checkpoint()
    forsake(place.pipeline(**latest))
    assert owning.has_state(place.pipeline(**latest))


def test_another_pipelines_table_is_refused_by_its_owners_name_and_can_be_taken(place: Place) -> None:
    place.run(name="pages")
    with pytest.raises(ConfigError, match="table chunks: belongs to pipeline pages, which last began on"):
        place.run()
    assert "belongs to pipeline pages" in refused(place.pipeline(), "pgvector")[1]
    place.run(How.MIXED)
    assert refused(place.pipeline(), "pgvector") == []
    with pytest.raises(ConfigError, match="belongs to pipeline articles"):
        place.run(name="pages")


def test_anothers_store_is_refused_before_flink_starts(
    place: Place, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.run(name="pages")
    monkeypatch.setattr("flink_jobs.engine.environment.local_environment", lambda *_: pytest.fail("Flink was started"))
    kafka = {**KAFKA, "properties.bootstrap.servers": stack.kafka.bootstrap_servers}
    with pytest.raises(ConfigError, match="belongs to pipeline pages"):
        start(place.pipeline(source={"kafka": kafka}), unheard, Beginning())


def test_a_new_store_of_an_old_state_is_refused(place: Place) -> None:
    elsewhere = {"store": {"pgvector": {"dsn": place.dsn, "table": "elsewhere"}}}
    place.run()
    place.checkpoint()
    with pytest.raises(ConfigError, match="table elsewhere: is new and empty, and the state"):
        place.run(**elsewhere)
    place.run(without_state=True, **elsewhere)
    place.checkpoint()
    with pytest.raises(ConfigError, match="goes on from is of a later run"):
        place.run()


def test_a_table_that_was_dropped_beside_its_ledger_is_refused_until_all_is_made_anew(place: Place) -> None:
    place.run()
    place.fill()
    place.checkpoint()
    pipeline = place.pipeline()
    with psycopg.connect(place.dsn, autocommit=True) as server:
        server.execute("DROP TABLE chunks")
        assert "is empty, though its ledger has the 3 documents" in refused(pipeline, "pgvector")[1]
        with pytest.raises(ConfigError, match="is empty, though its ledger has the 3 documents"):
            place.run()
        place.run(How.REBUILD)
        place.checkpoint()
        server.execute("DROP TABLE chunks; DROP TABLE chunks_ledger")
        assert "is new and empty, and the state" in refused(pipeline, "pgvector")[1], "check says it as run does"
        place.run(How.REBUILD)
        place.fill()
        place.checkpoint()
        server.execute("DROP TABLE chunks_ledger")
        assert refused(pipeline, "pgvector") == [], "chunks are there, and a run makes their ledger"


def test_a_run_without_state_that_leaves_none_hides_the_state_of_before(place: Place) -> None:
    elsewhere = {"store": {"pgvector": {"dsn": place.dsn, "table": "elsewhere"}}}
    place.run()
    place.checkpoint()
    place.run(without_state=True, **elsewhere)
    assert not owning.has_state(place.pipeline(**elsewhere))


def test_a_table_of_an_earlier_release_is_adopted_and_named(place: Place) -> None:
    place.fill()
    place.checkpoint()
    _, printed = place.run()
    assert "store.pgvector: table chunks has no owner yet, as an earlier release made it" in printed
    assert place.run()[1] == ""


def test_a_search_goes_by_vectors_by_words_or_by_both(place: Place) -> None:
    place.fill()
    pipeline = place.pipeline()
    (by_vector,) = search(pipeline, "text 1", 1, [])
    (by_words,), notes = answered(pipeline, "TEXT 1", 1, [], mode=Mode.TEXT)
    (by_both,) = search(pipeline, "text 1", 1, [], mode=Mode.HYBRID)
    assert {each.document_id for each in (by_vector, by_words, by_both)} == {"public.a/1"}
    assert by_vector.score == by_vector.cosine == by_both.cosine == pytest.approx(1)
    assert by_both.score == pytest.approx(2 / 61) and by_words.cosine is None and notes == []
    assert len(search(pipeline, "text 1", 5, [], mode=Mode.HYBRID)) == 3
    (why,) = answered(pipeline, "unheard-of", 1, [], mode=Mode.TEXT)[1]
    assert why == "table chunks: none of its chunks has a word of the question"
    (why,) = answered(pipeline, "text", 1, ["lang=xx"], mode=Mode.TEXT)[1]
    assert why == "table chunks: none of its chunks that have lang=xx has a word of the question"


def test_a_search_that_found_nothing_says_why(place: Place) -> None:
    place.fill()
    other = place.pipeline(embedding={"model": "all-MiniLM-L6-v2"})
    ((name, store),) = stores(other).items()
    with pytest.raises(ConfigError, match="table chunks holds 3 chunks of hash, none of all-MiniLM-L6-v2"):
        nothing_found(other, name, store, [])
    why = nothing_found(place.pipeline(), name, store, ["lang=xx"])
    assert why == "table chunks: none of its 3 chunks has lang=xx"
    hand(store).empty()
    why = nothing_found(place.pipeline(), name, store, [])
    assert why == "table chunks is empty; no job of it runs in this folder: see `freshet status`"


def test_a_rebuild_needs_a_beginning_and_is_not_mixed(place: Place) -> None:
    latest = {"source": {"kafka": {**KAFKA, "scan.startup.mode": "latest-offset"}}}
    with pytest.raises(ConfigError, match="set it to earliest-offset"):
        place.run(How.REBUILD, **latest)
    with pytest.raises(ConfigError, match="give one of them"):
        how_of(True, True)
    assert [how_of(False, False), how_of(True, False), how_of(False, True)] == [How.REFUSE, How.MIXED, How.REBUILD]


def test_other_rules_of_persons_are_noticed_where_a_state_goes_on(place: Place) -> None:
    identifiers = [{"type": "email", "normalize": "email", "limit": 2}]
    customers = {"identifiers": {"email": "mail"}, "attributes": {"name": "name"}}
    people = {"identifiers": identifiers, "records": {"public.a": customers}}
    profiles: dict[str, Any] = {
        "documents": {},
        "profiles": people,
        "embedding": {"model": "hash", "text": "{name}"},
        "store": {"postgres": {"dsn": place.dsn}},
    }
    place.run(**profiles)
    place.checkpoint()
    place.run(**profiles)
    other = {**profiles, "profiles": {**people, "blocked": ["none@.*"]}}
    for how in (How.REFUSE, How.MIXED):
        with pytest.raises(ConfigError) as refusal:
            place.run(how, **other)
        lines = "\n".join(refusal.value.problems)
        assert 'profiles.blocked was [], is ["none@.*"]' in lines and "--rebuild" in lines and "--mixed" not in lines
    place.run(How.REBUILD, **other)
    place.checkpoint()
    place.run(**other)
