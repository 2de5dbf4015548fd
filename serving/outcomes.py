"""Why an index' changes are refused, to whoever listens and to whoever looks back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import ChangesGone, ConfigError, FreshetError
from operations.changes import Place, place_of
from serving.offer import OpenIndex
from serving.problems import Refused

_log = logging.getLogger(__name__)


def check_kept(name: str, opened: OpenIndex) -> None:
    """Raises Refused where the pipeline of an index keeps no changes."""
    if opened.pipeline.outcomes is None:
        raise Refused(404, f"the pipeline of index {name} tells no changes: its file has no outcomes", "index")


def place(text: str | None, field: str, what: str) -> Place | None:
    """The place that a field names, None where it isn't given. Raises Refused where it is not `what` it must be."""
    if text is None:
        return None
    if (found := place_of(text)) is None:
        raise Refused(422, f"{field} is no {what}", field)
    return found


@contextmanager
def refusing(field: str, instead: str) -> Iterator[None]:
    """Raises Refused for what goes wrong with the topic; `instead` of a `field` whose place is gone do that."""
    try:
        yield
    except ChangesGone as error:
        _log.warning("changes: %s", error)
        raise Refused(410, f"what changed since is no longer known: {instead}", field) from None
    except ConfigError as error:
        raise Refused(404, f"there are no changes yet: {error}", "index") from None
    except FreshetError as error:
        _log.warning("changes: %s", error)
        raise Refused(503, "the topic of changes doesn't answer: ask again", "", {"Retry-After": "1"}) from None
