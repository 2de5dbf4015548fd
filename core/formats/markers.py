"""Objects that say something of a folder or a job, and are no documents."""

from __future__ import annotations

_LEFT_BY_JOBS = ("_SUCCESS", "_metadata", "_common_metadata")


def is_marker(key: str, size: int | None) -> bool:
    """Whether an object says something of a folder or a job, and is no document. `size` in bytes, None: unknown.

    Empty ones for a folder: a key that ends with a slash (Amazon S3's user guide, "Organizing objects in the Amazon S3
    console by using folders") or with `_$folder$` (Hadoop's of old). What jobs leave behind, of whatever size: Hadoop's
    `_SUCCESS` and `_temporary/`, checksums of its files, Databricks' `_started_` and `_committed_`, and Parquet's
    `_metadata`, which has no rows.
    """
    *folders, name = key.split("/")
    if size == 0 and (not name or name.endswith("_$folder$")):
        return True
    return (
        name in _LEFT_BY_JOBS
        or name.startswith(("_started_", "_committed_"))
        or (name.startswith(".") and name.endswith(".crc"))
        or "_temporary" in folders
    )
