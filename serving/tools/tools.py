"""The tools themselves, whatever protocol they are called by."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from serving import reading
from serving.access import Grant
from serving.answers.contexts import Contexts, answer_of
from serving.answers.shapes import ContextAsked, ContextMade
from serving.lookups import Lookups
from serving.problems import Refused
from serving.shapes import Document, Hits, Person, Search, document_of, hits_of, person_of
from serving.tools.recent import RecentChanges
from serving.tools.shapes import ChangesAsked, DocumentAsked, ProfileAsked, Recent, SearchAsked

_SEARCH = "Search an index for the chunks of documents that are nearest to a question, with metadata and freshness."
_DOCUMENT = "Read a document by its id, whole or a chunk of it with its neighbours."
_PROFILE = "Read what is known of a person, by an identifier, a record or a profile's id."
_CONTEXT = "Make a prompt for a question: passages with citations and the customer's profile, within a budget."
_CHANGES = "List documents of an index that changed lately, or since an earlier answer."

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: what it says of itself, what it is asked and answers, and what does it."""

    name: str
    description: str
    asked: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    call: Callable[[Grant, Any], Awaitable[msgspec.Struct]]


class Tools:
    """The tools of one server."""

    def __init__(self, lookups: Lookups, contexts: Contexts, answer_s: float) -> None:
        """A call may take `answer_s`."""
        self._lookups = lookups
        self._contexts = contexts
        self._answer_s = answer_s
        self._recent = RecentChanges()
        of = (
            Tool("search", _SEARCH, SearchAsked, Hits, self._search),
            Tool("get_document", _DOCUMENT, DocumentAsked, Document, self._document),
            Tool("get_profile", _PROFILE, ProfileAsked, Person, self._profile),
            Tool("context", _CONTEXT, ContextAsked, ContextMade, self._context),
            Tool("recent_changes", _CHANGES, ChangesAsked, Recent, self._changes),
        )
        self.by_name: Mapping[str, Tool] = {each.name: each for each in of}

    async def call(self, grant: Grant, name: str, arguments: Mapping[str, Any]) -> msgspec.Struct:
        """What a tool answers. Raises Refused, with 404 where there is no such tool."""
        if (tool := self.by_name.get(name)) is None:
            raise Refused(404, f"there is no tool {name!r}; there are {', '.join(self.by_name)}", "name")
        try:
            body = _encode(arguments)
        except (TypeError, ValueError, RecursionError, UnicodeEncodeError) as error:
            raise Refused(422, f"the arguments are no JSON: {error}", "arguments") from None
        asked = reading.Reader(tool.asked, name).read(body)
        try:
            async with asyncio.timeout(self._answer_s):
                return await tool.call(grant, asked)
        except TimeoutError:
            raise Refused(504, f"there was no answer after {self._answer_s:g} s: ask for less, or again") from None

    def _index(self, grant: Grant, name: str | None) -> str:
        if name is None:
            if len(grant.indexes) != 1:
                raise Refused(422, f"name the index: there are {', '.join(grant.indexes) or 'none'}", "index")
            (name,) = grant.indexes
        self._lookups.index(name, grant)
        return name

    async def _search(self, grant: Grant, asked: SearchAsked) -> Hits:
        name = self._index(grant, asked.index)
        reading.check_text(asked.query, "query")
        search = Search(
            asked.query, k=asked.k, filter=asked.filter, mode=asked.mode, min_score=asked.min_score,
            wait_for=asked.wait_for,
        )  # fmt: skip
        hits, fresh = await self._lookups.search(name, grant, search)
        return hits_of(hits, search, fresh)

    async def _document(self, grant: Grant, asked: DocumentAsked) -> Document:
        name, around = self._index(grant, asked.index), asked.around
        found, fresh = await self._lookups.document(name, grant, asked.document_id, around)
        return document_of(found, around, asked.neighbours, fresh)

    async def _profile(self, grant: Grant, asked: ProfileAsked) -> Person:
        found = await self._lookups.customer(grant, asked.customer)
        return person_of(found, await self._lookups.origin(grant, found) if asked.explain else None)

    async def _context(self, grant: Grant, asked: ContextAsked) -> ContextMade:
        return answer_of(await self._contexts.made(grant, asked.question, asked))

    async def _changes(self, grant: Grant, asked: ChangesAsked) -> Recent:
        name = self._index(grant, asked.index)
        opened, granted = self._lookups.index(name, grant)
        return await self._recent.of(name, opened, granted, asked)
