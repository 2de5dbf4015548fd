"""What travels between operators: the same bytes as ever, and back from them the same values."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
import pytest

from core.change import Change, Event, Operation, Position
from core.documents.objects import ObjectChange
from core.documents.unsettled import Unsettled
from core.formats.conversations import Feedback
from core.identity.identifiers import Identifier
from core.identity.linking import RecordChange
from core.metrics.tally import Rise
from core.plans import Chunk, Outcome, Plan, Status
from core.profiles.delivery import Delivery
from core.profiles.step import ProfileChanges
from core.shards.log import Shard
from core.shards.progress import Reached
from core.shards.slots import Assigned
from core.stores.kpis import KpiChange
from flink_jobs import payloads
from flink_jobs.payloads import Answer, Codec, Embedded, Mark, RecordSweep, Written

AT = Position("0007")
EVENT = Event("t", 1, 2, b"k", None, {"h": b"v", "none": None})
CHANGE = Change("public.a", {"id": 1}, Operation.UPSERT, AT, {"t": "x"}, frozenset({"b"}), committed_ms=5, moves=True)
UNSETTLED = Unsettled("public.a/1", CHANGE, b"event", late=True, brought_at={"b": AT})
PLAN = Plan("public.a/1", AT, ("c", "d"), (Chunk("c", 0, "text"),), {"n": "1.50"}, "public.a/0", 5, ("n",))
REJECTED = Outcome("public.a/1", Status.REJECTED, "StoreRejected", "why")
RECORD = RecordChange("crm/1", "crm", AT, 9, (Identifier("email", "a@x.no"),), b"facts")
EXAMPLES: dict[str, tuple[Codec[Any], Any]] = {
    "a5ebd4c82e281bc5": (payloads.EVENT, EVENT),
    "a4363e10dc2cf79d": (payloads.CHANGE, CHANGE),
    "0051d0e92c1566c1": (payloads.NOTIFICATION, ObjectChange("docs", "a.md", AT, version_id="v", size=3)),
    "115295177e68c58a": (payloads.UNSETTLED, UNSETTLED),
    "2ee22c9720cb3646": (payloads.PLAN, PLAN),
    "a3852c51a84f8f65": (payloads.EMBEDDED, Embedded("public.a/1", PLAN, ("c",), b"\0\0\x80?", 1)),
    "b76f92b4229fdd5f": (payloads.ANSWER, Answer((REJECTED,), (Rise("batches", (), 2),))),
    "898ccdb2a09ceda5": (
        payloads.MARK,
        Mark("a", 1, 2, {"t/0": Reached(7, "00", 5)}, ("public.a",), {"public.a": AT}, "s"),
    ),
    "a8bc0c491170f485": (payloads.RECORD, RECORD),
    "604e0890d717a3af": (payloads.RECORD_SWEEP, RecordSweep("crm", AT, 9)),
    "6d25bed6da6396cd": (payloads.DELIVERY, Delivery(3, 4, "crm/1", ProfileChanges(born=("p",)), ("text",))),
    "76491b1ceb743a0c": (payloads.WRITTEN, Written((b"plan",), (REJECTED,))),
    "886d6397e793c879": (payloads.SAID, Feedback("a1", None, "2026-12-01T21:00:09Z", "shop", 1, "thumbs", None)),
    "4e1b33d7a0b380e5": (
        payloads.KPI_CHANGE,
        KpiChange("latency", ("2026-12-01 21:00:00.000", 3, 0.5, None), gone=True),
    ),
    "3b798da25ab5147a": (payloads.REJECTED, (REJECTED,)),
    "7f4a8500aa0fbe7a": (payloads.ASSIGNED, {"orders": [Assigned(Shard("0", ("1",), True), ("a",), 7)]}),
}
"""By the digest of the bytes that the release before the codecs sent; of plans, answers and marks, since outcomes and
how far a job is are written.

No state has these.
"""


@pytest.mark.parametrize("digest", EXAMPLES)
def test_each_payload_has_the_bytes_that_it_had_and_comes_back(digest: str) -> None:
    codec, value = EXAMPLES[digest]
    raw = codec.encode(value)
    assert blake2b(raw, digest_size=8).hexdigest() == digest
    assert codec.decode(raw) == value and type(codec.decode(raw)) is type(value)


def test_each_codec_has_an_example_and_refuses_other_bytes() -> None:
    codecs = [each for each in vars(payloads).values() if isinstance(each, Codec)]
    assert len(codecs) == len(EXAMPLES)
    for codec in codecs:
        with pytest.raises(msgspec.DecodeError):
            codec.decode(b"\xa4text")
