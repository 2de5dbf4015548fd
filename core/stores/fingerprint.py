"""What made an index: kept beside it, so that a pipeline file which would make another one is noticed.

Documents made by two models, templates or chunkers stand in one store as if they were of one kind, and a search
compares what can't be compared. So the fingerprint of a run is written into each store that it writes to, and into the
folder of its state; and whoever reads either compares.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from core.config.embedding import Embedding, Prompt, mark_of
from core.config.jobs import Job
from core.config.log_identity import LogIdentity
from core.documents.step import DocumentSpec

TERMS = 1
"""The version of what stores write for filters to find."""

_SHOWN = 60
_LONGEST_RULE = 300
_CUT = re.compile(r"(?P<by>.+):(?P<tokens>\d+):(?P<overlap>\d+)")
"""A chunker's name, as `core.documents.chunking` makes it."""

_COUNTED_BY = re.compile(r"[^:]+:(?P<model>.+)-[0-9a-f]{8}")
_OWN_COUNTS = {"words2": "words and signs", "letters4": "tokens, as far as letters tell them"}
"""What the tokenizers count that aren't a model's, by their names."""


Rules = Mapping[str, str] | msgspec.UnsetType

OF_FEEDBACK = "feedback."
"""What the settings of KPIs begin with, among those that rules are named by."""


@dataclass(frozen=True, slots=True)
class Made:
    """How one table's rows became documents.

    chunker         its name, which changes whenever texts are cut otherwise
    id_from_source  None where a release wrote it that didn't say
    """

    text: str
    chunker: str
    metadata: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    id_from_source: bool | None = None


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an index was made with: the model, and how each table's rows became documents.

    terms   the version of what stores write for filters to find; 0 where a release wrote it that didn't say. Not
            compared: a store that has older chunks counts them (`VectorStore.unindexed`)
    prompt  what stood before each document when it was embedded; UNSET, and not written down, where nothing ever did
    precision  in which it was embedded, where that is less exact than float32 by more than engines differ; UNSET, and
               not written down, of float32, whichever engine computed it: earlier releases had torch alone
    profiles  of profiles and KPIs, the rules by which they are made, by the setting (`core.config.jobs.Job.rules`),
              those of KPIs with OF_FEEDBACK before; UNSET of documents, and where a release wrote it that didn't say
    """

    model: str
    tables: Mapping[str, Made] = field(default_factory=dict)
    terms: int = 0
    prompt: Prompt | msgspec.UnsetType = msgspec.UNSET
    precision: str | msgspec.UnsetType = msgspec.UNSET
    profiles: Rules = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a store is.

    pipeline  its name
    epoch     of the run: a later run has a higher one, one that Flink restarts the same; ms since 1970, or more
    made      what it writes
    mixed     how what it found there was made otherwise, in words, where that was to stay: `freshet run --mixed`
    log       which log it reads, of a job on a cluster, which has no folder to keep that in; UNSET, and not written
              down, of `freshet run`
    """

    pipeline: str
    epoch: int
    made: Fingerprint
    mixed: tuple[str, ...] = ()
    log: LogIdentity | msgspec.UnsetType = msgspec.UNSET


def fingerprint(
    job: Job, embedding: Embedding, chunkers: Mapping[str, str], prompt: Prompt | None = None
) -> Fingerprint:
    """What a job makes.

    chunkers  what cuts the texts, by name, for each of `job.texts`
    prompt    before each document; None where there never was one
    """
    made = {name: _made(spec, chunkers[name]) for name, spec in job.texts.items()}
    before = msgspec.UNSET if prompt is None else prompt
    return Fingerprint(
        embedding.model, made, TERMS, before, embedding.rounded or msgspec.UNSET, job.rules or msgspec.UNSET
    )


def _made(spec: DocumentSpec, chunker: str) -> Made:
    return Made(spec.text, chunker, spec.metadata, spec.key, spec.id_from_source)


@dataclass(frozen=True, slots=True)
class Change:
    """One way in which two fingerprints differ.

    table   the one that it is about; "" for all
    what    in words
    embeds  whether texts, or their vectors, are others by it: else only what stands beside them is
    every   where not one vector stays, how those that are there were embedded; else ""
    relinks whether persons would be others by it: what the state has linked can't be mixed with what it will link
    recounts  whether KPIs would be others by it: likewise of what the state has counted
    """

    table: str
    what: str
    embeds: bool = True
    every: str = ""
    relinks: bool = False
    recounts: bool = False

    def __str__(self) -> str:
        """The words alone."""
        return self.what


