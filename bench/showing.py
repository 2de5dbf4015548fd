"""`freshet bench`: what this machine does with the real job, as one table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import asking, commit_to_searchable, engine, machinery, raw_encode, savings, topic_to_row
from bench.events import RECORDING, SCHEMAS
from bench.figures import Measurement, Percentiles, Size
from bench.machinery import Throughput
from bench.rig import Rig, rig
from core.errors import not_installed
from stack import local as stack
from udfs.embedding.engines import ENGINES
from udfs.embedding.tokenizing import DEFAULT

_CHECKOUT = Path(__file__).parents[1]
_AGAINST_TORCH = (Measurement.RAW_ENCODE, Measurement.ENGINE)
"""What is compared with sentence-transformers' own encode."""


@dataclass(frozen=True, slots=True)
class Line:
    """A figure as people read it; `met` is None where it has no target."""

    name: str
    figure: str
    target: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What one measurement found: entries of the JSON, and lines of the table."""

    entries: dict[str, Any]
    lines: list[Line]


def bench(wanted: Sequence[Measurement], size: Size, json_file: Path | None, console: Console) -> None:
    """Measure what is wanted on the stack of the current folder, and tell it as a table and as JSON.

    Raises ConfigError where all of it needs torch, which isn't installed; else what does is left out, and named.
    """
    found = list(_measure(measurable(wanted, console), size, console))
    console.print(_table([line for measured in found for line in measured.lines]))
    if json_file is not None:
        entries = {name: value for measured in found for name, value in measured.entries.items()}
        text = json.dumps({**entries, "machine": _machine()}, indent=2)
        json_file.write_text(text + "\n", encoding="utf-8")
        console.print(f"figures: {json_file}", soft_wrap=True)


def measurable(wanted: Sequence[Measurement], console: Console) -> Sequence[Measurement]:
    """What of it can be measured here; what compares with torch, where that isn't installed, is named and left out.

    Raises ConfigError where nothing is left.
    """
    lacking = ENGINES["torch"].lacks()
    left_out = [each for each in wanted if each in _AGAINST_TORCH] if lacking else []
    if not left_out:
        return wanted
    missed = not_installed(" and ".join(left_out), lacking, "model")
    if len(left_out) == len(wanted):
        raise missed
    console.print(f"left out: {missed}", soft_wrap=True)
    return [each for each in wanted if each not in left_out]


def _measure(wanted: Sequence[Measurement], size: Size, console: Console) -> Iterator[Measured]:
    if Measurement.SAVINGS in wanted:
        with console.status(Measurement.SAVINGS):
            yield _savings()
    if Measurement.ENGINE in wanted:
        with console.status(f"{Measurement.ENGINE} (load {os.getloadavg()[0]:.1f})"):
            yield _engine(size)
    on_servers: dict[Measurement, Callable[[Rig, Size], Measured]] = {
        Measurement.MACHINERY: _machinery,
        Measurement.TOPIC_TO_ROW: _topic_to_row,
        Measurement.COMMIT_TO_SEARCHABLE: _commit_to_searchable,
        Measurement.RAW_ENCODE: _raw_encode,
        Measurement.ASKING: _asking,
    }
    if not on_servers.keys() & set(wanted):
        return
    with console.status("the local stack") as status, rig(stack.up(Path(), console.print)) as own:
        for name, measure in on_servers.items():
            if name in wanted:
                status.update(f"{name} (load {os.getloadavg()[0]:.1f})")
                yield measure(own, size)


def _machinery(own: Rig, size: Size) -> Measured:
    generated = machinery.of_history(own, size.changes)
    name = Measurement.MACHINERY.value
    entries: dict[str, Any] = {name: generated.changes_per_second, "machinery": asdict(generated)}
    lines = [_at_least("changes/s, generated, hash embedder", generated.changes_per_second, 2000, ",.0f")]
    if SCHEMAS.exists():
        wrapped = machinery.of_history(own, size.changes, schemas=True)
        entries |= {"machinery_with_schemas_changes_per_second": wrapped.changes_per_second}
        entries |= {"machinery_with_schemas": asdict(wrapped)}
        share = wrapped.changes_per_second / generated.changes_per_second
        lines.append(Line("  with schemas in the events", f"{wrapped.changes_per_second:,.0f}, {share:.0%} of it"))
    if RECORDING.exists():
        recorded = machinery.of_recording(own, size.changes)
        entries |= {"machinery_recorded_changes_per_second": recorded.changes_per_second}
        entries |= {"machinery_recorded": asdict(recorded)}
        lines.append(_at_least("changes/s, recorded, hash embedder", recorded.changes_per_second, 2000, ",.0f"))
    return Measured(entries, [*lines, *_busy(generated)])


def _busy(found: Throughput) -> list[Line]:
    cores = [
        Line(
            f"  {name}: cores, CPU a change",
            f"{cpu / found.shares.seconds:.2f}, {cpu / found.shares.changes * 1e6:,.0f} µs",
        )
        for name, cpu in found.shares.cpu.items()
    ]
    others, idle = (found.shares.others / found.shares.seconds, found.shares.idle / found.shares.seconds)
    cores.append(Line(f"  others' and idle, of {found.shares.cores} cores", f"{others:.2f}, {idle:.2f}"))
    chains = [
        Line(f"  {_chain(name)}: busy, held up", f"{busy:.0%}, {held:.0%}")
        for name, (busy, held) in found.shares.vertex.items()
        if _chain(name)
    ]
    return cores + chains


def _chain(name: str) -> str:
    """What an operator chain does, by an operator in it; "" for one that does next to nothing."""
    does = {"decode": "read, decode", "plan": "plan", "rejected": "embed, write"}
    return next((words for part, words in does.items() if re.search(rf"\b{part}\b", name)), "")


def _topic_to_row(own: Rig, size: Size) -> Measured:
    found = topic_to_row.measure(own, size.seconds)
    what = f"topic → row, {topic_to_row.RATE:.0f} changes/s, hash"
    return Measured({Measurement.TOPIC_TO_ROW.value: asdict(found)}, _latencies(what, found, 20, 60))


def _commit_to_searchable(own: Rig, size: Size) -> Measured:
    found = commit_to_searchable.measure(own, DEFAULT, size.seconds)
    what = f"commit → searchable, {commit_to_searchable.RATE:.0f} commits/s"
    return Measured({Measurement.COMMIT_TO_SEARCHABLE.value: asdict(found)}, _latencies(what, found, None, 250))


def _raw_encode(own: Rig, size: Size) -> Measured:
    found = raw_encode.measure(own, DEFAULT, size.documents, size.rounds)
    lines = [
        _at_least(f"pipeline ÷ raw encode, {found.device}", found.ratio, 0.9, ".2f"),
        Line("  pipeline, chunks/s", f"{found.pipeline_chunks_per_second:.1f}"),
        Line("  raw encode, chunks/s", f"{found.raw_chunks_per_second:.1f}"),
    ]
    return Measured({Measurement.RAW_ENCODE.value: found.ratio, "raw_encode": asdict(found)}, lines)


def _asking(own: Rig, size: Size) -> Measured:
    found = asking.measure(own, size.changes)
    main = found["pgvector"]
    entries: dict[str, Any] = {
        Measurement.ASKING.value: main.over_bare,
        "server_own_ms": main.server_own_ms,
        "first_answer_s": main.first_answer_s,
        "wait_for_ms": asdict(main.wait_for_ms),
        "context_beside_search_ms": main.answering.context_beside_search_ms,
        "chat_own_ms": main.answering.chat_own_ms,
        "asking": {name: asdict(each) for name, each in found.items()},
    }
    return Measured(entries, [line for name, each in found.items() for line in _asked(name, each)])


def _asked(store: str, found: asking.Asked) -> list[Line]:
    what = f"search over HTTP ÷ {store}'s own, {found.chunks:,} chunks, hash"
    return [
        Line(what, f"{found.over_bare:.2f}", "≤ 1.3", found.over_bare <= 1.3),
        Line("  by vector, the store's own", f"{found.vector_ms:.1f} ms, {found.bare_ms:.1f} ms"),
        Line("  a request that does nothing", f"{found.empty_ms:.2f} ms"),
        Line("  the server's own share", f"{found.server_own_ms:.1f} ms", "< 3 ms", found.server_own_ms < 3),
        Line("  the first answer", f"{found.first_answer_s:.2f} s", "< 1 s", found.first_answer_s < 1),
        *_latencies("  commit → answer of a search that waits", found.wait_for_ms, None, 20),
        _below("  a context beside its search", found.answering.context_beside_search_ms, 10),
        _below("  a chat's own share until its first token", found.answering.chat_own_ms, 20),
    ]


def _savings() -> Measured:
    edits = savings.of_edits(DEFAULT)
    entries: dict[str, Any] = {Measurement.SAVINGS.value: edits.share, "savings": asdict(edits)}
    lines = [Line(f"embeddings saved, {edits.edits} edits of real pages", f"{edits.share:.1%}")]
    history = savings.of_git(DEFAULT, _CHECKOUT)
    if history is not None:
        entries["savings_git"] = asdict(history)
        lines.append(Line(f"embeddings saved, {history.edits} edits in git", f"{history.share:.1%}"))
    return Measured(entries, lines)


def _engine(size: Size) -> Measured:
    found = engine.measure(DEFAULT, size.documents, max(3, size.rounds))
    target = 3.0 if "bfloat16" in found.precisions else 1.4
    lines = [
        _at_least("CPU engine ÷ float32 encode", found.ratio, target, ".2f"),
        Line("  encode, chunks/s", f"{found.encode_chunks_per_second:.1f}"),
    ]
    for name, each in found.precisions.items():
        figure = f"{each.chunks_per_second:.1f}, {each.ratio:.2f}, {each.cosine:.5f}"
        lines.append(Line(f"  {name}: chunks/s, ÷ encode, least cosine", figure))
    return Measured({Measurement.ENGINE.value: found.ratio, "engine": asdict(found)}, lines)


def _at_least(name: str, value: float, target: float, form: str) -> Line:
    return Line(name, f"{value:{form}}", f"≥ {target:{form}}", value >= target)


def _below(name: str, milliseconds: float, target: float) -> Line:
    return Line(name, f"{milliseconds:.1f} ms", f"< {target:.0f} ms", milliseconds < target)


def _latencies(what: str, found: Percentiles, median: float | None, tail: float) -> list[Line]:
    p50 = Line(f"{what}: p50", f"{found.p50:.1f} ms")
    if median is not None:
        p50 = Line(p50.name, p50.figure, f"< {median:.0f} ms", found.p50 < median)
    return [
        p50,
        Line("  p95", f"{found.p95:.1f} ms"),
        Line("  p99", f"{found.p99:.1f} ms", f"< {tail:.0f} ms", found.p99 < tail),
    ]


def _table(lines: Sequence[Line]) -> Table:
    table = Table(caption=f"{_described(_machine())}", caption_justify="left")
    table.add_column("measured", overflow="fold")
    for title in ("figure", "target", "verdict"):
        table.add_column(title, justify="right", no_wrap=True)
    verdicts = {None: "", True: "[green]met", False: "[red]missed"}
    for line in lines:
        table.add_row(line.name, line.figure, line.target, verdicts[line.met])
    return table


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_average": list(os.getloadavg()),
    }


def _described(machine: dict[str, Any]) -> str:
    load = machine["load_average"][1]
    return f"{machine['cores']} cores, {machine['architecture']}, Python {machine['python']}, 5-minute load {load:.1f}"
