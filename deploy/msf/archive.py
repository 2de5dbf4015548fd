"""Zip files that are the same bytes whenever they are made of the same files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

Entries = Mapping[str, bytes]
"""Files by their paths in an archive, with slashes."""

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_LEVEL = 6
_COMPRESSED = (".jar", ".gz", ".zip", ".whl", ".onnx")
_FILE = 0o100644 << 16


def packed(entries: Entries) -> bytes:
    """A zip of them, sorted, without anything of when and by whom."""
    target = io.BytesIO()
    with ZipFile(target, "w") as archive:
        for name in sorted(entries):
            info = ZipInfo(name, _LONG_AGO)
            info.create_system = 3
            info.external_attr = _FILE
            info.compress_type = ZIP_STORED if name.endswith(_COMPRESSED) else ZIP_DEFLATED
            archive.writestr(info, entries[name], compresslevel=_LEVEL)
    return target.getvalue()


def packed_sizes(content: bytes) -> dict[str, int]:
    """What each file of a zip takes of it, in bytes."""
    with ZipFile(io.BytesIO(content)) as archive:
        return {info.filename: info.compress_size for info in archive.infolist()}