def changes(before: Fingerprint, now: Fingerprint) -> tuple[Change, ...]:
    """How an index made as `before` differs from one made as `now`, in words; nothing where it doesn't."""
    found: list[Change] = []
    if before.model != now.model:
        found.append(Change("", f"embedding.model was {before.model}, is {now.model}"))
    if before.prompt != now.prompt:
        was, is_ = _before_each(before), _before_each(now)
        found.append(
            Change("", f"embedding: before each document stood {was}, stands {is_}", every="behind another prompt")
        )
    if before.precision != now.precision:
        was, is_ = _precision_of(before), _precision_of(now)
        found.append(Change("", f"embedding.precision was {was}, is {is_}", every="in another precision"))
    found += _of_profiles(before.profiles, now.profiles)
    for table in sorted(before.tables.keys() | now.tables.keys()):
        old, new = before.tables.get(table), now.tables.get(table)
        if old is None:
            found.append(Change(table, f"{table} is new among the tables: its events so far were skipped"))
        elif new is None:
            found.append(Change(table, f"{table} isn't named any more: its documents stay as they are", False))
        else:
            found += _of_table(table, _unmarked(old, before), _unmarked(new, now))
    return tuple(found)


def _of_profiles(before: Rules, now: Rules) -> list[Change]:
    if isinstance(before, msgspec.UnsetType) or isinstance(now, msgspec.UnsetType):
        return []
    return [
        _of_rule(name, _cut_to(before, name), _cut_to(now, name))
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def _of_rule(name: str, before: str, now: str) -> Change:
    counts = name.startswith(OF_FEEDBACK)
    setting = name if counts else f"profiles.{name}"
    return Change("", f"{setting} was {before}, is {now}", relinks=not counts, recounts=counts)


def _cut_to(rules: Mapping[str, str], name: str) -> str:
    shown = rules.get(name, "not named")
    return shown if len(shown) <= _LONGEST_RULE else f"{shown[:_LONGEST_RULE]}…"


def _before_each(made: Fingerprint) -> str:
    if isinstance(made.prompt, msgspec.UnsetType):
        return "nothing"
    shown = str(made.prompt)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _precision_of(made: Fingerprint) -> str:
    return "float32" if isinstance(made.precision, msgspec.UnsetType) else made.precision


def _unmarked(made: Made, by: Fingerprint) -> Made:
    """What was made, with its chunker as it is called without prompt and precision: their change is said once."""
    chunker = made.chunker
    if not isinstance(by.prompt, msgspec.UnsetType):
        chunker = chunker.replace(by.prompt.mark, "")
    if not isinstance(by.precision, msgspec.UnsetType):
        chunker = chunker.replace(mark_of(by.precision), "")
    return replace(made, chunker=chunker)


def _of_table(table: str, old: Made, new: Made) -> list[Change]:
    found = []
    if old.text != new.text:
        found.append(Change(table, f"text of {table} was {_shown(old.text)}, is {_shown(new.text)}"))
    if old.chunker != new.chunker:
        found.append(Change(table, _of_chunkers(table, old.chunker, new.chunker)))
    if set(old.metadata) != set(new.metadata):
        what = f"metadata of {table} was {_list(old.metadata)}, is {_list(new.metadata)}"
        found.append(Change(table, what, False))
    if old.key != new.key:
        was, now = _list(old.key, "the event's key"), _list(new.key, "the event's key")
        found.append(Change(table, f"key of {table} was {was}, is {now}: its documents have other ids"))
    if None not in (old.id_from_source, new.id_from_source) and old.id_from_source != new.id_from_source:
        was, now = ("true" if each else "false" for each in (old.id_from_source, new.id_from_source))
        found.append(Change(table, f"id_from_source of {table} was {was}, is {now}: its documents have other ids"))
    return found


def _of_chunkers(table: str, old: str, new: str) -> str:
    was, is_ = _CUT.fullmatch(old), _CUT.fullmatch(new)
    if was is None or is_ is None:
        return f"texts of {table} were cut by {old}, are by {new}"
    if was["by"] == is_["by"]:
        sizes = (f"{{tokens: {each['tokens']}, overlap: {each['overlap']}}}" for each in (was, is_))
        return f"chunk of {table} was {', is '.join(sizes)}"
    before, now = _cut(was), _cut(is_)
    if before == now:
        return f"texts of {table} are cut {now}, as they were, but by other rules: by {old}, now by {new}"
    return f"texts of {table} were cut {before}, and are now cut {now}"


def _cut(chunker: re.Match[str]) -> str:
    by, (_, _, own) = chunker["by"], chunker["by"].partition(":")
    model = _COUNTED_BY.fullmatch(by)
    counted = f"tokens of {model['model']}" if model else _OWN_COUNTS.get(own, f"tokens of {own or by}")
    return f"into chunks of at most {chunker['tokens']} {counted}, with up to {chunker['overlap']} repeated"


def _shown(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _list(names: tuple[str, ...], none: str = "none") -> str:
    return ", ".join(names) or none


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Owner).decode


def owner_to_text(owner: Owner) -> str:
    """The owner as JSON, for a store or a file. Fields that a later release adds are no trouble to this one."""
    return _encode(owner).decode()


def owner_from_text(text: str | bytes) -> Owner | None:
    """The owner that `owner_to_text` wrote; None where the text is of another form."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def displaced(place: str, mine: Owner, theirs: Owner) -> str:
    """What a run says that finds a later one in its store."""
    if mine.pipeline == theirs.pipeline:
        return f"{place}: a later run of {mine.pipeline} has taken it over, so this one stops"
    return f"{place}: pipeline {theirs.pipeline} has taken it over, so {mine.pipeline} stops; give it another"
