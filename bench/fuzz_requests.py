"""Requests by chance to `freshet serve`, by a key that sees a part: nothing of others' is answered, nothing fails.

`python -m bench.fuzz_requests URL --key KEY --all-key KEY --index NAME --column tenant --value acme`. What there is, is
learned by a key that sees all of it; what the key's filter lets through is `--column` equal to `--value`.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer

from bench.fuzz_bytes import RAW

_MARK = "@@MARK@@"
_VALUES: tuple[Any, ...] = (
    None, 3, 7.5, True, "", "%", "' OR 1=1 --", 10**30, "\\", "\u200b", "{}", "\ufeff", "\u202e", "_", "*", [], {},
)  # fmt: skip
_LONGEST_RAW = 20_000


@dataclass(frozen=True, slots=True)
class Part:
    """What a key sees of what: values that have `value` in `column`."""

    column: str
    value: Any

    def has(self, values: dict[str, Any]) -> bool:
        return bool(values.get(self.column) == self.value)


@dataclass(frozen=True, slots=True)
class There:
    """What there is to be asked for, the key's own and others'.

    indexes      with what the key sees of each
    documents    their ids
    others       values of the column that the key's filter names
    people       what the key sees of profiles; None where it sees none
    profiles     paths behind `/v1/profiles/`
    """

    indexes: dict[str, Part]
    documents: Sequence[str]
    others: Sequence[Any]
    people: Part | None = None
    profiles: Sequence[str] = ("0123", "email/a@x.no")


@dataclass(frozen=True, slots=True)
class Request:
    """A request; `part` is what may be seen in its answer."""

    kind: str
    method: str
    path: str
    body: bytes | None
    part: Part | None


class Wrong(Exception):
    """An answer that no request may get."""


def request(there: There, chance: random.Random) -> Request:
    """A request by chance: most can be read, some can't."""
    index = chance.choice(list(there.indexes))
    part = there.indexes[index]
    kind = chance.choice(("search", "search", "search", "document", "neighbours", "profile"))
    if kind == "search":
        return Request(kind, "POST", f"/v1/indexes/{index}/search", _search(there, part, chance), part)
    if kind == "profile":
        path = _path(chance.choice(there.profiles), chance)
        return Request(kind, "GET", f"/v1/profiles/{path}{_query(chance)}", None, there.people)
    found = _path(chance.choice(there.documents), chance)
    around = f"?around={chance.choice([0, 1, 2, -1, 10**9, 'x'])}&neighbours={chance.choice([0, 1, 9, 1000, 10**6])}"
    query = around if kind == "neighbours" else _query(chance)
    return Request(kind, "GET", f"/v1/indexes/{index}/documents/{found}{query}", None, part)


def check(asked: Request, answer: httpx.Response) -> str:
    """What kind of request got what status. Raises Wrong where it failed, or saw what it may not."""
    if answer.status_code >= 500:
        raise Wrong(f"{asked} was answered with {answer.status_code}: {answer.text}")
    if answer.status_code >= 400 and answer.headers["Content-Type"] != "application/problem+json":
        raise Wrong(f"{asked} was answered with no problem: {answer.status_code} {answer.text}")
    if answer.status_code < 400:
        for values in _seen(asked, answer.json()):
            if asked.part is None or not asked.part.has(values):
                raise Wrong(f"{asked} saw what is another's: {values}")
    return f"{asked.kind} {answer.status_code}"


def _seen(asked: Request, answer: dict[str, Any]) -> list[dict[str, Any]]:
    if asked.kind == "profile":
        return [answer["values"]]
    return [hit["metadata"] for hit in answer["hits"]] if asked.kind == "search" else [answer["metadata"]]


def ask(client: httpx.Client, asked: Request) -> httpx.Response:
    """The answer, a problem or not; those of 307 aren't followed."""
    headers = {"Content-Type": "application/json"} if asked.body is not None else {}
    return client.request(asked.method, asked.path, content=asked.body, headers=headers)


def _path(text: str, chance: random.Random) -> str:
    dice = chance.random()
    if dice < 0.15:
        text += chance.choice(("/", "%00", "\x00", "'", "/../..", "?", "#", "\u200b", "a" * 3000, "%", "\\"))
    return quote(text, safe="/" if dice < 0.7 else "")


