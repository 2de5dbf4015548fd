"""Debezium's events about `public.documents`, made up: a change's number is its place in the log."""

from __future__ import annotations

import json


def envelope(number: int, row: dict[str, object] | None, op: str = "c", lsn: int = 0, snapshot: str = "false") -> bytes:
    position = lsn or number
    source = {
        "connector": "postgresql",
        "schema": "public",
        "table": "documents",
        "lsn": position,
        "snapshot": snapshot,
        "sequence": json.dumps([str(position), str(position)]),
        "ts_ms": 1,
    }
    return json.dumps({"op": op, "before": None, "after": row, "source": source}).encode()


def key(number: int) -> bytes:
    return json.dumps({"id": number}).encode()


def row(number: int, body: str | None, title: str | None = "t") -> dict[str, object]:
    return {"id": number, "title": title, "body": body, "updated_at": "2026-01-01T00:00:00Z"}
