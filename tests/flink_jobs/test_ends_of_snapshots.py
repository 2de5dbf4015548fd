"""The sweep behind a snapshot comes whatever becomes of the snapshot's last row, without a job around it."""

from __future__ import annotations

import json
import logging

import pytest
from pyflink.common import Row

from core.config.pipeline import Pipeline
from core.decoding import decoder
from flink_jobs.steps.operators import DEAD_LETTERS, SLACK_MS, SWEPT, Decode
from tests.flink_jobs.events import envelope, key, row
from tests.flink_jobs.test_refusals import PIPELINE, Kept, Quiet


def sent(value: bytes, key_columns: list[str] | None = None, decode: Decode | None = None) -> list[str]:
    """In brief what follows from an event."""
    decode = decode or decoding(key_columns)
    found = []
    for each in decode.process_element(Row(key(1), value, "t", 0, 0, {}), Kept()):
        if not isinstance(each, tuple):
            found.append(f"change of {each[0]}")
        elif each[0] is SWEPT:
            table, (position, due) = each[1]
            found.append(f"sweep of {table} below {int(position[:16], 16)} at {due - SLACK_MS}")
        else:
            assert each[0] is DEAD_LETTERS
            found.append("letter")
    return found


def decoding(key_columns: list[str] | None = None, sweep: bool = True) -> Decode:
    document = {"text": "{title}", "sweep": sweep, **({"key": key_columns} if key_columns else {})}
    given = PIPELINE.model_dump(exclude_unset=True) | {"documents": {"public.documents": document}}
    pipeline = Pipeline.model_validate(given)
    decode = Decode(pipeline.name, pipeline.events, {})
    decode._decode, decode._looked = decoder(pipeline.events), float("inf")
    decode._meters = Quiet()  # type: ignore[assignment]
    return decode


def last(changed: dict[str, object] | None = None, **source: object) -> bytes:
    """The last row of a snapshot at 70, with something about it changed."""
    event = json.loads(envelope(70, row(1, "body"), "r", snapshot="last"))
    event["source"] |= source
    return json.dumps({**event, **(changed or {})}).encode()


SWEEP = "sweep of public.documents below 70 at 5"


def test_the_last_row_of_a_snapshot_brings_the_sweep() -> None:
    assert sent(last()) == [SWEEP, "change of public.documents/1"]


def test_a_null_in_a_column_that_key_names_keeps_nothing_from_being_swept() -> None:
    value = last({"after": {**row(1, "body"), "slug": None}})
    assert sent(value, ["slug"]) == ["letter", SWEEP]


def test_a_row_that_cannot_be_read_keeps_nothing_from_being_swept() -> None:
    assert sent(last({"after": "no row"})) == ["letter", "change of public.documents/1", SWEEP]


def test_a_row_without_a_key_that_can_be_read_keeps_nothing_from_being_swept() -> None:
    decode = decoding()
    found = list(decode.process_element(Row(b"no key", last({"after": "no row"}), "t", 0, 0, {}), Kept()))
    assert [each[0] for each in found] == [DEAD_LETTERS, SWEPT]


def test_what_is_not_the_last_row_or_has_no_position_brings_none() -> None:
    assert sent(last({"after": "no row"}, snapshot="true")) == ["letter", "change of public.documents/1"]
    assert sent(last({"after": "no row"}, sequence="no pair")) == ["letter"]
    assert sent(last({"after": "no row"}), decode=decoding(sweep=False)) == ["letter", "change of public.documents/1"]


def test_another_databases_snapshot_sweeps_nothing_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    decode = decoding()
    assert sent(last(name="a", db="x"), decode=decode)[0] == SWEEP
    with caplog.at_level(logging.WARNING):
        assert sent(last(name="b", db="x"), decode=decode) == ["letter"]
    assert "A snapshot of public.documents has ended, and nothing is swept behind it" in caplog.text
