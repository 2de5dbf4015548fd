"""Dead letters: events that could not be used, with their reason, as they came."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b, sha256
from types import MappingProxyType
from typing import Protocol

from core.change import Event
from core.errors import LONGEST_REASON, bounded
from core.formats.recordings import Headers

PREFIX = "freshet."
"""Every header that Freshet adds begins with it; the event's own headers stand beside them, untouched."""

REPLAY = PREFIX + "replay"
"""Header of a dead letter that was sent round again: how many attempts it has had. Such an event is written to the
stores though its document has been at its position before."""

BACKFILL = PREFIX + "backfill"
"""Header of a row that `freshet backfill` has read in the source. Such an event is written to the stores though
its document has been at its position before, as a replayed one. It is whole, so what it says stands for later ones."""

CUT = ("value.size", "value.sha256", "key.size", "key.sha256", "headers.left")
"""What a letter tells, without PREFIX, where it didn't fit its topic: how many bytes value and key have whole, and
their hashes, in hexadecimal; and how many of the event's own headers are in it, as in "3 of 5000"."""

NULLS = "headers.null"
"""What tells, without PREFIX, which of the event's headers have a null for a value, as a JSON array of their names:
Flink's table of the topic leaves such headers out. As many as LONGEST_REASON characters hold."""

SMALLEST_ROOM = 4_096
"""Bytes that a topic's messages must be allowed for a letter to say what happened."""

_RESERVED = frozenset((REPLAY, BACKFILL, *(PREFIX + name for name in (*CUT, NULLS))))
_BATCH, _RECORD, _HEADER = 61, 21, 10
_DETAILS = (
    "pipeline",
    "stage",
    "error.class",
    "reason",
    "document",
    "source.topic",
    "source.partition",
    "source.offset",
)
# By name, and not by their beginning: an event may have a million headers that begin as ours do.
_OURS = frozenset(PREFIX + name for name in (*_DETAILS, "attempts", "time", NULLS))
_OF_CUT = 600
_SHORTEST = 40


def attempts(event: Event) -> int:
    """How often an event has been tried before: 0 for one that comes the first time, or says nonsense."""
    count = event.headers.get(REPLAY) or b""
    return int(count) if count.isdigit() and len(count) < 10 else 0


def letter_headers(
    event: Event, pipeline: str, stage: str, error: str, reason: str, document: str, time: str
) -> dict[str, bytes | None]:
    """The headers of a dead letter: the event's own, and what happened to it.

    stage     read, decode, load, plan, parse, link, rate, embed or write
    error     the class of the error
    document  the id of the document, "" where the event could not be read so far
    time      when it was given up, ISO 8601
    """
    details = {
        "pipeline": pipeline,
        "stage": stage,
        "error.class": error,
        "reason": reason,
        "document": document,
        "source.topic": event.topic,
        "source.partition": str(event.partition),
        "source.offset": str(event.offset),
        "attempts": str(attempts(event) + 1),
        "time": time,
    }
    # an event can't say of itself that its letter is cut
    own = {name: value for name, value in event.headers.items() if name not in _RESERVED}
    if nulls := [name for name, value in own.items() if value is None]:
        details[NULLS] = _array(nulls)
    return {**own, **{PREFIX + name: bounded(text).encode("utf-8", "replace") for name, text in details.items()}}


def _array(names: list[str]) -> str:
    kept = names
    while len(text := json.dumps(kept)) > LONGEST_REASON:
        kept = kept[: len(kept) // 2]
    return text


@dataclass(frozen=True, slots=True)
class Message:
    """A dead letter as it is written to its topic; a key or value of None is a null."""

    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes | None]

    @property
    def size(self) -> int:
        """Bytes that the record takes in a batch of its own, uncompressed, or some more.

        Source: Kafka's documentation, "Message Format": a batch's 61 bytes, and lengths as varints.
        """
        return _BATCH + _RECORD + len(self.key or b"") + len(self.value or b"") + _size_of(self.headers)


