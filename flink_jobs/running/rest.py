"""What a job says of itself over Flink's REST API. Imports no pyflink, so that a command that only asks starts fast."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Required, TypedDict, TypeVar

import httpx
import msgspec

from core.config.log_identity import flood
from core.documents.clocks import refused
from core.metrics.figures import Figure, figure, is_ours, largest, total
from flink_jobs.running.failures import explained, root_cause

_ASKED_AT_ONCE = 25
"""Metrics in one request: Flink's server takes no address above 4,096 bytes."""

_PENDING = ".pendingRecords"
_FINAL = re.compile(r"core\.errors\.(Displaced|StoreGone): ([^\n]+)")
"""As Python's traceback has it, in the middle of the worker's message."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """How a job's checkpoints went since it was submitted; of the last complete one how long it took, and bytes."""

    completed: int = 0
    failed: int = 0
    duration_ms: int | None = None
    size: int | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed last, as `failures.explained` says it, and when, in ms since 1970.

    raw        the root cause as Flink has it
    restored   the checkpoint or savepoint that the job has gone on from since, as in chk-110; "" where it has not yet
    final      the class of an error that no restart mends: Displaced, or StoreGone; "" of any other
    """

    cause: str
    at_ms: int
    raw: str = ""
    restored: str = ""
    final: str = ""

    def __str__(self) -> str:
        return f"{self.cause}; restarted from {self.restored}" if self.restored else self.cause


@dataclass(frozen=True, slots=True)
class Report:
    """A job at one moment.

    state        Flink's job status: RUNNING, RESTARTING, FINISHED, …
    since_ms     how long it has been submitted
    figures      Freshet's, by operator, over its subtasks
    pending      events that the source has not read yet; None where the source doesn't know
    restarts     how often it was restarted after a failure
    failure      the newest one that made it restart
    away         why its source takes no connection now; "" where it does, or nobody looked
    """

    state: str
    since_ms: int
    figures: tuple[Figure, ...]
    pending: int | None
    restarts: int
    checkpoints: Checkpoints
    failure: Failure | None
    away: str = ""


class _Vertex(TypedDict):
    id: str


class _Overview(TypedDict, total=False):
    state: str
    duration: int
    vertices: list[_Vertex]


class _Metric(TypedDict):
    id: str


class _Aggregated(TypedDict):
    id: str
    sum: float
    max: float


class _Value(TypedDict):
    value: float


class _Thrown(TypedDict):
    stacktrace: str
    timestamp: int


class _History(TypedDict, total=False):
    entries: list[_Thrown]


class _Exceptions(TypedDict, total=False):
    exceptionHistory: _History  # as Flink spells it


class _Checkpoint(TypedDict, total=False):
    id: int
    end_to_end_duration: int | None
    state_size: int | None
    failure_message: str | None


class _Restored(TypedDict, total=False):
    id: Required[int]
    restore_timestamp: Required[int]
    external_path: str | None


class _Latest(TypedDict, total=False):
    completed: _Checkpoint | None
    failed: _Checkpoint | None
    restored: _Restored | None


class _Counts(TypedDict, total=False):
    restored: int
    completed: int
    in_progress: int
    failed: int


class _OfCheckpoints(TypedDict, total=False):
    counts: _Counts
    latest: _Latest
    history: list[_Checkpoint]


Answer = TypeVar("Answer")


def _asked(http: httpx.Client, url: str, kind: type[Answer], **parameters: str) -> Answer:
    """What stands at an address. Raises httpx.HTTPError where nobody answers, or what answers isn't Flink's REST API.

    Source of what is read: Flink's documentation, "REST API".
    """
    try:
        answer = http.get(url, params=parameters or None).raise_for_status()
    except httpx.InvalidURL as error:
        raise httpx.UnsupportedProtocol(f"{url!r} is no address: {error}") from None
    try:
        return msgspec.json.decode(answer.content, type=kind, strict=False)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise httpx.DecodingError(f"{url} answers what Flink's REST API doesn't: {error}") from None


def report(http: httpx.Client, rest: str, job: str) -> Report:
    """What the job of this id says of itself.

    Raises httpx.HTTPError where nobody answers at `rest`, there is no such job, or what answers isn't Flink.
    """
    address = f"{rest}/jobs/{job}"
    overview = _asked(http, address, _Overview)
    found, pending = _metrics(http, address, overview)
    return Report(
        overview.get("state", "UNKNOWN"),
        overview.get("duration", 0),
        tuple(found),
        pending,
        _restarts(http, address),
        _checkpoints(http, address),
        failure(http, address),
    )


def figures(http: httpx.Client, address: str, overview: Mapping[str, Any]) -> list[Figure]:
    """Freshet's figures of the job at this address, of each operator, over its subtasks."""
    return _metrics(http, address, overview)[0]


