"""How a run that has an end says what became of what it read: it is in the store, or a dead letter."""

from __future__ import annotations

from connectors.opening.dead_letters import letters
from core.config.pipeline import Pipeline
from core.errors import FreshetError
from core.letters import Ends


def letters_so_far(pipeline: Pipeline) -> Ends | None:
    """Where the dead letters end now; None where that can't be asked, or the run has no end."""
    if not pipeline.source.chosen.is_bounded:
        return None
    try:
        with letters(pipeline) as there:
            return there.ends
    except FreshetError:
        return None


def outcome(pipeline: Pipeline, before: Ends | None) -> str:
    """What became of all that a run read. `before`: where the dead letters ended as it began."""
    place = pipeline.dead_letters.chosen.place
    try:
        count = None if before is None else _written_since(pipeline, before)
    except FreshetError:
        count = None
    if count == 0:
        return "everything it read is in the store"
    if count is None:
        return f"everything it read is in the store, or a dead letter in {place}, which can't be asked from here"
    are = "1 dead letter is" if count == 1 else f"{count:,} dead letters are"
    return (
        f"{are} in {place}, and not in the store: `freshet dead-letters list` says why. "
        "Everything else that it read is in the store"
    )


def _written_since(pipeline: Pipeline, before: Ends) -> int:
    with letters(pipeline) as there:
        return sum(letter.pipeline == pipeline.name for letter in there.read(before))
