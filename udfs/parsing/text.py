"""Plain text and Markdown to one row each, and bytes to text. Nothing in it takes more time than its text is long."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from core.documents.objects import Row

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LOOKED_AT = 8192
"""The bytes of a file's beginning that tell what it is."""

_MOST_NULS = 0.01
_LONGEST_TITLE = 500
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_HEADING = re.compile(r"^#{1,6}+[ \t]++(?=[^\n])", re.MULTILINE)
_FENCE = re.compile(r"^ {0,3}+(`{3,}+|~{3,}+)([^\n]*+)$", re.MULTILINE)
_NOWHERE = (2**63, 2**63)


def storable(text: str) -> str:
    """The text without what no database or UTF-8 can hold: NULs and halves of surrogate pairs become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def is_binary(content: bytes) -> bool:
    """Whether bytes are no text: NULs among them, which no UTF-16 explains."""
    head = content[:LOOKED_AT]
    return not wide(head) and head.count(0) > _MOST_NULS * len(head)


def wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32, by its mark, or UTF-16 by the zeros beside most characters of western texts."""
    for mark, name in _BOMS[1:]:
        if head.startswith(mark):
            return name
    even, odd = head[0::2], head[1::2]
    if len(head) >= 4 and odd.count(0) > 0.7 * len(odd) and not even.count(0):
        return "utf-16-le"
    if len(head) >= 4 and even.count(0) > 0.7 * len(even) and not odd.count(0):
        return "utf-16-be"
    return None


def text_of(content: bytes, charset: str | None = None) -> str:
    """Bytes as text: by their byte order mark, else as UTF-8, else in the charset declared, else line by line.

    A line that is not UTF-8 in a file of no known charset is read as Windows-1252: files to which several programs
    wrote have both. Line ends become newlines.
    """
    return storable(_decoded(content, charset)).replace("\r\n", "\n").replace("\r", "\n")


def _decoded(content: bytes, charset: str | None) -> str:
    encoding = wide(content[:LOOKED_AT])
    if encoding is not None:
        return content.decode(encoding, errors="replace").removeprefix("\ufeff")
    content = content.removeprefix(codecs.BOM_UTF8)
    for name in ("utf-8", charset):
        try:
            if name:
                return content.decode(name)
        except (UnicodeError, LookupError):
            continue
    return "".join(map(_line, content.splitlines(keepends=True)))


def _line(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def document(key: str, title: str | None, text: str, page: int | None = None) -> Row:
    """The row of a file that is one document, or of a page."""
    title = " ".join((title or "").split())[:_LONGEST_TITLE] or PurePosixPath(key).name or key
    columns: dict[str, Any] = {"title": title, "text": text, "page": page, "row": None}
    return Row("" if page is None else f"page {page}", columns)


def plain(content: bytes, key: str, charset: str | None) -> Row:
    """A text as it is; its title is the file's name."""
    return document(key, None, text_of(content, charset))


def markdown(content: bytes, key: str, charset: str | None) -> Row:
    """Markdown as it is, without its front matter; its title is the front matter's, else its first heading."""
    front, text = _front_matter(text_of(content, charset))
    named = next((line for line in front if line.startswith("title:")), "title:")
    title = named.removeprefix("title:").strip(" \t").strip("\"'").strip()
    return document(key, title or _first_heading(text), text)


def _front_matter(text: str) -> tuple[list[str], str]:
    """The lines between two lines of `---` at a text's beginning, and what follows them."""
    lines: list[str] = []
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        line = text[at : end if end >= 0 else len(text)]
        closes = line.startswith("---") and line.rstrip(" \t") == "---"
        if at == 0 and (not closes or end < 0):
            break
        if at > 0 and closes:
            return lines, text[at + len(line) :].lstrip("\n")
        if at > 0:
            lines.append(line)
        at += len(line) + 1
    return [], text


def _first_heading(text: str) -> str | None:
    """Without the `#` that may close it, which has a blank before it; none of a block of code between fences.

    (CommonMark, "ATX headings" and "Fenced code blocks".)
    """
    code = _fenced(text)
    begin, end_of_code = next(code, _NOWHERE)
    for match in _HEADING.finditer(text):
        while end_of_code <= match.start():
            begin, end_of_code = next(code, _NOWHERE)
        if begin <= match.start():
            continue
        end = text.find("\n", match.end())
        heading = text[match.end() : end if end >= 0 else len(text)].rstrip(" \t")
        opened = heading.rstrip("#")
        if not opened or opened[-1] in " \t":
            heading = opened.rstrip(" \t")
        if heading:
            return heading
    return None


def _fenced(text: str) -> Iterator[tuple[int, int]]:
    """Where blocks of code begin and end, one after the other; one that nothing closes goes on to the text's end."""
    opened: re.Match[str] | None = None
    for match in _FENCE.finditer(text):
        fence, more = match.groups()
        if opened is None:
            # what follows a fence of backticks has none, or it is a line with a span of code
            opened = None if fence[0] == "`" and "`" in more else match
        elif fence[0] == opened[1][0] and len(fence) >= len(opened[1]) and not more.strip(" \t"):
            yield opened.start(), match.end()
            opened = None
    if opened is not None:
        yield opened.start(), len(text) + 1
