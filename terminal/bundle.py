"""`freshet bundle`: how large a bundle and its parts are."""

from __future__ import annotations

from rich.table import Table

from core.config.msf import LARGEST_ZIP
from deploy.msf.bundle import Bundle

_MIB = 1024 * 1024


def sizes(built: Bundle) -> Table:
    """The parts' sizes, and the zip's beside the largest that the service takes."""
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("part")
    table.add_column("size", justify="right")
    for part, size in built.parts.items():
        table.add_row(part, f"{size / _MIB:.1f} MiB")
    table.add_row("the zip", f"{len(built.content) / _MIB:.1f} MiB of {LARGEST_ZIP // _MIB}")
    return table
