"""Laws of the document step, against a plain dictionary as the store."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Change, Operation, Position
from core.documents.step import (
    Chunker,
    DocumentSpec,
    DocumentState,
    Refused,
    Unsettled,
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


def lines(text: str) -> list[tuple[int, int]]:
    ends = list(accumulate(len(line) for line in text.splitlines(keepends=True)))
    return list(zip([0, *ends], ends, strict=False))


LINES = Chunker("lines", lines)

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
    """What every store must do with a plan, in its simplest form: embed what it lacks, and be as the plan says."""
    texts = {chunk.chunk_id: chunk.text for chunk in plan.write}
    kept = {identifier: text for identifier, (_, text, _) in store.items()}
    return {
        identifier: (ordinal, kept.get(identifier) or texts[identifier], plan.metadata.get("lang"))
        for ordinal, identifier in enumerate(plan.chunk_ids)
    }


def run(changes: list[Change]) -> tuple[DocumentState | None, list[Plan]]:
    state, plans = None, []
    for each in changes:
        state, emitted = step(state, each, SPEC, "model", LINES)
        if state is not None:
            assert state_from_bytes(state_to_bytes(state)) == state
        plans += [plan for plan in emitted if isinstance(plan, Plan)]
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
    pieces = [text[begin:end] for begin, end in lines(text)] if text.strip() else []
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
def test_folding_in_any_order_equals_applying_in_order(changes: list[Change], data: st.DataObject) -> None:
    plans = run(changes)[1]
    one_by_one: Store = {}
    for plan in plans:
        one_by_one = apply(one_by_one, plan)
    (folded,) = fold(data.draw(st.permutations(plans))).values()
    assert apply({}, folded) == one_by_one


@given(histories())
def test_any_plan_makes_the_document_whole_from_nothing(changes: list[Change]) -> None:
    for number, each in enumerate(changes, 1):
        plans = run(changes[:number])[1]
        assert plans[-1].position == each.position
        assert shown(apply({}, plans[-1])) == expected(changes[:number])


@given(histories())
def test_a_replayed_change_is_planned_again_while_it_is_the_last(changes: list[Change]) -> None:
    state, plans = run(changes)
    again, emitted = step(state, changes[-1], SPEC, "model", LINES, replayed=True)
    assert (again, emitted) == (state, plans[-1:])
    if len(changes) > 1:
        assert step(state, changes[0], SPEC, "model", LINES, replayed=True) == (state, [])


def one(state: DocumentState | None, each: Change, model: str = "m", spec: DocumentSpec = SPEC) -> Plan:
    [plan] = step(state, each, spec, model, LINES)[1]
    assert isinstance(plan, Plan)
    return plan


def reason(refused: Change, spec: DocumentSpec = SPEC) -> str:
    [emitted] = step(None, refused, spec, "m", LINES)[1]
    assert isinstance(emitted, Refused) and isinstance(emitted.error, DocumentError)
    return str(emitted.error)


def test_a_new_model_gives_every_chunk_another_id() -> None:
    row = {"title": "t", "body": "b", "lang": "en"}
    state, _ = step(None, change(1, row), SPEC, "one", LINES)
    was, now = one(None, change(1, row), "one"), one(state, change(2, row), "two")
    assert [chunk.text for chunk in now.write] == ["t\n", "\n", "b"]
    assert not set(was.chunk_ids) & set(now.chunk_ids)


def test_a_row_that_a_snapshot_read_has_no_time_of_commit() -> None:
    row: dict[str, object] = {"title": "a", "body": "b", "lang": "en"}
    read = replace(change(1, row), committed_ms=5, snapshot=True)
    times = [step(None, each, SPEC, "m", LINES)[1] for each in (read, replace(read, snapshot=False))]
    assert [[plan.committed_ms for plan in each if isinstance(plan, Plan)] for each in times] == [[None], [5]]


def test_metadata_alone_keeps_the_chunks() -> None:
    row = {"title": "t", "body": "b", "lang": "en"}
    state, [was] = step(None, change(1, row), SPEC, "m", LINES)
    now = one(state, change(2, {**row, "lang": "no"}))
    assert isinstance(was, Plan)
    assert (now.chunk_ids, now.metadata) == (was.chunk_ids, {"lang": "no"})


def test_an_unknown_unavailable_column_is_unsettled_with_what_is_known() -> None:
    marked = change(1, {"title": "t", "body": "marker", "lang": "en"}, ["body"])
    state, [unsettled] = step(None, marked, SPEC, "m", LINES)
    assert isinstance(unsettled, Unsettled) and state is not None
    assert (unsettled.change.unavailable, unsettled.change.row) == ({"body"}, {"title": "t", "lang": "en"})
    _, [plan, forget] = step(state, change(2, {"title": "t", "body": "b", "lang": "en"}), SPEC, "m", LINES)
    assert isinstance(plan, Plan) and plan.write[-1].text == "b"
    assert isinstance(forget, Unsettled) and forget.change.operation is Operation.REFUSED


def test_what_a_partial_row_lacks_is_unsettled_whatever_stood_before() -> None:
    state, _ = step(None, change(1, {"title": "t", "body": "b", "lang": "en"}), SPEC, "m", LINES)
    partial = replace(change(2, {"title": "t", "lang": None}), partial=True)
    after, [unsettled] = step(state, partial, SPEC, "m", LINES)
    assert isinstance(unsettled, Unsettled) and after is not None
    assert (unsettled.change.unavailable, unsettled.change.row) == ({"body"}, {"title": "t", "lang": None})
    assert "body" not in after.row


LONG = "7" * 200


@pytest.mark.parametrize(("before", "stands"), [(LONG, LONG), ("7", None)])
def test_a_doubtful_null_stands_for_long_values_only(before: str, stands: str | None) -> None:
    spec = DocumentSpec("public.articles", "{n}", metadata=("n",))
    state, _ = step(None, change(1, {"n": before}), spec, "m", LINES)
    doubtful = replace(change(2, {"n": None}), doubtful=frozenset(["n"]))
    assert one(state, doubtful, spec=spec).metadata == {"n": stands}
    assert isinstance(step(None, doubtful, spec, "m", LINES)[1][0], Unsettled)


def test_a_renamed_column_has_two_names() -> None:
    spec = DocumentSpec("public.articles", "{title|heading}")
    for number, name in enumerate(("title", "heading")):
        assert one(None, change(number, {name: name, "x": 1}), spec=spec).write[0].text == name
    assert "uses column 'title', which the row lacks; it has: x" in reason(change(1, {"x": 1}), spec)


def test_a_column_that_was_added_later_may_be_missing() -> None:
    spec = DocumentSpec("public.articles", "{x}{extra|}", metadata=("extra|",))
    for row, text in (({"x": 1}, "1"), ({"x": 1, "extra": "+"}, "1+")):
        plan = one(None, change(1, row), spec=spec)
        assert (plan.write[0].text, plan.metadata) == (text, {"extra": row.get("extra")})


def test_missing_column_names_those_there() -> None:
    said = reason(change(1, {"title": "t", "lang": "en"}))
    assert "column 'body', which the row lacks; it has: title, lang" in said


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


@pytest.mark.parametrize("template", ["{", "{}", "{|a}", "{|}", "{a.}", "{a!r}", "{a:>3}", "{0[x]}", "}"])
def test_templates_hold_plain_names_only(template: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        columns(template)


@pytest.mark.parametrize("template", ["{a} {{ b }}", "{{a}}", "{{- a|upper -}}", "{% if a %}{a}{% endif %}"])
def test_jinja_s_braces_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match="is Jinja's"):
        columns(template)


def test_braces_that_are_none_of_jinja_s_stand_as_they_are() -> None:
    assert render('{{{a}}} {{}} {{"a": "{a}"}} {{1}}', {"a": "x"}) == '{x} {} {"a": "x"} {1}'


def test_values_render_as_text() -> None:
    row = {"a": None, "b": 1.5, "c": True, "d": {"x": [1, "ß"]}, "e": "\x00"}
    assert render("{a}|{b}|{c}|{d}|{e}|{{}}", row) == '|1.5|true|{"x":[1,"ß"]}|\ufffd|{}'


def test_state_of_an_unknown_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 7f"):
        state_from_bytes(b"\x7f")


def test_state_of_the_first_release_is_read_and_cut_anew() -> None:
    kept = {"position": "1", "made_by": "m|lines|{title}", "row": {"title": "t"}, "chunk_ids": ["x"]}
    assert state_from_bytes(b"\x01" + msgspec.msgpack.encode(kept)) == DocumentState(Position("1"), "", {"title": "t"})
