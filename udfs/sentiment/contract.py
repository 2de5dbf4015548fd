"""What judges sentiment promises, whichever model it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

LONGEST = 10_000
"""Characters of a text that are judged, its first: what is longer is a log that was pasted, or an attack."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A text that a model doesn't judge, today or tomorrow. `reason`: for its dead letter; it quotes nothing of it."""

    reason: str


Verdict = float | Refused | None
"""A score from -1, as unhappy as can be, to 1. None of a text that is blank: nobody says anything there."""


class Scorer(Protocol):
    """A model that judges texts as `readable` leaves them, none of them blank."""

    @property
    def name(self) -> str:
        """The model, as the pipeline file has it."""

    def score(self, texts: Sequence[str]) -> Sequence[float | Refused]:
        """A score from -1 to 1, or a refusal, for each text, in order.

        Raises Unavailable where a model elsewhere is away for longer than it is waited for, ConfigError where it lets
        nobody in.
        """

    def describe(self) -> str:
        """The model and what it takes, for people to read."""

    def close(self) -> None:
        """Give back connections, where it has any."""


def readable(text: str) -> str:
    """What of a text is judged: its first `LONGEST` characters, without what no tokenizer and no server reads.

    A NUL becomes a space, a lone surrogate U+FFFD: neither says how anybody feels.
    """
    kept = text[:LONGEST].replace("\0", " ")
    return kept.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
