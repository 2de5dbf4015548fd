"""Every error that Freshet raises on purpose.

    FreshetError
    ├── ConfigError         the pipeline file says something that can't be run; lists every mistake
    │   ├── StoreGone       a store's table or index isn't there (any more): this run stops
    │   └── FilterError     what a search asks of metadata can't be asked
    ├── OtherLog            the log that a state belongs to isn't the one that is there now
    ├── ChangeError         one change can't be used, and will not become usable by trying again
    │   ├── RecordsLost     it is gone unread: its source kept it for too short a time
    │   ├── DecodeError     its bytes are not what the feed's format promises
    │   ├── SourceError     it is of another database than the table's documents are
    │   ├── DocumentError   its row can't become a document (a column is missing or unavailable)
    │   ├── ObjectError     its object can't be read or parsed as it is
    │   ├── RatingError     a rating counts for no answer
    │   ├── ProfileError    its row can't become part of a profile (an identifier of a megabyte, a time years ahead)
    │   └── EmbeddingError  its text can't be embedded
    ├── PromptTooLong       a question alone is more than its prompt's budget
    ├── StoreRejected       a store refuses one document for good
    ├── Displaced           a later run, or another pipeline, has taken a store over: this run stops
    └── Unavailable         a server doesn't answer now; the same call may succeed later
        └── Throttled       it is asked too often, or for too much; the same call may succeed soon

A `ChangeError` or a `StoreRejected` becomes a dead letter and the job goes on. `Unavailable` is retried,
then fails the job over to its last checkpoint. Messages name the thing, the value seen and the remedy;
they never hold a password: `connectors` redact connection strings before they quote them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.change import Change


class FreshetError(Exception):
    """Base of all errors below; catching it catches what Freshet itself reports."""


class ConfigError(FreshetError):
    """The pipeline file is wrong. `problems` has one line a mistake, each with its place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def not_installed(what: str, module: str, extra: str) -> ConfigError:
    """What to install for `what`, as in `store.dynamodb`: an extra of Freshet's brings the module that it needs."""
    return ConfigError([f"{what} needs {module}, which isn't installed: {to_install(extra)}"])


def to_install(*extras: str) -> str:
    """What is to be done for one of these extras of Freshet's: `install freshet[aws]`."""
    by_launcher = ", as FRESHET_TORCH=yes ./freshet does" if "model" in extras else ""
    return f"install {' or '.join(f'freshet[{extra}]' for extra in extras)}{by_launcher}"


class StoreGone(ConfigError):
    """A store's table or index isn't there. What it held before isn't written again when a run goes on."""


class FilterError(ConfigError):
    """What a search asks of metadata can't be asked. `place` is where in it: `filter.and[0].price.gte`."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__([f"{bounded(place)}: {problem}"])
        self.place = place


class PositionError(FreshetError):
    """A text names no place in a source's log that compares with others."""


class OtherLog(FreshetError):
    """The log that a state belongs to isn't the one that is there now: its positions or offsets mean nothing in it."""


LONGEST_REASON = 1000
"""Characters of the longest reason: rows have columns' names and values of any length, and a letter has to fit."""


class ChangeError(FreshetError):
    """One change can't be used. It becomes a dead letter, with this message as its reason, of 1,000 characters at most.

    A longer one loses its middle: what it is about stands first, the remedy last.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(bounded(reason))


def bounded(reason: str) -> str:
    """A reason, without its middle where it is longer than `LONGEST_REASON`."""
    if len(reason) <= LONGEST_REASON:
        return reason
    half = LONGEST_REASON // 2
    return f"{reason[: half - 1]} … {reason[2 - half :]}"


def brief(said: object, longest: int = 300) -> str:
    """What somebody else says, an error or a text, in one line of at most `longest` characters: its beginning."""
    words = " ".join(str(said).split())
    return words if len(words) <= longest else words[: longest - 1] + "…"


class RecordsLost(ChangeError):
    """Records of a stream are gone unread; nobody has them any more."""


class DecodeError(ChangeError):
    """The bytes of an event are not what its format promises.

    `refused` has the changes that it carries, as far as they could be read: with the operation REFUSED, their table,
    key and position. Empty where even these can't be read; without a key where all that is known is that a snapshot
    has ended.
    """

    def __init__(self, message: str, refused: tuple[Change, ...] = ()) -> None:
        super().__init__(message)
        self.refused = refused


class SourceError(ChangeError):
    """An event is of another database than the documents of its table."""


class DocumentError(ChangeError):
    """A row can't become a document."""


class ObjectError(ChangeError):
    """An object can't be read or parsed, and won't be as long as it is as it is."""


class ProfileError(ChangeError):
    """A row can't become part of a profile."""


class RatingError(ChangeError):
    """A rating counts for no answer: none of its tenant and id came, or it was given too late."""


class EmbeddingError(ChangeError):
    """A text can't be embedded."""


class PromptTooLong(FreshetError):
    """A prompt without a single passage is larger than its budget."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"the prompt has {size:,} without any passage, and the budget is {most:,}")
        self.size = size
        self.most = most


class StoreRejected(FreshetError):
    """A store refuses one document for good."""


class Displaced(FreshetError):
    """Another run has taken a store over. Nothing of this one is written there any more."""


class Unavailable(FreshetError):
    """A server doesn't answer now."""


class ChangesGone(FreshetError):
    """What a listener would hear next isn't kept any more."""


class Throttled(Unavailable):
    """A server is asked too often, or for too much. `wait_s`: how long it wants to be left alone, where it says so."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


_QUOTED = 60


def quote(value: Any) -> str:
    """A value as a message shows it, never a row, which may hold what nobody should read.

    A scalar's representation, cut after 60 characters; of a list or an object, its kind and size alone.
    """
    if isinstance(value, dict):
        return f"an object of {len(value)} fields"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "[]"
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"  # repr() of an int ends at 4,300 digits
    shown = repr(value[: _QUOTED + 1]) if isinstance(value, str) else repr(value)
    return shown if len(shown) <= _QUOTED else shown[:_QUOTED] + "…"
