"""HTML to one row: what a reader of the page is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.documents.objects import Row
from core.errors import ObjectError, brief, not_installed
from udfs.parsing.text import LOOKED_AT, document, storable, text_of, wide

# what browsers show nothing of, or of what they show nothing is read
_DROPPED = (
    "script", "style", "noscript", "template", "nav", "svg", "head", "iframe", "object", "select", "button", "datalist",
    "audio", "video", "canvas", "noframes", "noembed", "rp", "annotation", "annotation-xml",
)  # fmt: skip
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_BLOCKS = (
    "address", "article", "aside", "blockquote", "body", "dd", "details", "dialog", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "header", "hr", "li", "main", "ol", "p", "pre", "section", "summary", "table",
    "tr", "ul",
)  # fmt: skip
_BLOCK, _LINE, _CELL = "\x01", "\x02", "\x03"  # which HTML can't hold
_STARTS = {**_HEADINGS, "li": "- ", "br": _LINE}
_ENDS = {"td": _CELL, "th": _CELL}
_MAYBE_HIDDEN = "//*[@hidden or @aria-hidden or @style or self::dialog]"
_HIDES = {"display": ("none",), "visibility": ("hidden", "collapse"), "content-visibility": ("hidden",)}


def html(content: bytes, key: str, charset: str | None) -> Row:
    """What a page says: headings, paragraphs, lists and tables; without scripts, styles, navigation and buttons.

    Nor is said what the page hides itself: the attribute `hidden` (HTML, "The hidden attribute": `until-found` is there
    to be found), `display: none` and `visibility: hidden` in an element's own `style`, a `dialog` that isn't open, and
    `aria-hidden="true"`, which marks what repeats or adorns (WAI-ARIA). Of `html` and `body` none of it counts: scripts
    show such a page. Style sheets are not read.

    Raises ObjectError where it nests deeper than libxml2 takes (2048 elements).
    """
    try:
        from lxml import etree
    except ImportError:
        raise not_installed("HTML", "lxml", "objects") from None
    raw, encoding = _html_bytes(content, charset)
    parser = etree.HTMLParser(encoding=encoding, huge_tree=True, remove_comments=True, remove_pis=True)
    root = etree.fromstring(raw, parser)
    fatal = [entry.message for entry in parser.error_log if entry.level_name == "FATAL"]
    if fatal:
        raise ObjectError(f"{key} is no HTML that can be read: {brief(fatal[0], 200)}")
    if root is None:
        return document(key, None, "")
    _drop_hidden(root)
    title = next((title for title in _titles(root, etree.iterwalk) if title.strip()), None)
    return document(key, storable(title or ""), storable(_said(etree.iterwalk(root, events=("start", "end")))))


def _html_bytes(content: bytes, charset: str | None) -> tuple[bytes, str | None]:
    """Bytes and their encoding; None where the page itself tells it."""
    if wide(content[:LOOKED_AT]) is None and b"charset" in content[:LOOKED_AT].lower() and charset is None:
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            return content, None
    return text_of(content, charset).encode("utf-8"), "utf-8"


def _drop_hidden(root: Any) -> None:
    for element in root.xpath(_MAYBE_HIDDEN):
        if _is_hidden(element):
            element.clear(keep_tail=True)
            element.tag = "template"


def _is_hidden(element: Any) -> bool:
    if element.tag in ("html", "body"):
        return False
    attributes = {name: value.strip().lower() for name, value in element.attrib.items()}
    return (
        attributes.get("hidden", "until-found") != "until-found"
        or attributes.get("aria-hidden") == "true"
        or (element.tag == "dialog" and "open" not in attributes)
        or hides(attributes.get("style", ""))
    )


def hides(style: str) -> bool:
    """Whether an element's own style, in lower case, hides it: the last declaration of a property counts, or the last
    that is important.
    """
    declared: dict[str, str] = {}
    important = set()
    first, *rest = style.split("/*")
    for declaration in "".join([first, *(piece.partition("*/")[2] for piece in rest)]).split(";"):
        name, _, said = declaration.partition(":")
        name = name.strip()
        value, _, weight = said.partition("!")
        if weight.strip() == "important":
            important.add(name)
        elif name in important:
            continue
        declared[name] = value.strip()
    return any(declared.get(name) in values for name, values in _HIDES.items())


def _titles(root: Any, walk_of: Any) -> Iterator[str]:
    """The page's titles, then its highest headings; nested ones count once, so that each text is read once."""
    unread = tuple(name for name in _DROPPED if name != "head")
    for name in ("title", "h1", "h2"):
        walk = walk_of(root, events=("start",), tag=(name, *unread))
        for _, element in walk:
            if element.tag == name:
                yield "".join(element.itertext())
            walk.skip_subtree()


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
