"""Contexts: what is found for a question, and the prompt that is made of it, for whoever may see that."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import UNSET, Raw, structs

from core.answers.context import Context, Order, context
from core.answers.passages import Found
from core.errors import PromptTooLong
from core.profiles.merging import Profile
from core.shards.progress import Standing
from core.stores.contract import Hit
from core.stores.ranking import fused
from serving import reading
from serving.access import Defaults, Grant
from serving.answers.answering import Answering
from serving.answers.counting import Counted
from serving.answers.ranking.contract import RankingFailed
from serving.answers.shapes import Citation, ContextAsked, ContextMade, Grounds, LeftOut, RankedBy, Size
from serving.lookups import Lookups
from serving.problems import Refused
from serving.shapes import LONGEST_QUERY, Mode, Search, as_of, hit_of, near, person_of

_log = logging.getLogger(__name__)
_bodies = reading.Reader(ContextAsked, "a context")


@dataclass(frozen=True, slots=True)
class Made:
    """A context, and what it was made of; `customer`: as they were asked for, or are usual."""

    context: Context
    counted: Counted
    customer: str | None
    profile: Profile | None
    fresh: Mapping[str, Standing]
    ranked_by: RankedBy


class Contexts:
    """Makes contexts. Every method raises Refused, with what the client is to read."""

    def __init__(self, lookups: Lookups, answering: Answering) -> None:
        self._lookups = lookups
        self._answering = answering

    async def made(self, grant: Grant, question: str, asked: Grounds) -> Made:
        """The context of a question."""
        if len(question) > LONGEST_QUERY:
            has = f"the question has {len(question):,} characters, at most {LONGEST_QUERY:,} are read"
            raise Refused(422, has, "question")
        reading.check_text(question, "question")
        asked = _with_defaults(asked, grant.defaults)
        counted = self._counted(asked)
        indexes = self._indexes(grant, asked)
        await self._wait(grant, asked, indexes)
        (found, fresh, ranked_by), profile = await asyncio.gather(
            self._found(grant, question, asked, indexes), self._profile(grant, asked.customer)
        )
        order = Order(asked.order or self._answering.settings.order)
        values = None if profile is None else profile.values
        try:
            # in a thread: to count tokens takes milliseconds, in which others are answered
            whole = await asyncio.to_thread(
                context, self._answering.template, question, values, found, counted.budget, order,
                self._answering.overlapping,
            )  # fmt: skip
        except PromptTooLong as error:
            why = f"{error} {counted.unit}: ask a shorter question, or allow more"
            raise Refused(422, why, "budget") from None
        return Made(whole, counted, asked.customer, profile, fresh, ranked_by)

    def _counted(self, asked: Grounds) -> Counted:
        if asked.budget is not None and (asked.budget.tokens is None) == (asked.budget.characters is None):
            raise Refused(422, "budget: either tokens or characters must be given, and only one of them", "budget")
        return self._answering.counting.of(asked.budget)

    def _indexes(self, grant: Grant, asked: Grounds) -> Sequence[str]:
        names = list(dict.fromkeys(asked.indexes)) if asked.indexes is not None else list(grant.indexes)
        for name in names:
            self._lookups.index(name, grant)
        return names

    async def _wait(self, grant: Grant, asked: Grounds, indexes: Sequence[str]) -> None:
        if (change := asked.wait_for) is None:
            return
        name = change.index
        if name is None:
            if len(indexes) != 1:
                there = ", ".join(indexes) or "none"
                raise Refused(422, f"wait_for: name the index, of {there}", "wait_for.index")
            (name,) = indexes
        await self._lookups.wait(name, grant, change)

    async def _found(
        self, grant: Grant, question: str, asked: Grounds, indexes: Sequence[str]
    ) -> tuple[list[Found], dict[str, Standing], RankedBy]:
        settings = self._answering.settings
        mode: Mode = asked.mode or settings.mode
        k = asked.k or settings.k
        candidates = k if settings.rerank is None else max(k, settings.rerank.candidates)
        search = Search(question, k=candidates, filter=asked.filter, mode=mode, min_score=asked.min_score)
        answers = await asyncio.gather(*(self._lookups.search(name, grant, search) for name in indexes))
        rankings = [near(hits, asked.min_score) for hits, _ in answers]
        fresh = {name: standing for name, (_, standing) in zip(indexes, answers, strict=True)}
        found = _ranked(dict(zip(indexes, rankings, strict=True)))
        ranked_by, found = await self._anew(question, found)
        return (found if ranked_by == "rerank" else _of_each(found, k))[: k * len(indexes)], fresh, ranked_by

    async def _anew(self, question: str, found: list[Found]) -> tuple[RankedBy, list[Found]]:
        """What was found, ranked anew; where that fails as it was, which is better than no answer."""
        ranker, rerank = self._answering.ranker, self._answering.settings.rerank
        if ranker is None or rerank is None or not found:
            return "search", found
        try:
            async with asyncio.timeout(rerank.timeout):
                scores = await ranker.scores(question, [each.hit.text for each in found])
        except RankingFailed as error:
            _log.warning("answer.rerank: %s", error)
            return "search", found
        except TimeoutError:
            _log.warning("answer.rerank: %d texts weren't ranked within %g s", len(found), rerank.timeout)
            return "search", found
        best = sorted(zip(scores, found, strict=True), key=lambda pair: (-pair[0], pair[1].rank))
        return "rerank", [
            Found(rank, each.index, replace(each.hit, score=score)) for rank, (score, each) in enumerate(best)
        ]

    async def _profile(self, grant: Grant, customer: str | None) -> Profile | None:
        """The profile of a customer; None where nobody is known by that, or it isn't for whoever asks."""
        if customer is None:
            return None
        try:
            self._lookups.people(grant)
        except Refused as refused:
            raise Refused(refused.status, str(refused), "customer") from None
        try:
            return await self._lookups.customer(grant, customer)
        except Refused as refused:
            if refused.status in (404, 410) and refused.field != "type":
                return None
            if refused.status in (404, 422):
                raise Refused(422, f"customer: {refused}", "customer") from None
            raise


