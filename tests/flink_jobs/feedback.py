"""Conversations made up, and the KPIs that they come to, counted all at once, apart from SQL and the job's code."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from core.config.sentiment import Sentiment
from core.formats.recordings import Record
from tests.connectors.servers import Server
from tests.flink_jobs.conftest import Workshop
from tests.topics import consume
from udfs.sentiment.judge import judge
from workloads.conversations import Truth, conversations

LATE = timedelta(hours=1)
BY_MODEL = """
SELECT FLOOR(asked_at TO MINUTE) AS window_start, model, COUNT(*) AS turns, COUNT(rating) AS rated,
    AVG(CAST(rating AS DECIMAL(9, 6))) AS rating, MAX(rated_at) AS last_rated, MAX(comment_text) AS comment_text
FROM turns GROUP BY FLOOR(asked_at TO MINUTE), model
"""
FINAL = """
SELECT window_start, tenant, COUNT(*) AS turns
FROM TABLE(TUMBLE(TABLE turns, DESCRIPTOR(asked_at), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, tenant
"""
KPIS: dict[str, Any] = {
    "satisfaction": {"to": ["postgres"]},
    "latency": {"to": ["postgres"]},
    "by_model": {"sql": BY_MODEL, "key": ["window_start", "model"], "to": ["postgres", "opensearch", "kafka"]},
    "closed": {"sql": FINAL, "key": ["window_start", "tenant"], "to": ["postgres"]},
}


def pipeline(workshop: Workshop, **changes: Any) -> Path:
    """A pipeline file of feedback, whose KPIs go to PostgreSQL unless a change says otherwise."""
    of_feedback = {
        "name": "feedback",
        "format": "conversations",
        "documents": {},
        "feedback": {"kpis": KPIS, "late": "1 h"},
        "store": {"postgres": {"dsn": workshop.dsn}},
    }
    path = workshop.pipeline(**{**of_feedback, **changes})
    text = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if line != "documents: {}")
    # no embedding: nothing gets a vector
    path.write_text(text.replace("embedding:\n  model: hash\n", ""), encoding="utf-8")
    return path


def stores(workshop: Workshop, opensearch: Server) -> dict[str, Any]:
    """Settings of each place that KPIS go to."""
    return {
        "postgres": {"dsn": workshop.dsn},
        "opensearch": {"hosts": [f"http://{opensearch.address}"], "index": workshop.prefix},
        "kafka": {"topic": f"{workshop.prefix}.kpis", "properties.bootstrap.servers": workshop.bootstrap_servers},
    }


def changelog(workshop: Workshop, kpi: str) -> list[dict[str, Any]]:
    """The rows that its topic comes to."""
    last = {each.key: each.value for each in consume(workshop.bootstrap_servers, f"{workshop.prefix}.kpis.{kpi}")}
    return [json.loads(value) for value in last.values() if value is not None]


def indexed(workshop: Workshop, opensearch: Server, kpi: str) -> list[dict[str, Any]]:
    """The rows that its index has."""
    index = f"http://{opensearch.address}/{workshop.prefix}_{kpi}"
    httpx.post(f"{index}/_refresh").raise_for_status()
    found = httpx.get(f"{index}/_search", params={"size": 10_000}).raise_for_status().json()
    return [hit["_source"] for hit in found["hits"]["hits"]]


def as_row(found: dict[str, Any]) -> tuple[Any, ...]:
    """A row of by_model, as PostgreSQL has it."""
    begun, model, asked, rated, rating, last, comment = found.values()
    when = None if last is None else datetime.fromisoformat(last)
    return datetime.fromisoformat(begun), model, asked, rated, rating, when, comment


def events(count: int, seed: int, begin_ns: int, apart_ns: int) -> list[Record]:
    """Turns and ratings, in the order of their times, `apart_ns` from one to the next."""
    truth: Truth = {}
    now = begin_ns

    def clock() -> int:
        nonlocal now
        now += apart_ns
        return now

    steps = islice(conversations("conversations", count // 2, seed, clock, truth), count)
    return [record for step in steps for record in step]


@dataclass(frozen=True)
class Turn:
    """A turn with the rating that counts."""

    said: dict[str, Any]
    rating: dict[str, Any] | None


def turns(values: Iterable[bytes]) -> list[Turn]:
    """Each answer's turn, with the last rating of its tenant's that wasn't too late."""
    said = [json.loads(value) for value in values]
    asked = {(each["tenant"], each["id"]): each for each in said if each["event"] == "turn"}
    rated = defaultdict(list)
    for each in said:
        if each["event"] == "feedback":
            rated[each["tenant"], each["id"]].append(each)
    found = []
    for key, turn in asked.items():
        until = datetime.fromisoformat(turn["at"]) + LATE
        in_time = [each for each in rated[key] if datetime.fromisoformat(each["at"]) <= until]
        found.append(Turn(turn, max(in_time, key=lambda each: each["at"], default=None)))
    return found


Rows = dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]
"""By KPI and key."""


def feels(text: str) -> float:
    """How the writer of a text does."""
    (score,) = judge(Sentiment()).judge([text])
    assert isinstance(score, float)
    return score


def expected(all_turns: list[Turn]) -> Rows:
    """Each KPI's rows by their key."""
    return {
        "satisfaction": {key: _satisfaction(group) for key, group in _groups(all_turns, 13, "tenant", "model")},
        "latency": {key: _latency(group) for key, group in _groups(all_turns, 16, "model")},
        "by_model": {key: _by_model(group) for key, group in _groups(all_turns, 16, "model")},
        "closed": {key: (len(group),) for key, group in _groups(all_turns, 16, "tenant")},
    }


def _groups(all_turns: list[Turn], digits: int, *names: str) -> list[tuple[tuple[Any, ...], list[Turn]]]:
    """By the beginning of their times, up to the hour or the minute, and fields of the turn."""
    found = defaultdict(list)
    for each in all_turns:
        begun = datetime.fromisoformat(
            "2000-01-01T00:00:00+00:00".replace(
                "2000-01-01T00:00", each.said["at"][:digits] + "2000-01-01T00:00"[digits:]
            )
        )
        found[(begun, *(each.said[name] for name in names))].append(each)
    return list(found.items())


def _satisfaction(group: list[Turn]) -> tuple[Any, ...]:
    rated = [each.rating for each in group if each.rating is not None]
    good = sum(each["rating"] == 1 if each["scale"] == "thumbs" else each["rating"] >= 4 for each in rated)
    asked = [feels(each.said["question"]) for each in group]
    said = [feels(each["comment"]) for each in rated if each["comment"] is not None]
    share = good / len(rated) if rated else None
    return len(group), len(rated), good, share, mean(asked), mean(said)


def _latency(group: list[Turn]) -> tuple[Any, ...]:
    took = [each.said["latency_ms"] for each in group]
    shares = [np.percentile([each[name] for each in took], q) for name in ("first_token", "total") for q in (50, 95)]
    return len(group), *map(float, shares)


def _by_model(group: list[Turn]) -> tuple[Any, ...]:
    rated = [each.rating for each in group if each.rating is not None]
    last = max((datetime.fromisoformat(each["at"]) for each in rated), default=None)
    comments = [each["comment"] for each in rated if each["comment"] is not None]
    cut = None if last is None else last.replace(microsecond=last.microsecond // 1000 * 1000)
    return len(group), len(rated), mean([each["rating"] for each in rated]), cut, max(comments, default=None)


def mean(values: list[float]) -> float | None:
    """None of nothing."""
    return sum(values) / len(values) if values else None
