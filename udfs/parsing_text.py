"""Plain text, Markdown and HTML to one row each, with headings as `# …` lines and paragraphs between blank lines."""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath
from typing import Any

from core.errors import ConfigError, ObjectError
from core.objects import Row

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOKED_AT = 8192
_MOST_NULS = 0.01
_LONGEST_TITLE = 500
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)?---[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)

_DROPPED = ("script", "style", "noscript", "template", "nav", "svg", "head", "iframe", "object", "select", "button")
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_BLOCKS = (
    "address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption",
    "figure", "footer", "header", "hr", "li", "main", "ol", "p", "pre", "section", "summary", "table", "tr", "ul",
)  # fmt: skip
_BLOCK, _LINE, _CELL = "\x01", "\x02", "\x03"  # which HTML can't hold
_STARTS = {**_HEADINGS, "li": "- ", "br": _LINE}
_ENDS = {"td": _CELL, "th": _CELL}


def storable(text: str) -> str:
    """The text without what no database or UTF-8 can hold: NULs and halves of surrogate pairs become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def is_binary(content: bytes) -> bool:
    """Whether bytes are no text: NULs among them, which no UTF-16 explains."""
    head = content[:_LOOKED_AT]
    return not _wide(head) and head.count(0) > _MOST_NULS * len(head)


def _wide(head: bytes) -> str | None:
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
    wide = _wide(content[:_LOOKED_AT])
    if wide is not None:
        return content.decode(wide, errors="replace").removeprefix("\ufeff")
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
    text = text_of(content, charset)
    title = None
    front = _FRONT_MATTER.match(text)
    if front:
        text = text[front.end() :].lstrip("\n")
        found = _FRONT_TITLE.search(front[1] or "")
        title = found[1].strip("\"'") if found else None
    if title is None:
        heading = _HEADING.search(text)
        title = heading[1] if heading else None
    return document(key, title, text)


def html(content: bytes, key: str, charset: str | None) -> Row:
    """What a page says: headings, paragraphs, lists and tables; without scripts, styles, navigation and buttons.

    Raises ObjectError where it nests deeper than libxml2 takes (2048 elements).
    """
    try:
        from lxml import etree
    except ImportError:
        raise ConfigError(["HTML needs lxml, which isn't installed: install freshet[objects]"]) from None
    raw, encoding = _html_bytes(content, charset)
    parser = etree.HTMLParser(encoding=encoding, huge_tree=True, remove_comments=True, remove_pis=True)
    root = etree.fromstring(raw, parser)
    fatal = [entry.message for entry in parser.error_log if entry.level_name == "FATAL"]
    if fatal:
        raise ObjectError(f"{key} is no HTML that can be read: {fatal[0][:200]}")
    if root is None:
        return document(key, None, "")
    titles = ("".join(found.itertext()) for name in ("title", "h1", "h2") for found in root.iter(name))
    title = next((title for title in titles if title.strip()), None)
    return document(key, storable(title or ""), storable(_said(etree.iterwalk(root, events=("start", "end")))))


def _html_bytes(content: bytes, charset: str | None) -> tuple[bytes, str | None]:
    """Bytes and their encoding; None where the page itself tells it."""
    if _wide(content[:_LOOKED_AT]) is None and b"charset" in content[:_LOOKED_AT].lower() and charset is None:
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            return content, None
    return text_of(content, charset).encode("utf-8"), "utf-8"


def _said(walk: Any) -> str:
    pieces: list[str] = []
    preformatted = 0
    for event, element in walk:
        name = element.tag
        begins = event == "start"
        if begins and name in _DROPPED:
            walk.skip_subtree()
            continue
        if name in _BLOCKS or name in _HEADINGS:
            pieces.append(_BLOCK)
        if name == "pre":
            preformatted += 1 if begins else -1
        pieces.append(_STARTS.get(name, "") if begins else _ENDS.get(name, ""))
        text = (element.text if begins else element.tail) or ""
        pieces.append(text.replace("\n", _LINE) if preformatted else text)
    return "\n\n".join(filter(None, map(_block, "".join(pieces).split(_BLOCK))))


def _block(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.replace(_CELL, " | ").split(_LINE))
    return "\n".join(line.strip(" |") for line in lines).strip()
