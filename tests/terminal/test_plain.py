"""What others wrote can't act on a terminal, and shows as what it is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from core.stores.contract import Hit
from terminal import hits
from terminal.plain import plain, shown

HOSTILE = "a [/b] [red]b[/red] [link=http://evil]c[/link] \x1b]52;c;aGk=\x1b\\ \x1b[2J \x07 \u202e d"


def printed(text: str) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=400)
    console.print(f"[bold]{text}[/]", highlight=False)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_neither_markup_nor_escapes_of_others_are_obeyed() -> None:
    text = printed(shown(HOSTILE))
    assert "[/b] [red]b[/red] [link=http://evil]c[/link]" in text
    assert "\\x1b]52;c;aGk=" in text and "\\u202e" in text and "\\x07" in text
    assert {each for each in text if not each.isprintable()} <= {"\n", "\x1b"}
    # the escapes that are left are Rich's own, of the bold text
    assert text.count("\x1b") == text.count("\x1b[1m") + text.count("\x1b[0m")


def test_lines_are_kept_where_they_may_be() -> None:
    assert (plain("a\nb"), plain("a\nb", lines=True), shown("a\nb")) == ("a\\nb", "a\nb", "a\nb")


@pytest.mark.parametrize("text", ["می\u200cخواهم", "👨\u200d👩\u200d👧", "straße"])
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert plain(text) == text


def test_a_hit_is_shown_as_it_is_written() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=400)
    hit = Hit(0.5, "public.a/\x1b[31m[/b]", "c", 0, HOSTILE, {})
    hits.show([hit], ["a note \x1b[2J"], console)
    file = console.file
    assert isinstance(file, io.StringIO)
    assert "[/b] [red]b[/red]" in file.getvalue()
    assert "\x1b[2J" not in file.getvalue() and "\x1b]" not in file.getvalue()
