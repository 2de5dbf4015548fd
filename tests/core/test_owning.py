"""What a run refuses to mix, and what it says then."""

from __future__ import annotations

from typing import Any

import pytest

from core.config.embedding import Prompt
from core.config.pipeline import Pipeline
from core.stores.fingerprint import Fingerprint, Made, Owner
from core.stores.owning import Found, How, obstacles, owner_of, refusal, stands

MADE = Made("{body}", "c", ("lang",))
NOW = Fingerprint("m", {"public.a": MADE})
OTHER_TEXT = Fingerprint("m", {"public.a": Made("{title}", "c", ("lang",))})
OTHER_METADATA = Fingerprint("m", {"public.a": Made("{body}", "c")})
OTHER_PRECISION = Fingerprint("m", {"public.a": MADE}, precision="bfloat16")
OTHER_PROMPT = Fingerprint("m", {"public.a": MADE}, prompt=Prompt("passage: "))
OTHER_MODEL = Fingerprint("older", {"public.a": MADE})
EPOCH = 1_764_000_000_000
P = "store.pgvector: table t"


def found(made: Fingerprint | None, name: str = "articles", **models: int) -> Found:
    return Found(P, None if made is None else Owner(name, EPOCH, made), models)


def why(each: Found, made: Fingerprint | None = None, resumes: bool = False, epoch: int = EPOCH) -> list[str]:
    kept = None if made is None else Owner("articles", epoch, made)
    return [str(change) for change in obstacles([each], "articles", NOW, kept, resumes)]


def test_nothing_stands_in_the_way_of_the_same_pipeline() -> None:
    assert why(found(NOW), NOW, True) == []
    assert why(found(NOW)) == []
    assert why(found(None)) == [], "a new store of a new pipeline"


def test_what_an_earlier_release_made_is_adopted() -> None:
    assert why(found(None, m=9), None, True) == []
    assert why(found(None), None, True) == [], "nothing tells what its state has written"


def test_chunks_that_no_filter_finds_are_made_anew_or_left_by_choice() -> None:
    older = Found(P, Owner("articles", EPOCH, NOW), {"m": 7}, unindexed=7)
    (change,) = obstacles([older], "articles", NOW, None, False)
    assert str(change) == f"{P}: was written by an earlier release, whose chunks no --filter and no --where finds"
    lines = refusal("articles", [older], [change], NOW)
    assert "Keeps every vector, and embeds nothing" in lines[-1] and "--rebuild" in lines[-1]
    assert owner_of("articles", [older], [change], NOW, How.MIXED, EPOCH).mixed == (str(change),)


def test_another_pipelines_store_is_refused_by_its_owners_name() -> None:
    (line,) = why(found(NOW, "pages"))
    assert line.startswith(f"{P}: belongs to pipeline pages, which last began on 2025-11-24")


def test_a_new_store_of_an_old_state_is_refused() -> None:
    (line,) = why(found(None), NOW, True)
    assert "is new and empty, and the state that the run goes on from" in line
    assert why(found(None), NOW, False) == []


def test_a_store_that_missed_runs_is_refused_where_their_state_goes_on() -> None:
    (line,) = why(found(NOW), NOW, True, EPOCH + 1)
    assert line.startswith(f"{P}: was last this pipeline's on 2025-11-24") and "of a later run" in line
    assert why(found(NOW), NOW, False, EPOCH + 1) == []
    assert why(found(NOW), NOW, True, EPOCH - 1) == [], "a run elsewhere was later"


def test_store_and_state_are_both_compared_and_each_change_is_named_once() -> None:
    (line,) = why(found(OTHER_TEXT, m=1), OTHER_TEXT, True)
    assert line == f"{P}: text of public.a was '{{title}}', is '{{body}}'"
    assert why(found(NOW), OTHER_TEXT, True) == ["the run before: text of public.a was '{title}', is '{body}'"]
    assert why(found(NOW), OTHER_TEXT, False) == []


def test_an_empty_store_mixes_nothing_but_a_state_may() -> None:
    assert why(found(OTHER_TEXT)) == why(found(OTHER_MODEL)) == []
    assert why(found(OTHER_TEXT, m=1)) != []
    # what that run skipped or refused doesn't come again
    assert why(found(OTHER_TEXT), OTHER_TEXT, True) == ["the run before: text of public.a was '{title}', is '{body}'"]


@pytest.mark.parametrize(
    ("made", "models", "embeds"),
    [
        (OTHER_METADATA, {"m": 9}, "Keeps every vector, and embeds nothing"),
        (OTHER_MODEL, {"older": 2180}, "Embeds every text, as all 2,180 chunks there are of another model"),
        (
            OTHER_TEXT,
            {"m": 1},
            "whose text, model and chunker stay; embeds the others, of 1 chunk there",
        ),
        (OTHER_PROMPT, {"m": 2180}, "Embeds every text, as all 2,180 chunks there were embedded behind another prompt"),
        (OTHER_PRECISION, {"m": 9}, "Embeds every text, as all 9 chunks there were embedded in another precision"),
        (OTHER_TEXT, {}, "Embeds every text, as nothing is there to keep"),
    ],
)
def test_a_refusal_names_the_ways_on_and_what_they_embed(
    made: Fingerprint, models: dict[str, int], embeds: str
) -> None:
    there, kept = [found(made, **models)], Owner("articles", EPOCH, made)
    lines = refusal("articles", there, obstacles(there, "articles", NOW, kept, True), NOW)
    assert lines[0] == "articles was not started: its store would then hold documents made in two different ways"
    (rebuild,) = (line for line in lines if line.startswith("  freshet run pipeline.yaml --rebuild  "))
    assert embeds in rebuild
    assert any(line.startswith("  freshet run pipeline.yaml --mixed  ") for line in lines)
    assert lines[-1] == "  or have the pipeline file say again what it said"


