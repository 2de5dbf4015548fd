"""Lines of an operation, each as it is said, with its head in the colour of its tone."""

from __future__ import annotations

from rich.console import Console

from operations.reporting import Line, Say, Tone
from terminal.plain import shown

_COLOURS = {Tone.GOOD: "green", Tone.WARNING: "yellow", Tone.BAD: "red"}


def printer(console: Console, wrapped: bool = False) -> Say:
    """What prints lines; `wrapped` breaks those that are longer than the console is wide."""

    def say(line: Line) -> None:
        head = shown(line.head)
        colour = _COLOURS.get(line.tone)
        console.print(
            f"[{colour}]{head}[/]{shown(line.rest)}" if colour else head + shown(line.rest), soft_wrap=not wrapped
        )

    return say
