"""`freshet search`: the answers as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.stores.contract import Hit
from terminal.plain import plain


def show_json(hits: Sequence[Hit], notes: Sequence[str], console: Console) -> None:
    """The answers as JSON, best first, each chunk whole, and what is to be known of them."""
    answers = [
        {
            "score": round(float(hit.score), 6),
            "document": hit.document_id,
            "chunk": hit.ordinal,
            "text": hit.text,
            "metadata": dict(hit.metadata),
        }
        for hit in hits
    ]
    console.file.write(json.dumps({"hits": answers, "notes": list(notes)}, ensure_ascii=False, indent=2) + "\n")


def show(hits: Sequence[Hit], notes: Sequence[str], console: Console) -> None:
    """The answers as a table, best first, and what is to be known of them."""
    table = Table("score", "document", "chunk", "text", box=None, header_style="bold")
    for hit in hits:
        text = " ".join(hit.text.split())[:200]
        table.add_row(f"{hit.score:.3f}", Text(plain(hit.document_id)), str(hit.ordinal), Text(plain(text)))
    console.print(table if hits else "nothing found")
    for note in notes:
        console.print(Text(plain(note), "yellow"), soft_wrap=True)
