"""Dead letters as bytes, for places of AWS that have neither keys nor headers: MessagePack.

A letter is a map of `key`, `value` and `headers`, as the MessagePack specification has maps, binaries and nil: so it
takes no more than `core.letters.Message.size` says, whatever bytes it has, and they stand in it as they came.
"""

from __future__ import annotations

import msgspec

from core.letters import Letter, Message, letter_of


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


_decoder = msgspec.msgpack.Decoder(_Kept)


def packed(letter: Message) -> bytes:
    """The letter as bytes, as many as its `size` at most."""
    # what no UTF-8 has, half a surrogate pair, would keep the letter from being written
    headers = {name.encode("utf-8", "replace").decode(): value for name, value in letter.headers.items()}
    return msgspec.msgpack.encode(_Kept(letter.key, letter.value, headers))


def unpacked(place: str, time_ms: int, content: bytes) -> Letter:
    """The letter that stands at a place; what is none of Freshet's has all its bytes as its value, and no details."""
    try:
        kept = _decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return letter_of(place, time_ms, None, content, ())
    return letter_of(place, time_ms, kept.key, kept.value, tuple(kept.headers.items()))