def tasks(overview: Mapping[str, Any]) -> tuple[int, int]:
    """How many tasks of a job run, or have finished, and how many there are."""
    vertices = overview.get("vertices", ())
    return sum(vertex.get("status") in ("RUNNING", "FINISHED") for vertex in vertices), len(vertices)


def completed_checkpoints(http: httpx.Client, address: str) -> int:
    """How many checkpoints of the job at this address are complete."""
    answer = http.get(f"{address}/checkpoints")
    return int(answer.json().get("counts", {}).get("completed", 0)) if answer.is_success else 0


def alarm(job_figures: Iterable[Figure]) -> str:
    """What is alarming in a job's figures; "" where nothing is."""
    figures = list(job_figures)
    return flood(int(largest(figures, "stale_snapshot_surplus") or 0)) or refused(total(figures, "refused_by_time"))


def _metrics(http: httpx.Client, address: str, overview: Mapping[str, Any]) -> tuple[list[Figure], int | None]:
    found: list[Figure] = []
    pending: int | None = None
    for vertex in overview.get("vertices", ()):
        url = f"{address}/vertices/{vertex['id']}/subtasks/metrics"
        listed = [entry["id"] for entry in _asked(http, url, list[_Metric])]
        names = [name for name in listed if is_ours(name) or name.endswith(_PENDING)]
        for start in range(0, len(names), _ASKED_AT_ONCE):
            some = ",".join(names[start : start + _ASKED_AT_ONCE])
            for entry in _asked(http, url, list[_Aggregated], get=some, agg="sum,max"):
                if entry["id"].endswith(_PENDING):
                    pending = (pending or 0) + int(entry["sum"])
                elif (each := figure(entry["id"], entry["sum"], entry["max"])) is not None:
                    found.append(each)
    return found, pending


def _restarts(http: httpx.Client, address: str) -> int:
    said = _asked(http, f"{address}/metrics", list[_Value], get="numRestarts")
    return int(said[0]["value"]) if said else 0


def failure(http: httpx.Client, address: str) -> Failure | None:
    """The newest one that made the job at this address restart; Flink tells of it up to `web.refresh-interval` late."""
    entries = _asked(http, f"{address}/exceptions", _Exceptions).get("exceptionHistory", {}).get("entries", ())
    if not entries:
        return None
    trace, at_ms = entries[0]["stacktrace"], entries[0]["timestamp"]
    if said := _FINAL.findall(trace):
        final, cause = said[-1]
        return Failure(cause.strip(), at_ms, root_cause(trace), final=final)
    return Failure(explained(trace), at_ms, root_cause(trace), _restored(http, address, at_ms))


def _restored(http: httpx.Client, address: str, since_ms: int) -> str:
    try:
        restored = _asked(http, f"{address}/checkpoints", _OfCheckpoints).get("latest", {}).get("restored")
    except httpx.HTTPStatusError:
        return ""
    if not restored or restored["restore_timestamp"] < since_ms:
        return ""
    name = (restored.get("external_path") or "").rstrip("/").rpartition("/")[2]
    return name if name.startswith(("chk-", "savepoint-")) else f"chk-{restored['id']}"


def _checkpoints(http: httpx.Client, address: str) -> Checkpoints:
    said = _asked(http, f"{address}/checkpoints", _OfCheckpoints)
    counted, latest = said.get("counts", {}), said.get("latest", {})
    completed, failed = latest.get("completed") or {}, latest.get("failed") or {}
    return Checkpoints(
        counted.get("completed", 0),
        _failed(said),
        completed.get("end_to_end_duration"),
        completed.get("state_size"),
        explained(why) if (why := failed.get("failure_message")) else None,
    )


def _failed(said: _OfCheckpoints) -> int:
    """How many checkpoints failed that had begun: one for which not all tasks ran yet Flink counts, without an id.

    It tells of the others one by one, so there is none of them where it tells of none. Since a job was started anew or
    restored its ids say how many began; after that all that failed are reported.
    """
    counted, history = said.get("counts", {}), said.get("history", ())
    failed = counted.get("failed", 0)
    if not (said.get("latest", {}).get("failed") or {}).get("id"):
        return 0
    if counted.get("restored") or not history:
        return failed
    begun = max(each.get("id", 0) for each in history)
    return min(failed, begun - counted.get("completed", 0) - counted.get("in_progress", 0))
