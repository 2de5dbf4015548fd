"""Java classes that speak to classes under another name: `maven-shade-plugin`'s relocation, of names in constants.

Source of the form: The Java Virtual Machine Specification, chapter 4.4, "The Constant Pool".
"""

from __future__ import annotations

import struct

_MAGIC = b"\xca\xfe\xba\xbe"
_UTF8 = 1
_TWO_PLACES = (5, 6)
"""A long or a double counts as two constants."""
_BYTES_BEHIND = {
    3: 4,
    4: 4,
    5: 8,
    6: 8,
    7: 2,
    8: 2,
    9: 4,
    10: 4,
    11: 4,
    12: 4,
    15: 3,
    16: 2,
    17: 4,
    18: 4,
    19: 2,
    20: 2,
}


def relocated(code: bytes, package: str, to: str) -> bytes:
    """A class file in which every class of a package, as in `org.apache.kafka`, is the one of the same name below `to`.

    Raises ValueError where the bytes are no class file.
    """
    names = {
        package.replace(".", "/").encode() + b"/": to.replace(".", "/").encode() + b"/",
        package.encode() + b".": to.encode() + b".",
    }
    if not any(name in code for name in names):
        return code
    if code[:4] != _MAGIC:
        raise ValueError("no class file")
    (count,) = struct.unpack_from(">H", code, 8)
    at, constant, parts = 10, 1, [code[:10]]
    while constant < count:
        tag = code[at]
        if tag == _UTF8:
            (length,) = struct.unpack_from(">H", code, at + 1)
            text = code[at + 3 : at + 3 + length]
            at += 3 + length
            for name, other in names.items():
                text = text.replace(name, other)
            parts.append(struct.pack(">BH", _UTF8, len(text)) + text)
        elif tag in _BYTES_BEHIND:
            parts.append(code[at : at + 1 + _BYTES_BEHIND[tag]])
            at += 1 + _BYTES_BEHIND[tag]
        else:
            raise ValueError(f"a constant of kind {tag}")
        constant += 2 if tag in _TWO_PLACES else 1
    return b"".join([*parts, code[at:]])