def test_persons_are_never_linked_by_two_rules() -> None:
    before, now = (Fingerprint("m", profiles={"blocked": f'["{each}"]', "records": "[]"}) for each in ("null", "none"))
    why = obstacles([], "people", now, Owner("people", EPOCH, before), True)
    assert [str(each) for each in why] == ['the run before: profiles.blocked was ["null"], is ["none"]']
    assert [stands(why, how) for how in (How.REFUSE, How.MIXED, How.REBUILD)] == [True, True, False]
    lines = refusal("people", [], why, now)
    assert lines[0] == "people was not started: its state has linked persons by other rules"
    assert any("--rebuild" in line for line in lines) and not any("--mixed" in line for line in lines)
    unsaid = Owner("people", EPOCH, Fingerprint("m"))
    assert obstacles([], "people", now, unsaid, True) == (), "an earlier release didn't say"


def test_a_store_that_lost_its_chunks_is_refused_where_a_state_goes_on() -> None:
    lost = Found(P, Owner("articles", EPOCH, NOW), {}, 2006)
    why_not = obstacles([lost], "articles", NOW, Owner("articles", EPOCH, NOW), True)
    assert [str(each) for each in why_not] == [
        f"{P}: is empty, though its ledger has the 2,006 documents that the run goes on from: they aren't written again"
    ]
    assert why(lost) == [], "whoever reads all again mends it"
    lines = refusal("articles", [lost], why_not, NOW)
    assert lines[0] == "articles was not started: its store has lost what an earlier run wrote to it"
    assert lines[-1] == "  or restore it" and any("Embeds every text" in line for line in lines)


def test_a_new_store_of_an_old_state_has_one_way_on() -> None:
    there, kept = [found(None)], Owner("articles", EPOCH, NOW)
    lines = refusal("articles", there, obstacles(there, "articles", NOW, kept, True), NOW, "freshet run a.yaml")
    assert lines[0] == "articles was not started: its store is new and empty"
    assert [line.split("  ")[1] for line in lines[3:4]] == ["freshet run a.yaml --without-state"]
    assert not any(each in line for each in ("--mixed", "--rebuild", "0 chunks", "said") for line in lines)


def test_a_refusal_of_anothers_store_names_another_way() -> None:
    there = [found(NOW, "pages", m=3)]
    lines = refusal("articles", there, obstacles(there, "articles", NOW, None, False), NOW)
    assert lines[-1] == (
        "  Both take it from pages, whose run then stops. Or name another table or index in the pipeline file"
    )


def test_an_owner_is_later_than_all_that_it_finds() -> None:
    there = [found(NOW), Found("q", Owner("articles", 9_999_999_999_999, NOW))]
    assert owner_of("articles", there, (), NOW, How.REFUSE, 5).epoch == 10_000_000_000_000
    assert owner_of("articles", [found(None)], (), NOW, How.REFUSE, 5) == Owner("articles", 5, NOW)


def test_what_was_left_as_it_was_is_remembered_until_it_is_made_anew() -> None:
    there = [found(OTHER_TEXT, m=1)]
    mixed = owner_of("articles", there, obstacles(there, "articles", NOW, None, True), NOW, How.MIXED, 5)
    assert mixed.mixed == (f"{P}: text of public.a was '{{title}}', is '{{body}}'",)
    again = [Found(P, mixed)]
    assert owner_of("articles", again, (), NOW, How.REFUSE, 5).mixed == mixed.mixed
    assert owner_of("articles", again, (), NOW, How.REBUILD, 5).mixed == ()


def pipeline(source: dict[str, Any], format_: Any = "debezium") -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "articles",
            "source": source,
            "format": format_,
            "documents": {("s3.handbook" if format_ == "s3" else "public.a"): {"text": "{body}"}},
            "store": {"pgvector": {"dsn": "host=x", "table": "t"}},
            "dead_letters": {"kafka": {"topic": "l", "properties.bootstrap.servers": "x:1"}},
        }
    )


def beginning(source: dict[str, Any], format_: str = "debezium") -> str:
    return pipeline(source, format_).source.chosen.no_beginning()


def test_only_a_source_with_a_beginning_can_be_read_again() -> None:
    kafka = {"topic": "t", "properties.bootstrap.servers": "x:1"}
    assert beginning({"kafka": {**kafka, "scan.startup.mode": "earliest-offset"}}) == ""
    assert "set it to earliest-offset" in beginning({"kafka": kafka})
    assert "set it to TRIM_HORIZON" in beginning({"kinesis": {"stream": "s"}})
    assert beginning({"kinesis": {"stream": "s", "source.init.position": "TRIM_HORIZON"}}) == ""
    assert "freshet backfill" in beginning({"sqs": {"queue_url": "https://q/a/b"}}, "s3")
