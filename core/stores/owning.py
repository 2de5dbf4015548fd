"""Whether a run may write to what it finds: whose its stores are, and what made what stands in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from core.stores.fingerprint import Change, Fingerprint, Owner, changes

RUN = "freshet run pipeline.yaml"
"""What starts a run, where nobody says how the pipeline's file is called."""


UNFOUND = "was written by an earlier release, whose chunks no --filter and no --where finds"


class How(StrEnum):
    """What a run does with documents that were made otherwise: it refuses, leaves them, or makes them all anew."""

    REFUSE = "refuse"
    MIXED = "mixed"
    REBUILD = "rebuild"


@dataclass(frozen=True, slots=True)
class Found:
    """A store as a run finds it.

    place   as messages name it: `store.pgvector: table article_chunks`
    owner   None where it has none yet
    models  how many chunks there are of each; may be left out where the owner says that they are as they'd be made now
    bereft  how many documents its ledger has with chunks, where not one chunk is there
    unindexed  how many chunks an earlier release wrote so that no filter finds them; may be left out where a run of
               this one has the store: it was asked, or makes them anew
    """

    place: str
    owner: Owner | None
    models: Mapping[str, int] = field(default_factory=dict)
    bereft: int = 0
    unindexed: int = 0

    @property
    def is_untouched(self) -> bool:
        """Whether nobody has written to it yet."""
        return self.owner is None and not self.models and not self.bereft


def obstacles(
    found: Sequence[Found], name: str, now: Fingerprint, kept: Owner | None, resumes: bool
) -> tuple[Change, ...]:
    """Why a run of the pipeline `name` would mix, or take from another; nothing where it wouldn't.

    kept     the run whose state is gone on from; None where nothing tells
    resumes  whether the run goes on from a state
    """
    by_text: dict[str, Change] = {}
    for each in found:
        lost = [Change("", _lost(each))] if each.bereft and resumes else []
        unfound = [Change("", UNFOUND, False)] if each.unindexed else []
        for change in lost or (*unfound, *_of_store(each, name, now, kept if resumes else None)):
            by_text.setdefault(change.what, replace(change, what=f"{each.place}: {change.what}"))
    for change in changes(kept.made, now) if kept is not None and resumes else ():
        by_text.setdefault(change.what, replace(change, what=f"the run before: {change.what}"))
    return tuple(by_text.values())


def stands(why: Sequence[Change], how: How) -> bool:
    """Whether what is in the way stays there, though a run does as `how` says: persons are never linked in two ways."""
    return any(how is How.REFUSE or (how is How.MIXED and (change.relinks or change.recounts)) for change in why)


def _lost(found: Found) -> str:
    those = "the one document" if found.bereft == 1 else f"the {found.bereft:,} documents"
    return f"is empty, though its ledger has {those} that the run goes on from: they aren't written again"


def _of_store(found: Found, name: str, now: Fingerprint, goes_on: Owner | None) -> tuple[Change, ...]:
    if found.owner is None:
        empty = "is new and empty, and the state that the run goes on from has written its documents to another"
        return (Change("", empty),) if goes_on is not None and not found.models else ()
    # where nothing stands, nothing can be mixed
    differ = changes(found.owner.made, now) if found.models else ()
    if found.owner.pipeline == name and (goes_on is None or goes_on.epoch <= found.owner.epoch):
        return differ
    if found.owner.pipeline == name:
        past = f"was last this pipeline's on {_day(found.owner)}, and the state that it goes on from is of a later run"
        return (Change("", f"{past}: what was written between isn't there"), *differ)
    theirs = f"belongs to pipeline {found.owner.pipeline}, which last began on {_day(found.owner)}"
    return (Change("", f"{theirs}: each would replace the other's documents", False), *differ)


