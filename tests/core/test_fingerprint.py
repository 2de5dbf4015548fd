"""What tells two indexes apart, in words; and whose a store is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from core.config.embedding import Prompt
from core.config.pipeline import Pipeline
from core.stores.fingerprint import (
    Fingerprint,
    Made,
    Owner,
    changes,
    displaced,
    fingerprint,
    owner_from_text,
    owner_to_text,
)

MADE = Made("{title}\n\n{body}", "cdc1:words2:256:32", ("lang", "at"), (), False)
NOW = Fingerprint("m1", {"public.a": MADE})

CUT = {"public.a": "cdc1:words2:256:32"}
ENGINES = ({"engine": "torch"}, {"engine": "openvino"}, {"engine": "openvino", "precision": "float32"})

names = st.text("ab_", min_size=1, max_size=3)
mades = st.builds(
    Made, st.text(max_size=9), st.sampled_from(["c1", "c2"]), st.lists(names).map(tuple), st.lists(names).map(tuple),
    st.booleans(),
)  # fmt: skip
prompts = st.sampled_from([UNSET, Prompt(), Prompt("p: "), Prompt(name="p: ")])
prints = st.builds(
    Fingerprint, st.sampled_from(["m1", "m2"]), st.dictionaries(names, mades, max_size=3), prompt=prompts,
    precision=st.sampled_from([UNSET, "bfloat16"]),
)  # fmt: skip
owners = st.builds(Owner, names, st.integers(0, 2**60), prints, st.lists(st.text(max_size=9)).map(tuple))


def in_words(**other: object) -> tuple[str, ...]:
    return tuple(map(str, changes(NOW, Fingerprint("m1", {"public.a": replace(MADE, **other)}))))  # type: ignore[arg-type]


def embedded_by(settings: Mapping[str, str]) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "articles",
            "source": {"kafka": {"topic": "a", "properties.bootstrap.servers": "127.0.0.1:1"}},
            "format": "debezium",
            "documents": {"public.a": {"text": "{title}"}},
            "embedding": settings,
            "store": {"pgvector": {"dsn": "postgresql://127.0.0.1:1/a", "table": "a"}},
            "dead_letters": {"kafka": {"topic": "letters"}},
        }
    )


def test_each_change_is_described_in_words() -> None:
    assert changes(NOW, NOW) == ()
    assert in_words(text="{title}") == (r"text of public.a was '{title}\n\n{body}', is '{title}'",)
    assert in_words(chunker="cdc1:words2:64:8") == (
        "chunk of public.a was {tokens: 256, overlap: 32}, is {tokens: 64, overlap: 8}",
    )
    assert in_words(chunker="cdc2:words2:256:32") == (
        "texts of public.a are cut into chunks of at most 256 words and signs, with up to 32 repeated, as they were, "
        "but by other rules: by cdc1:words2:256:32, now by cdc2:words2:256:32",
    )
    assert in_words(chunker="cdc1:all-MiniLM-L6-v2-8ad4a819:254:32") == (
        "texts of public.a were cut into chunks of at most 256 words and signs, with up to 32 repeated, and are now "
        "cut into chunks of at most 254 tokens of all-MiniLM-L6-v2, with up to 32 repeated",
    )
    assert in_words(metadata=("lang",)) == ("metadata of public.a was lang, at, is lang",)
    assert in_words(key=("id",)) == ("key of public.a was the event's key, is id: its documents have other ids",)
    assert in_words(id_from_source=True) == (
        "id_from_source of public.a was false, is true: its documents have other ids",
    )
    assert in_words(id_from_source=None) == (), "an earlier release didn't write it down"
    assert list(map(str, changes(NOW, replace(NOW, model="m2")))) == ["embedding.model was m1, is m2"]
    added, gone = changes(NOW, Fingerprint("m1", {"public.b": MADE}))
    assert str(added).startswith("public.a isn't named any more") and not added.embeds
    assert str(gone).startswith("public.b is new") and gone.embeds


def test_a_prompt_before_the_documents_is_a_change_and_its_chunkers_name_none_more() -> None:
    e5, other = Prompt("passage: "), Prompt(name="passage")
    behind = replace(MADE, chunker=f"cdc1:words2{e5.mark}:256:32")
    now = replace(NOW, prompt=e5, tables={"public.a": behind})
    (change,) = changes(NOW, now)
    assert str(change) == "embedding: before each document stood nothing, stands 'passage: '"
    assert change.embeds and change.every
    (change,) = changes(now, replace(now, prompt=other, tables={"public.a": MADE}))
    assert str(change) == "embedding: before each document stood 'passage: ', stands the endpoint's prompt 'passage'"
    (change,) = changes(now, replace(NOW, prompt=Prompt("")))
    assert str(change).endswith("stands ''"), "where a default stood before documents, none is another"
    assert changes(now, now) == ()
    smaller = replace(MADE, chunker=f"cdc1:words2{e5.mark}:250:32")
    assert [str(each) for each in changes(NOW, replace(now, tables={"public.a": smaller}))][1:] == [
        "chunk of public.a was {tokens: 256, overlap: 32}, is {tokens: 250, overlap: 32}"
    ]


def made_by(pipeline: Pipeline) -> Fingerprint:
    return fingerprint(pipeline.job, pipeline.embedding, CUT)


def test_a_lower_precision_is_a_change_and_an_engine_is_none() -> None:
    rounded = replace(MADE, chunker="cdc1:words2~bfloat16:256:32")
    now = replace(NOW, precision="bfloat16", tables={"public.a": rounded})
    (change,) = changes(NOW, now)
    assert str(change) == "embedding.precision was float32, is bfloat16"
    assert change.embeds and change.every == "in another precision"
    assert [str(each) for each in changes(now, NOW)] == ["embedding.precision was bfloat16, is float32"]
    assert changes(now, now) == ()
    written = [made_by(embedded_by(settings)) for settings in ({}, *ENGINES)]
    assert written[1:] == written[:1] * len(ENGINES) and written[0].precision is UNSET, "as a release with torch alone"
    assert made_by(embedded_by({"precision": "bfloat16"})).precision == "bfloat16"


def test_what_has_no_prompt_is_written_as_it_was_before_there_were_any() -> None:
    written = owner_to_text(Owner("articles", 1, NOW))
    assert written == (
        '{"pipeline":"articles","epoch":1,"made":{"model":"m1","tables":{"public.a":{"text":"{title}\\n\\n{body}",'
        '"chunker":"cdc1:words2:256:32","metadata":["lang","at"],"key":[],"id_from_source":false}},"terms":0},"mixed":[]}'
    )
    e5 = Owner("articles", 1, replace(NOW, prompt=Prompt("passage: ")))
    assert owner_from_text(owner_to_text(e5)) == e5
    rounded = Owner("articles", 1, replace(NOW, precision="bfloat16"))
    assert owner_from_text(owner_to_text(rounded)) == rounded


def test_the_order_of_metadata_is_no_change() -> None:
    assert in_words(metadata=("at", "lang")) == ()


def test_a_long_template_is_shown_shortened() -> None:
    (line,) = in_words(text="{a}" * 10_000)
    assert len(line) < 200


@given(prints, prints)
def test_what_is_made_alike_and_only_that_has_no_changes(one: Fingerprint, other: Fingerprint) -> None:
    def plain(each: Fingerprint) -> object:
        tables = {
            name: (made.text, made.chunker, set(made.metadata), made.key, made.id_from_source)
            for name, made in each.tables.items()
        }
        return each.model, tables, each.prompt, each.precision

    assert (not changes(one, other)) == (plain(one) == plain(other))
    assert len(changes(one, other)) == len(changes(other, one))


@given(owners)
def test_owners_are_read_as_they_were_written(owner: Owner) -> None:
    assert owner_from_text(owner_to_text(owner)) == owner
    later = owner_to_text(owner).removesuffix("}") + ',"more":[1]}'
    assert owner_from_text(later) == owner, "of a later release"


@pytest.mark.parametrize("text", ["", "{}", "null", "[1]", '{"pipeline":1}', "\ufffd"])
def test_what_is_no_owner_is_none(text: str) -> None:
    assert owner_from_text(text) is None


def test_who_was_displaced_learns_by_whom() -> None:
    mine = Owner("articles", 1, NOW)
    assert displaced("p", mine, Owner("articles", 2, NOW)) == (
        "p: a later run of articles has taken it over, so this one stops"
    )
    assert displaced("p", mine, Owner("pages", 2, NOW)).startswith("p: pipeline pages has taken it over, so articles")
