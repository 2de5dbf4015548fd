"""Which slot reads which shard of a stream, and where slots lie.

A slot is one key of the reading operator, and so one reader with its own state. A lineage, a shard with all that came
of it by splits, stays in one slot: only so can a child wait until what was written before it is read. Where a merge
joins the lineages of two slots, the slot that reads the child reads the other's ancestors too: those come twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from core.shards.log import Begin, Shard

_VERSION = b"\x01"
_32_BITS = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Assigned:
    """A shard with the slots that read it: the first for its own sake, others to have read what led to a merge.

    since_ms  records that arrived earlier are not wanted; 0: from the oldest there is
    made_ms   it was made after this time (ms since 1970), or reading began then
    skipped   it was closed before reading began at LATEST: nothing in it is wanted
    listed    whether the last listing had it; one that it had not is kept while a child of it is listed
    """

    shard: Shard
    slots: tuple[str, ...]
    since_ms: int = 0
    made_ms: int = 0
    skipped: bool = False
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who reads what of one stream, by shard id. `listed_ms` is when it was last listed, in ms since 1970; 0: never."""

    shards: Mapping[str, Assigned] = field(default_factory=dict)
    listed_ms: int = 0


@dataclass(frozen=True, slots=True)
class Discovered:
    """An assignment after a listing; `unseen` are shards that came and went between two listings, unread."""

    assignment: Assignment
    unseen: tuple[str, ...] = ()


def assign(before: Assignment, listed: Sequence[Shard], slots: Sequence[str], begin: Begin, now_ms: int) -> Discovered:
    """Take a listing in: children go to their parents' slot, lineages seen for the first time are dealt out.

    begin   for the first listing only: a shard that appears later is read from its oldest record, so nothing is lost
    now_ms  the clock, which LATEST means: a reader that starts again before it read anything must ask for the same
            records, and LATEST asked for anew would lose what was written in between
    """
    there = {shard.id: shard for shard in listed}
    named = {parent for shard in listed for parent in shard.parents}
    found = {
        name: replace(old, shard=there.get(name, old.shard), listed=name in there)
        for name, old in before.shards.items()
        if name in there or name in named
    }
    unseen: dict[str, None] = {}
    since_ms, skips = (0, False) if before.listed_ms else _first(begin, now_ms)
    new = parents_first([shard for shard in listed if shard.id not in found])
    roots = [shard for shard in new if not any(parent in found or parent in there for parent in shard.parents)]
    # at first in blocks, as neighbours are what merges
    blocks = (
        {} if slots_in([before]) else {root.id: slots[n * len(slots) // len(roots)] for n, root in enumerate(roots)}
    )
    for shard in new:
        known = [found[parent].slots[0] for parent in shard.parents if parent in found]
        if before.listed_ms:
            unseen.update((parent, None) for parent in shard.parents if parent not in found)
        owner = known[0] if known else blocks.get(shard.id) or _least_busy(found.values(), slots)
        found[shard.id] = Assigned(shard, (owner,), since_ms, before.listed_ms or now_ms, skips and shard.closed)
        _read_ancestors_too(found, shard, owner)
    return Discovered(Assignment(found, now_ms), tuple(unseen))


def parents_first(shards: Iterable[Shard]) -> list[Shard]:
    """The same shards, each after those of its ancestors that are among them.

    Raises ValueError where shards are their own ancestors.
    """
    waiting, ordered = {shard.id: shard for shard in shards}, list[Shard]()
    while waiting:
        ready = [shard for shard in waiting.values() if not any(parent in waiting for parent in shard.parents)]
        if not ready:
            raise ValueError(f"shards that are their own ancestors: {', '.join(waiting)}")
        for shard in ready:
            ordered.append(waiting.pop(shard.id))
    return ordered


def _first(begin: Begin, now_ms: int) -> tuple[int, bool]:
    if begin == "TRIM_HORIZON":
        return 0, False
    return (now_ms, True) if begin == "LATEST" else (min(begin, now_ms), False)


def _least_busy(found: Iterable[Assigned], slots: Sequence[str]) -> str:
    loads = Counter(each.slots[0] for each in found if not each.shard.closed)
    return min(slots, key=lambda slot: loads[slot])


def _read_ancestors_too(found: dict[str, Assigned], shard: Shard, slot: str) -> None:
    for parent in shard.parents:
        above = found.get(parent)
        if above is not None:
            if slot not in above.slots:
                found[parent] = replace(above, slots=(*above.slots, slot))
            _read_ancestors_too(found, above.shard, slot)


def of_slot(assignment: Assignment, slot: str) -> list[Assigned]:
    """A slot's shards: those that it reads, or has read and that may still have children to come."""
    return [each for each in assignment.shards.values() if slot in each.slots]


def slots_in(assignments: Iterable[Assignment]) -> set[str]:
    """The slots that read something; some may be of an earlier parallelism, and go on with what they have."""
    return {slot for each in assignments for assigned in each.shards.values() for slot in assigned.slots}


_encode = msgspec.msgpack.Encoder().encode
_decode_assignments = msgspec.msgpack.Decoder(dict[str, Assignment]).decode


def assignments_to_bytes(assignments: Mapping[str, Assignment]) -> bytes:
    """Assignments by stream, as Flink keeps them: a version byte, then MessagePack."""
    return _VERSION + _encode(assignments)


def assignments_from_bytes(raw: bytes) -> dict[str, Assignment]:
    """What `assignments_to_bytes` wrote. Raises ValueError for a version that this release doesn't know."""
    if raw[:1] != _VERSION:
        raise ValueError(f"assignment of shards has version {raw[:1].hex() or 'none'}, this release reads 01")
    return _decode_assignments(raw[1:])


def slot_keys(parallelism: int, max_parallelism: int) -> list[str]:
    """A key for each slot, such that Flink hands slot i to subtask i: none has two, and none has none."""
    keys: dict[int, str] = {}
    number = 0
    while len(keys) < parallelism:
        key = f"slot-{number}"
        keys.setdefault(subtask(key, parallelism, max_parallelism), key)
        number += 1
    return [keys[index] for index in range(parallelism)]


def subtask(key: str, parallelism: int, max_parallelism: int) -> int:
    """The subtask that a text key goes to: Flink's KeyGroupRangeAssignment.assignKeyToParallelOperator."""
    return _murmur(_java_hash(key)) % max_parallelism * parallelism // max_parallelism


def _java_hash(text: str) -> int:
    # String.hashCode, of characters below U+10000
    code = 0
    for character in text:
        code = (31 * code + ord(character)) & _32_BITS
    return code


def _murmur(code: int) -> int:
    # org.apache.flink.util.MathUtils.murmurHash
    code = code * 0xCC9E2D51 & _32_BITS
    code = _rotated(code, 15) * 0x1B873593 & _32_BITS
    code = (_rotated(code, 13) * 5 + 0xE6546B64 & _32_BITS) ^ 4
    code = (code ^ code >> 16) * 0x85EBCA6B & _32_BITS
    code = (code ^ code >> 13) * 0xC2B2AE35 & _32_BITS
    code ^= code >> 16
    signed = code - (1 << 32) if code >> 31 else code
    return 0 if signed == -(1 << 31) else abs(signed)


def _rotated(code: int, by: int) -> int:
    return (code << by | code >> 32 - by) & _32_BITS
