"""In which order a broker or stream delivered the events of one key.

Sources of the rules: Kinesis's API reference, "PutRecord" and "Record" (sequence numbers), and its developer guide,
"Key concepts" (they rise within a partition key) and "KPL: Consumer de-aggregation" (subsequence numbers).
"""

from __future__ import annotations

from core.change import Event
from core.errors import DecodeError, quote

KINESIS_SEQUENCE = "kinesis.sequence-number"
"""Header in which a reader of Kinesis tells a record's sequence number, in digits."""

KINESIS_SUBSEQUENCE = "kinesis.sub-sequence-number"
"""Header with the place of a record within an aggregated one, in digits; not there: 0."""

KAFKA_OFFSET = "kafka.offset"
"""Header with the offset at which an event stood first: one that was sent round again stands at a later one."""

_SEQUENCES, _SUBSEQUENCES, _OFFSETS = 2**192, 2**20, 2**63


def arrival(event: Event) -> str:
    """Fixed-width text, the greater the later the event came among those of its key.

    Kinesis: sequence number (48 hexadecimal digits; the real ones have 186 bits) and subsequence number (5). They rise
    within a partition key, from a parent shard to its children too.
    Kafka: the offset (20 decimal digits). It rises within a partition, where a key stays unless partitions are added.
    Raises DecodeError where a header doesn't hold such a number.
    """
    if KINESIS_SEQUENCE not in event.headers:
        return f"{_number(event, KAFKA_OFFSET, _OFFSETS, event.offset):020d}"
    sequence = _number(event, KINESIS_SEQUENCE, _SEQUENCES, 0)
    return f"{sequence:048x}{_number(event, KINESIS_SUBSEQUENCE, _SUBSEQUENCES, 0):05x}"


def _number(event: Event, header: str, limit: int, absent: int) -> int:
    raw = event.headers.get(header)
    if raw is None:
        return absent
    if not (raw.isdigit() and len(raw) <= 60 and int(raw) < limit):
        seen = quote(raw.decode("utf-8", "replace"))
        raise DecodeError(f"header {header} is {seen}, must be digits of a number below 2^{limit.bit_length() - 1}")
    return int(raw)
