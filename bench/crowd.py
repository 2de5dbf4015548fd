"""Many clients at once that search `freshet serve`: whether all are answered, and what the server has in memory.

`python -m bench.crowd URL INDEX PID`, with `--requests 100000 --clients 100`. PID is the server's process.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import httpx
import psutil
import typer

from bench.figures import Percentiles, percentiles

_LOOKS = (0.1, 0.5, 1.0)
_WORDS = 4_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """What became of the requests of a crowd.

    answers    how many, by status, or by the error's name
    rss_mib    the server's resident memory when a tenth, half and all of them were answered
    latency    of all of them, while all clients asked
    seconds    in all
    load       the machine's load average over the last minute, at the end
    """

    answers: dict[str, int]
    rss_mib: dict[str, float]
    latency: Percentiles
    seconds: float
    load: float

    @property
    def errors(self) -> int:
        return sum(count for status, count in self.answers.items() if status != "200")


def crowd(url: str, index: str, memory: Callable[[], float], requests: int, clients: int, key: str = "") -> Crowd:
    """So many clients ask one search after the other, each over a connection of its own, until all are answered.

    `memory` gives the server's resident memory in MiB; `key` is what is sent as `Authorization`, "" for none.
    """
    return asyncio.run(_Asking(url, index, memory, requests, key).all(clients))


class _Asking:
    def __init__(self, url: str, index: str, memory: Callable[[], float], requests: int, key: str) -> None:
        self._path = f"{url}/v1/indexes/{index}/search"
        self._memory = memory
        self._requests = requests
        self._headers = {"Authorization": key} if key else {}
        self._bodies = _bodies()
        self._left = requests
        self._answers: Counter[str] = Counter()
        self._seconds: list[float] = []
        self._seen: dict[str, float] = {}

    async def all(self, clients: int) -> Crowd:
        began = time.perf_counter()
        await asyncio.gather(*(self._client() for _ in range(clients)))
        took = time.perf_counter() - began
        return Crowd(dict(self._answers), self._seen, percentiles(self._seconds), took, os.getloadavg()[0])

    async def _client(self) -> None:
        async with httpx.AsyncClient(
            timeout=120, headers=self._headers, limits=httpx.Limits(max_connections=1)
        ) as http:
            while self._left > 0:
                self._left -= 1
                await self._ask(http, next(self._bodies))

    async def _ask(self, http: httpx.AsyncClient, body: dict[str, Any]) -> None:
        began = time.perf_counter()
        try:
            status = str((await http.post(self._path, json=body)).status_code)
        except httpx.HTTPError as error:
            status = type(error).__name__
        self._answers[status] += 1
        self._seconds.append(time.perf_counter() - began)
        for share in _LOOKS:
            if len(self._seconds) == round(share * self._requests):
                self._seen[f"{share:.0%}"] = round(self._memory(), 1)


def _bodies() -> Iterator[dict[str, Any]]:
    choices = random.Random(7)
    while True:
        words = " ".join(f"w{choices.randrange(_WORDS)}" for _ in range(8))
        yield {"query": words, "k": 10}


def main(
    url: Annotated[str, typer.Argument(help="where the server is")],
    index: Annotated[str, typer.Argument(help="which is searched")],
    pid: Annotated[int, typer.Argument(help="the server's process")],
    requests: Annotated[int, typer.Option(help="how many")] = 100_000,
    clients: Annotated[int, typer.Option(help="at once")] = 100,
) -> None:
    """Search a server by many at once."""
    process = psutil.Process(pid)
    found = crowd(url, index, lambda: float(process.memory_info().rss) / 2**20, requests, clients)
    print(json.dumps({**asdict(found), "errors": found.errors}, indent=2))


if __name__ == "__main__":
    typer.run(main)
