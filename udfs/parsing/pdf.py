"""PDFs to a row a page. Run in a sandbox: a small PDF can ask for any amount of memory and time."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

from core.documents.objects import Row
from core.errors import ObjectError, brief, not_installed
from udfs.parsing.text import document, storable

# It warns of every fault in a file that it reads nevertheless; where it can't, it raises.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def pages(content: bytes, key: str, most_pages: int) -> Iterator[Row]:
    """A row for each page that has text. See `udfs.parsing.files.parse`.

    Raises ObjectError where the PDF is broken or needs a password, has more pages, or has no text on any of them.
    """
    try:
        import pypdf
    except ImportError:
        raise not_installed("PDFs", "pypdf", "objects") from None
    reader = _read(key, lambda: pypdf.PdfReader(io.BytesIO(content)))
    if _read(key, lambda: reader.is_encrypted and not reader.decrypt("")):
        raise ObjectError(f"{key} is an encrypted PDF: give it without a password")
    count = _read(key, lambda: len(reader.pages))
    if count > most_pages:
        raise ObjectError(f"{key} has {count:,} pages, more than {most_pages:,}: split it, or raise the limit")
    title = _read(key, lambda: _title(reader))
    empty = True
    for number in range(count):
        text = storable(_read(key, lambda number=number: _text(reader.pages[number])))  # type: ignore[misc]
        if text.strip():
            empty = False
            yield document(key, title, text, page=number + 1)
    if empty:
        raise ObjectError(
            f"{key} has no text on any of its {count:,} pages: scanned pages need their text recognised first"
        )


def _text(page: Any) -> str:
    contents = page.get_contents()
    if contents is not None:
        contents.get_data()  # extract_text() takes what can't be decoded within pypdf's limits for an empty page
    text: str = page.extract_text()
    return text


def _title(reader: Any) -> str | None:
    title = reader.metadata.title if reader.metadata else None
    return storable(title) if isinstance(title, str) else None


def _read(key: str, step: Callable[[], Any]) -> Any:
    """What pypdf returns; on a broken file it may raise anything at all."""
    try:
        return step()
    except MemoryError:
        raise
    except Exception as error:
        why = brief(error, 200)
        raise ObjectError(f"{key} is no PDF that can be read: {type(error).__name__}: {why}") from error
