"""`freshet verify`: whether the stores equal the source, as a table with the first differences."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.config.pipeline import Pipeline
from core.errors import brief
from core.stores.verification import Kind
from operations.verify import whole
from operations.verify.one_pass import Findings
from operations.verify.whole import Compared, Options, fruitless, tallies
from terminal.bars import stepped
from terminal.plain import plain

_SHOWN = 20


def verify(pipeline: Pipeline, options: Options, console: Console) -> int:
    """Verify, and show each comparison as it is made; the exit code: 0 only where no difference is left.

    Raises as `operations.verify.whole.verify`.
    """
    equal = False
    for compared in whole.verify(pipeline, options, stepped):
        _show(compared, console)
        equal = compared.equal
    return 0 if equal else 1


def _show(compared: Compared, console: Console) -> None:
    if compared.unasked:
        console.print("[yellow]source.kafka: only Java clients can log in[/]; how far the job is can't be asked")
    if compared.note:
        console.print(f"[yellow]{plain(compared.note)}[/]")
    for note in compared.findings.made:
        console.print(Text(plain(note), "yellow"), soft_wrap=True)
    for why in compared.left:
        console.print(Text(f"not mended: {plain(why)}", "yellow"))
    show(compared.findings, console)
    if sent := compared.sent:
        console.print(f"\nsent what mends {sent:,} {'document' if sent == 1 else 'documents'}; verifying again")


def show(findings: Findings, console: Console) -> None:
    """The counts by table and store, the first differences, and what could not be known."""
    grid = Table("table", "store", "rows", "ok", *Kind, box=None, header_style="bold")
    for each in tallies(findings):
        counts = (each.rows, each.ok, *(each.kinds[kind] for kind in Kind))
        cells = [each.table, each.store, *(f"{count:,}" for count in counts)]
        grid.add_row(*(Text(plain(cell), "red" if each.wrong else "") for cell in cells))
    console.print(grid)
    for store, difference in findings.listed[:_SHOWN]:
        text = f"{difference.kind} in {store}: {plain(difference.document_id)}: {plain(difference.what)}"
        console.print(Text(brief(text, 500)), soft_wrap=True)
    total = findings.kinds.total()
    if total > _SHOWN:
        console.print(f"… and {total - _SHOWN:,} more")
    for table, count in findings.barren.items():
        why = f"{count:,} rows of {table} make no document: {findings.reason}"
        console.print(Text(plain(why), "yellow"), soft_wrap=True)
    if findings.moving:
        console.print(f"[yellow]{findings.moving:,} documents changed at each look[/]: verify again when it is quieter")
    for (table, store), rows in findings.let_go.items():
        why = (
            f"{rows:,} rows of {table} weren't compared with {store}: it has no document of theirs, and keeps none "
            "that didn't change within its retention"
        )
        console.print(Text(plain(why), "yellow"), soft_wrap=True)
    if findings.lag:
        console.print(
            Text(f"the stream lags: {plain(findings.lag)}. What differs may be on its way", "yellow"), soft_wrap=True
        )
    if empty := fruitless(findings):
        none = " and ".join(f"none of the {findings.rows[table]:,} rows of {table}" for table in empty)
        why = f": {none} makes a document. Correct the pipeline file, as `freshet check` says"
        console.print(Text("nothing to compare", "red") + Text(plain(why), ""), soft_wrap=True)
    elif not total:
        names = sorted({store for _, store in findings.compared})
        equal = f"{' and '.join(names)} {'equals' if len(names) == 1 else 'equal'} the source"
        console.print(f"[green]no difference[/]: {equal}")
    if findings.vectored:
        console.print(_vectors(findings), soft_wrap=True)


def _vectors(findings: Findings) -> str:
    """How many vectors were compared, so that nobody takes a sample for all of them."""
    if findings.sampled >= findings.vectored:
        return f"vectors: all {findings.vectored:,} documents compared"
    return (
        f"vectors: a sample of {findings.sampled:,} of {findings.vectored:,} documents compared; "
        "--sample all compares every one"
    )