def _with_defaults(asked: Grounds, defaults: Defaults) -> Grounds:
    """What is asked, with what is usual for the key where nothing is said. A filter goes with indexes."""
    given: dict[str, Any] = {}
    if asked.customer is None and defaults.customer is not None:
        given["customer"] = defaults.customer
    if asked.indexes is None and defaults.indexes:
        given["indexes"] = list(defaults.indexes)
    if asked.filter is UNSET and asked.indexes is None and defaults.filter:
        given["filter"] = Raw(defaults.filter.encode())
    return structs.replace(asked, **given) if given else asked


def _ranked(rankings: Mapping[str, Sequence[Hit]]) -> list[Found]:
    """What indexes found as one ranking. Cosines of two models don't compare, ranks do."""
    of: dict[str, str] = {}
    for name, hits in rankings.items():
        for hit in hits:
            of.setdefault(hit.chunk_id, name)
    (first, *others) = rankings.values() or ([],)
    hits = fused([first, *others], sum(map(len, rankings.values()))) if others else first
    return [Found(rank, of[hit.chunk_id], hit) for rank, hit in enumerate(hits)]


def _of_each(found: Sequence[Found], k: int) -> list[Found]:
    """The `k` best of each index."""
    kept: Counter[str] = Counter()
    some = []
    for each in found:
        kept[each.index] += 1
        if kept[each.index] <= k:
            some.append(each)
    return some


def answer_of(made: Made) -> ContextMade:
    """The answer of a context."""
    whole, counted = made.context, made.counted
    left_out = [
        LeftOut(each.index, each.hit.document_id, each.hit.ordinal, float(each.hit.score)) for each in whole.left_out
    ]
    size = Size(counted.unit, whole.size, counted.budget.most, counted.by)
    return ContextMade(
        whole.prompt,
        citations(whole),
        left_out,
        None if made.profile is None else person_of(made.profile, None),
        made.profile is not None and not whole.with_profile,
        size,
        {name: as_of(each) for name, each in made.fresh.items()},
        made.ranked_by,
    )


def citations(whole: Context) -> list[Citation]:
    """The passages of a prompt, as they are answered."""
    found = []
    for each in whole.cited:
        best = each.passage.best
        hit = hit_of(best.hit)
        ordinals = [chunk.hit.ordinal for chunk in each.passage.chunks]
        found.append(
            Citation(
                each.mark,
                best.index,
                hit.document_id,
                hit.ordinal,
                ordinals,
                hit.score,
                hit.cosine,
                hit.position,
                hit.committed_at,
                each.passage.text,
                hit.metadata,
            )
        )
    return found


def asked_of(body: bytes) -> ContextAsked:
    """The context that a body asks for. Raises Refused."""
    return _bodies.read(body)
