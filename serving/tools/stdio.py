"""What `freshet mcp` does: all is opened as for `freshet serve`, then tools are called over stdin and stdout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio

from core.errors import ConfigError, not_installed
from serving.access import Grant, charge
from serving.answers.contexts import Contexts
from serving.figures import Figures
from serving.lookups import ANSWER_S, Lookups
from serving.offer import Offer, opened
from serving.problems import Refused
from serving.settings import read
from serving.tools.tools import Tools


def answer(file: Path, key: str, say: Callable[[str], None]) -> None:
    """Answer until stdin ends, as whoever has the `key`, "" for none; `say` gets notes on what is there.

    Raises ConfigError where a file is wrong, or the key lets nobody in; Unavailable where a store is away.
    """
    try:
        from serving.tools.mcp import over_stdio
    except ModuleNotFoundError as missing:
        raise not_installed("freshet mcp", missing.name or "mcp", "mcp") from missing
    with opened(read(file)) as offer:
        for note in offer.notes:
            say(note)
        _check(offer, key)

        def grant() -> Grant:
            found = offer.let_in(_header(key))
            charge(found)
            return found

        lookups = Lookups(offer, Figures())
        tools = Tools(lookups, Contexts(lookups, offer.answering), ANSWER_S)
        anyio.run(over_stdio, offer.name, tools, grant)


def _check(offer: Offer, key: str) -> None:
    try:
        offer.let_in(_header(key))
    except Refused:
        what = "the key in FRESHET_KEY is none that lets in" if key else "it has keys, and FRESHET_KEY holds none"
        raise ConfigError([f"{what}: set one that `freshet serve-key add` made"]) from None


def _header(key: str) -> str:
    return f"Bearer {key}" if key else ""
