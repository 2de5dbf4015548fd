"""Laws of the document step, against a plain dictionary as the store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Change, Operation, Position
from core.documents import (
    Chunker,
    DocumentSpec,
    DocumentState,
    columns,
    document_id,
    render,
    state_from_bytes,
    state_to_bytes,
    step,
)
from core.errors import DocumentError
from core.plans import Plan, fold

SPEC = DocumentSpec("public.articles", "{title}\n\n{body}", metadata=("lang",))
LINES = Chunker("lines", lambda text: text.splitlines(keepends=True))

words = st.sampled_from(["a", "b", "c\n", "", "\x00", "ß\n"])
rows = st.fixed_dictionaries(
    {
        "title": st.none() | words,
        "body": st.lists(words, max_size=6).map("".join),
        "lang": st.sampled_from(["en", None]),
    }
)


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    """A row's life, in order; some updates leave `body` out, as an unchanged TOAST column."""
    changes: list[Change] = []
    alive = False
    for number in range(draw(st.integers(1, 8))):
        if alive and draw(st.booleans()) and draw(st.booleans()):
            changes.append(change(number, None))
            alive = False
            continue
        toast = alive and draw(st.booleans())
        row = draw(rows)
        changes.append(change(number, {**row, "body": "marker"} if toast else row, ["body"] if toast else []))
        alive = True
    return changes


def change(number: int, row: dict[str, object] | None, unavailable: list[str] | None = None) -> Change:
    return Change(
        "public.articles",
        {"id": 1},
        Operation.DELETE if row is None else Operation.UPSERT,
        Position(f"{number:04}"),
        row or {},
        frozenset(unavailable or []),
    )


Store = dict[str, tuple[int, str, object]]


def apply(store: Store, plan: Plan) -> Store:
    """What every store must do with a plan, in its simplest form."""
    ordinals = {identifier: ordinal for ordinal, identifier in enumerate(plan.chunk_ids)}
    kept = {identifier: entry for identifier, entry in store.items() if identifier in ordinals}
    if plan.move:
        kept = {
            identifier: (ordinals[identifier], text, plan.metadata.get("lang"))
            for identifier, (_, text, _) in kept.items()
        }
    written = {
        chunk.chunk_id: (ordinals[chunk.chunk_id], chunk.text, plan.metadata.get("lang")) for chunk in plan.write
    }
    store = {**kept, **written}
    assert set(store) == set(plan.chunk_ids)
    return store


def run(changes: list[Change]) -> tuple[DocumentState | None, list[Plan]]:
    state, plans = None, []
    for each in changes:
        state, plan = step(state, each, SPEC, "model", LINES)
        if state is not None:
            assert state_from_bytes(state_to_bytes(state)) == state
        if plan is not None:
            plans.append(plan)
    return state, plans


def expected(changes: list[Change]) -> Store:
    row: dict[str, object] | None = None
    for each in changes:
        if each.operation is Operation.DELETE:
            row = None
        else:
            row = {**each.row, **{name: (row or {})[name] for name in each.unavailable}}
    if row is None:
        return {}
    text = render(SPEC.text, row)
    pieces = LINES.split(text) if text.strip() else []
    return {str(at): (at, piece, row["lang"]) for at, piece in enumerate(pieces)}


def shown(store: Store) -> Store:
    return {str(entry[0]): entry for entry in store.values()}


@given(histories())
def test_applying_each_plan_gives_the_last_row(changes: list[Change]) -> None:
    store: Store = {}
    for plan in run(changes)[1]:
        store = apply(store, plan)
    assert shown(store) == expected(changes)


@given(histories(), st.data())
def test_repeated_and_late_changes_are_no_ops(changes: list[Change], data: st.DataObject) -> None:
    noisy: list[Change] = []
    for number, each in enumerate(changes):
        noisy.append(each)
        noisy.extend(data.draw(st.lists(st.sampled_from(changes[: number + 1]), max_size=2)))
    assert run(noisy) == run(changes)


@given(histories(), st.data())
def test_folding_batches_equals_applying_plans_in_order(changes: list[Change], data: st.DataObject) -> None:
    plans = run(changes)[1]
    one_by_one: Store = {}
    for plan in plans:
        one_by_one = apply(one_by_one, plan)
    cut = data.draw(st.integers(0, len(plans)))
    folded: Store = {}
    for batch in (plans[:cut], plans[cut:]):
        for plan in fold(batch).values():
            folded = apply(folded, plan)
    assert folded == one_by_one


@given(histories())
def test_the_same_text_is_never_written_again(changes: list[Change]) -> None:
    held: set[str] = set()
    for plan in run(changes)[1]:
        assert not held & {chunk.chunk_id for chunk in plan.write}
        held = set(plan.chunk_ids)


def test_a_new_model_rewrites_every_chunk() -> None:
    row = {"title": "t", "body": "b", "lang": "en"}
    state, _ = step(None, change(1, row), SPEC, "one", LINES)
    _, plan = step(state, change(2, row), SPEC, "two", LINES)
    assert plan is not None
    assert [chunk.text for chunk in plan.write] == ["t\n", "\n", "b"]


def test_metadata_alone_moves_without_writing() -> None:
    row = {"title": "t", "body": "b", "lang": "en"}
    state, _ = step(None, change(1, row), SPEC, "m", LINES)
    _, plan = step(state, change(2, {**row, "lang": "no"}), SPEC, "m", LINES)
    assert plan is not None
    assert (plan.write, plan.move, plan.metadata) == ((), True, {"lang": "no"})


def test_unknown_unavailable_column_says_what_to_do_and_leaves_the_state() -> None:
    marked = change(1, {"title": "t", "body": "marker", "lang": "en"}, ["body"])
    with pytest.raises(DocumentError, match="REPLICA IDENTITY FULL"):
        step(None, marked, SPEC, "m", LINES)


def test_missing_column_names_those_there() -> None:
    with pytest.raises(DocumentError, match=r"column 'body', which the row lacks; it has: title, lang"):
        step(None, change(1, {"title": "t", "lang": "en"}), SPEC, "m", LINES)


@given(st.lists(st.text() | st.integers() | st.booleans(), min_size=1, max_size=3))
def test_document_ids_are_one_to_one(values: list[object]) -> None:
    key = {f"k{number}": value for number, value in enumerate(values)}
    identity = document_id(SPEC, replace(change(1, None), key=key))
    assert identity.startswith("public.articles/")
    assert identity.count("/") == len(values)
    assert "\x00" not in identity


def test_document_id_by_configured_key() -> None:
    spec = replace(SPEC, key=("lang", "title"))
    assert document_id(spec, change(1, {"title": "a/b", "lang": "100%"})) == "public.articles/100%25/a%2Fb"
    with pytest.raises(DocumentError, match=r"documents.public.articles.key names lang"):
        document_id(spec, change(1, None))


def test_no_key_is_refused() -> None:
    with pytest.raises(DocumentError, match="no primary key"):
        document_id(SPEC, replace(change(1, None), key={}))


@pytest.mark.parametrize("template", ["{", "{}", "{a.b}", "{a!r}", "{a:>3}", "{0[x]}", "}"])
def test_templates_hold_plain_names_only(template: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        columns(template)


def test_values_render_as_text() -> None:
    row = {"a": None, "b": 1.5, "c": True, "d": {"x": [1, "ß"]}, "e": "\x00"}
    assert render("{a}|{b}|{c}|{d}|{e}|{{}}", row) == '|1.5|true|{"x":[1,"ß"]}|\ufffd|{}'


def test_state_of_an_unknown_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 7f"):
        state_from_bytes(b"\x7f")