def _day(owner: Owner) -> str:
    return datetime.fromtimestamp(owner.epoch / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def refusal(
    name: str, found: Sequence[Found], why: Sequence[Change], now: Fingerprint, command: str = RUN
) -> list[str]:
    """What a run says that doesn't start, with the ways on, each with what it keeps and what it embeds.

    command  what starts a run of the pipeline
    """
    if found and all(each.is_untouched for each in found):
        return [
            f"{name} was not started: its store is new and empty",
            *(f"  {each}" for each in why),
            "The way on:",
            f"  {command} --without-state  reads all from the source's beginning, into the empty store",
            "  or name the table or index in the pipeline file that the state has written to",
        ]
    models: dict[str, int] = {}
    for each in found:
        for model, count in each.models.items():
            models[model] = max(count, models.get(model, 0))
    chunks, same = sum(models.values()), models.get(now.model, 0)
    foreign = [each.owner.pipeline for each in found if each.owner is not None and each.owner.pipeline != name]
    bereft = any(each.bereft for each in found)
    if bereft:
        because = "its store has lost what an earlier run wrote to it"
    elif foreign:
        because = "its store belongs to another pipeline"
    else:
        because = "its store would then hold documents made in two different ways"
    if any(each.recounts for each in why):
        return [
            f"{name} was not started: its state has counted by other queries",
            *(f"  {each}" for each in why),
            "The way on:",
            f"  {command} --rebuild  takes the rows of all KPIs out, reads all from the beginning again and counts it "
            "anew: drop the table of a KPI whose columns are others now",
            "  or have the pipeline file say again what it said",
        ]
    if any(each.relinks for each in why):
        return [
            f"{name} was not started: its state has linked persons by other rules",
            *(f"  {each}" for each in why),
            "The way on:",
            f"  {command} --rebuild  reads all from the beginning again, forgets every profile there is and tells them "
            "anew; the vectors of texts that stay are kept",
            "  or have the pipeline file say again what it said",
        ]
    lines = [f"{name} was not started: {because}", *(f"  {each}" for each in why)]
    lines += [
        "The ways on:",
        f"  {command} --mixed    keeps what is there, {_chunks(chunks)}, and embeds nothing now: each document is made "
        "anew when its row changes next, and a row that was skipped comes in then",
        f"  {command} --rebuild  reads all from the beginning again. {_embeds(why, chunks, same)}",
    ]
    if foreign:
        taken = f"Both take it from {foreign[0]}, whose run then stops."
        lines.append(f"  {taken} Or name another table or index in the pipeline file")
    elif not all(change.what.endswith(UNFOUND) for change in why):
        lines.append("  or " + ("restore it" if bereft else "have the pipeline file say again what it said"))
    return lines


def _embeds(why: Sequence[Change], chunks: int, same: int) -> str:
    if not any(change.embeds for change in why):
        return "Keeps every vector, and embeds nothing: what is other stands beside the texts"
    if not chunks:
        return "Embeds every text, as nothing is there to keep"
    if not same:
        return f"Embeds every text, as all {_chunks(chunks)} there are of another model"
    if ways := [change.every for change in why if change.every]:
        return f"Embeds every text, as all {_chunks(chunks)} there were embedded {' and '.join(dict.fromkeys(ways))}"
    return (
        f"Keeps the vectors of chunks whose text, model and chunker stay; embeds the others, of {_chunks(same)} there"
    )


def _chunks(count: int) -> str:
    return "1 chunk" if count == 1 else f"{count:,} chunks"


def owner_of(
    name: str, found: Sequence[Found], why: Sequence[Change], now: Fingerprint, how: How, now_ms: int
) -> Owner:
    """The owner that a run makes of itself: later than all that it finds, and with what it leaves as it is."""
    before = [each.owner for each in found if each.owner is not None]
    epoch = max([now_ms, *(each.epoch + 1 for each in before)])
    if how is How.REBUILD:
        return Owner(name, epoch, now)
    notes = [note for each in before for note in each.mixed]
    return Owner(name, epoch, now, tuple(dict.fromkeys([*notes, *(str(each) for each in why)])))
