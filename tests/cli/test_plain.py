"""What others wrote can't act on a terminal, and shows as what it is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from core.stores.contract import Hit
from operations import search
from operations.plain import plain, shown

HOSTILE = "a [/b] [red]b[/red] [link=http://evil]c[/link] \x1b]52;c;aGk=\x1b\\ \x1b[2J \x07 \u202e d"


def printed(text: str) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=400)
    console.print(f"[bold]{text}[/]", highlight=False)
    told = console.file
    assert isinstance(told, io.StringIO)
    return told.getvalue()


def test_neither_markup_nor_escapes_of_others_are_obeyed() -> None:
    told = printed(shown(HOSTILE))
    assert "[/b] [red]b[/red] [link=http://evil]c[/link]" in told
    assert "\\x1b]52;c;aGk=" in told and "\\u202e" in told and "\\x07" in told
    assert {each for each in told if not each.isprintable()} <= {"\n", "\x1b"}
    # the escapes that are left are Rich's own, of the bold text
    assert told.count("\x1b") == told.count("\x1b[1m") + told.count("\x1b[0m")


def test_lines_are_kept_where_they_may_be() -> None:
    assert (plain("a\nb"), plain("a\nb", lines=True), shown("a\nb")) == ("a\\nb", "a\nb", "a\nb")


@pytest.mark.parametrize("text", ["می\u200cخواهم", "👨\u200d👩\u200d👧", "straße"])
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert plain(text) == text


def test_a_hit_is_shown_as_it_is_written() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=400)
    hit = Hit(0.5, "public.a/\x1b[31m[/b]", "c", 0, HOSTILE, {})
    search.show([hit], ["a note \x1b[2J"], console)
    told = console.file
    assert isinstance(told, io.StringIO)
    assert "[/b] [red]b[/red]" in told.getvalue()
    assert "\x1b[2J" not in told.getvalue() and "\x1b]" not in told.getvalue()
