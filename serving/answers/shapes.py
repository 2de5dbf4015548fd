"""What is asked for an answer, and what it is made of, as types: docs/answers.md has them in words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from serving.shapes import LONGEST_QUERY, AsOf, Cosine, Mode, Person, WaitFor

MOST_CHUNKS = 200
LONGEST_NAME = 1_000

Order = Literal["best_last", "best_first"]
RankedBy = Literal["search", "rerank"]


class BudgetAsked(msgspec.Struct, forbid_unknown_fields=True):
    """What a prompt may have at most: one of the two."""

    tokens: Annotated[int, Meta(ge=16, le=1_000_000)] | None = None
    characters: Annotated[int, Meta(ge=64, le=4_000_000)] | None = None


class ChangeAwaited(WaitFor, forbid_unknown_fields=True):
    """A change that must be there before the search, in the index of this name, which may be left out of one index."""

    index: Annotated[str, Meta(max_length=LONGEST_NAME)] | None = None


class Grounds(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What an answer is to be made of.

    `customer`: whose profile, as what stands behind `/v1/profiles/`: `email/kari@x.no`, `record/public.customers/1`,
    or an id. `indexes`: which are searched; all that the key is for where they aren't named. `filter` is held against
    each of them. `k`: so many chunks of each are looked at.
    """

    customer: Annotated[str, Meta(min_length=1, max_length=LONGEST_QUERY)] | None = None
    indexes: Annotated[list[str], Meta(min_length=1, max_length=100)] | None = None
    filter: msgspec.Raw | UnsetType = UNSET
    k: Annotated[int, Meta(ge=1, le=MOST_CHUNKS)] | None = None
    mode: Mode | None = None
    min_score: Cosine | None = None
    budget: BudgetAsked | None = None
    order: Order | None = None
    wait_for: ChangeAwaited | None = None


class ContextAsked(Grounds, forbid_unknown_fields=True, kw_only=True):
    """A question, and what its answer is to be made of."""

    question: Annotated[str, Meta(min_length=1, max_length=LONGEST_QUERY)]


class Freshet(Grounds, forbid_unknown_fields=True, kw_only=True):
    """`freshet` of a chat's request: what its answer is made of, and a name of the client's for the conversation."""

    conversation: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class Message(msgspec.Struct):
    """A message of a chat; a role's further fields go on as they are."""

    role: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
    content: Any = None


class Chat(msgspec.Struct):
    """A request of OpenAI's `POST /v1/chat/completions`, as far as it is read here; its other fields go on."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    freshet: Freshet | None = None


class Opinion(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody thinks of the answer of an `id`: a rating of -1 or 1, which are thumbs, or of 1 to 5, stars.

    A 1 is a thumb unless `scale` says otherwise.
    """

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    rating: Annotated[int, Meta(ge=-1, le=5)]
    scale: Literal["thumbs", "stars"] | None = None
    comment: Annotated[str, Meta(max_length=10_000)] | None = None
    conversation: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class Written(msgspec.Struct):
    """That an opinion is written."""

    id: str
    scale: Literal["thumbs", "stars"]


class Citation(msgspec.Struct):
    """A passage that a prompt has, behind the mark `[1]`: `ordinal`, score and cosine are its best chunk's.

    `ordinals` are those of all its chunks, and `text` theirs, joined.
    """

    mark: int
    index: str
    document_id: str
    ordinal: int
    ordinals: list[int]
    score: float
    cosine: float | None
    position: str | None
    committed_at: str | None
    text: str
    metadata: dict[str, Any]


class LeftOut(msgspec.Struct):
    """A chunk that was found, and for which the budget had no room."""

    index: str
    document_id: str
    ordinal: int
    score: float


class Size(msgspec.Struct):
    """How large a prompt is, of at most how much, in which unit, counted by what: a tokenizer's name, or `letters4`."""

    unit: Literal["tokens", "characters"]
    size: int
    most: int
    counted_by: str


class ContextMade(msgspec.Struct):
    """A prompt and what it is made of.

    `citations`: the best first, whatever their order in the prompt. `left_out` is null where all that was found is in
    it. `profile`: the customer's, null where none was asked for, or nobody is known by that; `profile_left_out`: it is
    too large for the budget. `as_of`: by index, how fresh it is at the least.
    """

    prompt: str
    citations: list[Citation]
    left_out: list[LeftOut]
    profile: Person | None
    profile_left_out: bool
    size: Size
    as_of: dict[str, AsOf]
    ranked_by: RankedBy


class Latency(msgspec.Struct):
    """Milliseconds from a request's begin until its passages were found, its first token came, and all of it had."""

    retrieve: float
    first_token: float | None = None
    total: float | None = None


class Answered(msgspec.Struct):
    """`freshet` of a chat's answer: a context without its prompt, whose turn of which conversation it is, and times."""

    conversation: str
    turn: int
    citations: list[Citation]
    left_out: list[LeftOut]
    profile: Person | None
    profile_left_out: bool
    size: Size
    as_of: dict[str, AsOf]
    ranked_by: RankedBy
    latency_ms: Latency