def fitted(letter: Message, room: int) -> Message:
    """The letter in at most `room` bytes (SMALLEST_ROOM or more): where it is larger, what there is room for of it.

    Freshet's own headers stay, and CUT's say what is missing: as many of the event's headers as fit half of what is
    left, the smallest first, the beginning of its key, and the beginning of its value.
    """
    if letter.size <= room:
        return letter
    key, value = letter.key or b"", letter.value or b""
    ours = {name: header for name, header in letter.headers.items() if name in _OURS}
    theirs = {name: header for name, header in letter.headers.items() if name not in ours}
    ours = _shortened(ours, room - _BATCH - _RECORD - _OF_CUT)
    left = max(0, room - _BATCH - _RECORD - _OF_CUT - _size_of(ours))
    kept = _smallest(theirs, left // 2)
    left -= _size_of(kept)
    first_of_key = key[: left - min(len(value), left // 2)]
    first_of_value = value[: left - len(first_of_key)]
    cut = {} if len(kept) == len(theirs) else {"headers.left": f"{len(kept)} of {len(theirs)}"}
    for name, whole, first in (("value", value, first_of_value), ("key", key, first_of_key)):
        if len(first) < len(whole):
            cut |= {f"{name}.size": str(len(whole)), f"{name}.sha256": sha256(whole).hexdigest()}
    of_cut = {PREFIX + name: text.encode() for name, text in cut.items()}
    return Message(
        None if letter.key is None else first_of_key,
        None if letter.value is None else first_of_value,
        {**kept, **ours, **of_cut},
    )


def _size_of(headers: Mapping[str, bytes | None]) -> int:
    # a character takes at most 4 bytes, and hardly any name has another than ASCII's
    return sum(
        (len(name) if name.isascii() else 4 * len(name)) + len(value or b"") + _HEADER
        for name, value in headers.items()
    )


def _smallest(headers: Mapping[str, bytes | None], room: int) -> dict[str, bytes | None]:
    """Those that fit, in their order."""
    sizes = {name: _size_of({name: value}) for name, value in headers.items()}
    taken = set()
    for name in sorted(sizes, key=sizes.__getitem__):
        if sizes[name] > room:
            break
        room -= sizes[name]
        taken.add(name)
    return {name: value for name, value in headers.items() if name in taken}


def _shortened(headers: Mapping[str, bytes | None], room: int) -> dict[str, bytes | None]:
    """Freshet's own headers, their longest texts halved until all fits: for a topic that takes next to nothing."""
    short = dict(headers)
    while _size_of(short) > room:
        longest = max(short, key=lambda name: len(short[name] or b""))
        text = short[longest] or b""
        if len(text) <= _SHORTEST:
            break
        short[longest] = text[: len(text) // 2].decode("utf-8", "ignore").encode()
    return short


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: the event as it came, with its own headers alone, and the details that Freshet added.

    place    where it stands among all dead letters, as that place names it: `0:17` is a topic's partition and offset
    details  Freshet's headers without their prefix, decoded; bytes that are no UTF-8 as escapes
    """

    place: str
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def pipeline(self) -> str:
        """The name of the pipeline that wrote it; "" where the letter doesn't say, so is none of Freshet's."""
        return self.details.get("pipeline", "")

    @property
    def attempts(self) -> int:
        """How often the event was tried; 1 where the letter doesn't say."""
        return _whole(self.details.get("attempts", "")) or 1

    @property
    def source(self) -> tuple[str, int, int] | None:
        """Topic, partition and offset of the event; None where the letter doesn't say, so is none of Freshet's."""
        topic = self.details.get("source.topic", "")
        partition, offset = (_whole(self.details.get(f"source.{name}", "")) for name in ("partition", "offset"))
        return None if not topic or partition is None or offset is None else (topic, partition, offset)

    @property
    def is_cut(self) -> bool:
        """Whether the event didn't fit the topic, and its letter has only the beginning of it."""
        return any(name in self.details for name in CUT)

    def event(self) -> bytes:
        """16 bytes that tell its event from others: two letters of one event agree, whenever tried, cut or not."""
        digest = blake2b(self.details.get("source.topic", "").encode(), digest_size=16)
        for name, part in (("key", self.key), ("value", self.value)):
            digest.update(b"-" if part is None else self._hash(name, part).encode())
        return digest.digest()

    def _hash(self, name: str, part: bytes) -> str:
        return self.details.get(f"{name}.sha256") or sha256(part).hexdigest()

    def whole(self, key: bytes | None, value: bytes | None, headers: Headers) -> Letter | None:
        """This letter with all that its event was, as it stands in the source; None where that is another event."""
        for name, here, there in (("key", self.key, key), ("value", self.value, value)):
            if (here is None) is not (there is None):
                return None
            if here is not None and there is not None and self._hash(name, here) != sha256(there).hexdigest():
                return None
        details = {name: text for name, text in self.details.items() if name not in CUT}
        return replace(self, key=key, value=value, headers=_own(headers), details=details)


def letter_of(place: str, time_ms: int, key: bytes | None, value: bytes | None, headers: Headers) -> Letter:
    """The letter that stands at a place. `headers` are all that it has there, `time_ms` when it came there."""
    details = {
        name.removeprefix(PREFIX): (raw or b"").decode("utf-8", "backslashreplace")
        for name, raw in headers
        if name.startswith(PREFIX)
    }
    own = _own(headers)
    own = (*own, *((name, None) for name in _nulls(details.pop(NULLS, "")) if name not in dict(own)))
    return Letter(place, time_ms, key, value, own, details)


def _nulls(text: str) -> list[str]:
    try:
        names = json.loads(text or "[]")
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _own(headers: Headers) -> Headers:
    return tuple((name, raw) for name, raw in headers if not name.startswith(PREFIX))


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


Ends = Mapping[str, str]
"""Where a place of letters ends, as it has that: each partition's next offset, or each shard's last number."""

NOWHERE: Ends = MappingProxyType({})
"""Before the first letter."""


class Letters(Protocol):
    """The dead letters of a place, as of when it was opened. Each names its pipeline: others may write there too."""

    @property
    def ends(self) -> Ends:
        """Where the place ended when it was opened."""
        ...

    def read(self, since: Ends = NOWHERE) -> Iterator[Letter]:
        """All that came after `since`, each time in the same order. Raises Unavailable where its server is away."""
        ...

    def at(self, place: str) -> Letter | None:
        """The one that stands there, as `Letter.place` has it; None where none does.

        Raises ConfigError where that is no name of a letter, Unavailable where its server is away.
        """
        ...
