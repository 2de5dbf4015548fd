"""What others wrote, shown so that it can't act on a terminal."""

from __future__ import annotations

import base64
import unicodedata

from rich.markup import escape  # noqa: TID251  # the one place

# of Persian, of Indian scripts and of emoji: they join or part letters, and act on nothing
_JOINERS = "\u200c\u200d"


def plain(text: str, lines: bool = False) -> str:
    """The text with whatever a terminal might obey as an escape: control and format characters, surrogates.

    `lines` leaves line ends and tabs in.
    """
    kept = _JOINERS + ("\n\t" if lines else "")
    return "".join(
        character if character in kept or unicodedata.category(character)[0] != "C" else _escape(character)
        for character in text
    )


def shown(text: str) -> str:
    """As `plain` with its lines, for a place in what is printed as Rich's markup: it isn't taken for that either."""
    return escape(plain(text, lines=True))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def shown_bytes(raw: bytes | None) -> str:
    """Bytes for a person: text where they are UTF-8 without control characters but line ends and tabs, else base64."""
    if raw is None:
        return "(null)"
    text = _text(raw)
    return text if text is not None else f"base64 {base64.b64encode(raw).decode()}"


def json_bytes(raw: bytes | None) -> str | dict[str, str] | None:
    """Bytes for a program: their text, else `{"base64": …}`; null stays null."""
    if raw is None:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}


def _text(raw: bytes) -> str | None:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return text if plain(text, lines=True) == text else None