def _query(chance: random.Random) -> str:
    return chance.choice(("", "", "?explain=true", "?explain=1", "?filter=%7B%7D&key=all", "?around=0", "?tenant=%00"))


def _search(there: There, part: Part, chance: random.Random) -> bytes:
    body: dict[str, Any] = {
        "query": chance.choice(("parcel", "w1 w2", "x" * 2000, "' OR 1=1 --", "\u0661", "a:* | !b & <->", "%")),
        "k": chance.choice((1, 10, 1000)),
        "mode": chance.choice(("vector", "vector", "hybrid", "text")),
        "filter": _condition(there, part, chance, 3),
    }
    if chance.random() < 0.2:
        body["min_score"] = chance.choice((-1, 0, 0.5, 1))
    if chance.random() > 0.3:
        return json.dumps(body).encode()
    body[chance.choice((*body, "vector", "where", "tenant", "key"))] = _MARK
    raw = chance.choice([each for each in RAW if len(each) <= _LONGEST_RAW])
    marked = json.dumps(body).encode().replace(json.dumps(_MARK).encode(), raw)
    return marked[: chance.randrange(len(marked))] if chance.random() < 0.1 else marked


def _condition(there: There, part: Part, chance: random.Random, depth: int) -> dict[str, Any]:
    kind = chance.randrange(7 if depth else 4)
    column = part.column if chance.random() < 0.7 else f"{part.column}.x"
    values = [*there.others, part.value, *_VALUES]
    if kind == 0:
        return {column: chance.choice(values)}
    if kind == 1:
        return {column: {"in": chance.choices(values, k=chance.randrange(4))}}
    if kind == 2:
        return {column: {"exists": chance.random() < 0.5}}
    if kind == 3:
        return {column: {chance.choice(("gt", "gte", "lt", "lte")): chance.choice(("", "a", "z", -1, 100))}}
    parts = [_condition(there, part, chance, depth - 1) for _ in range(chance.randrange(4))]
    return {"and": parts} if kind == 4 else {"or": parts} if kind == 5 else {"not": parts[0] if parts else {}}


def fuzz(there: There, client: httpx.Client, requests: int, seed: int) -> Counter[str]:
    """How many requests of which kind got which status. Raises Wrong."""

    def one(number: int) -> str:
        asked = request(there, random.Random(seed * 1_000_003 + number))
        return check(asked, ask(client, asked))

    with ThreadPoolExecutor(4) as threads:
        return Counter(threads.map(one, range(requests)))


def learned(client: httpx.Client, index: str, column: str, value: str) -> There:
    """What a client that sees all finds of an index: a thousand chunks."""
    body = {"query": "parcel", "k": 1000}
    hits = client.post(f"/v1/indexes/{index}/search", json=body).raise_for_status().json()["hits"]
    others = sorted({json.dumps(hit["metadata"].get(column)) for hit in hits})
    documents = sorted({hit["document_id"] for hit in hits})
    return There({index: Part(column, value)}, documents, [json.loads(each) for each in others])


def main(
    url: Annotated[str, typer.Argument(help="where the server is")],
    key: Annotated[str, typer.Option(help="sees a part")],
    all_key: Annotated[str, typer.Option(help="sees all")],
    index: Annotated[str, typer.Option(help="an index that both are for")],
    column: Annotated[str, typer.Option(help="what the key's filter names")],
    value: Annotated[str, typer.Option(help="what it must be")],
    requests: Annotated[int, typer.Option(help="how many")] = 10_000,
    seed: Annotated[int, typer.Option(help="another seed makes other requests")] = 0,
) -> None:
    """Ask a server what may not be answered."""
    began = time.perf_counter()
    with httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {all_key}"}) as whole:
        there = learned(whole, index, column, value)
    with httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {key}"}) as client:
        counts = fuzz(there, client, requests, seed)
    for name, count in sorted(counts.items()):
        print(f"{count:>10,}  {name}")
    print(f"{counts.total():>10,}  in {time.perf_counter() - began:.0f} s, nothing foreign (seed {seed})")


if __name__ == "__main__":
    typer.run(main)
