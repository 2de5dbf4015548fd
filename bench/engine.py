"""A CPU's engine against `SentenceTransformer.encode` in float32: the same chunks, by turns, in one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from statistics import median
from time import perf_counter

import numpy as np

from core.config.embedding import Precision
from core.stores.contract import Vectors
from stack import jars
from udfs.embedding.contract import Asked, LocalModel
from udfs.embedding.engines import opened
from udfs.embedding.graphs import LOCK
from udfs.embedding.tokenizing import model_chunker, model_path
from workloads.texts import texts

_BATCH_SIZE = 32
"""The default of `SentenceTransformer.encode`."""

_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
_Work = Callable[[], Vectors]


@dataclass(frozen=True, slots=True)
class Faster:
    """Chunks a second of one precision.

    ratio   to what `encode` did in the same rounds: their median
    cosine  the least of a chunk's two vectors
    """

    ratio: float
    chunks_per_second: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Engines:
    """What was measured. `precisions` are those that this machine's instructions have, each with what it did."""

    encode_chunks_per_second: float
    precisions: dict[str, Faster]
    described: str
    chunks: int
    rounds: int

    @property
    def ratio(self) -> float:
        """Of the fastest."""
        return max(each.ratio for each in self.precisions.values())


def measure(model: str, documents: int, rounds: int) -> Engines:
    """The chunks of so many articles of Python's own reference: encoded, then embedded in each precision, and again.

    Raises ConfigError where openvino isn't installed.
    """
    import_module("udfs.embedding.transformer")  # before torch: it settles how OpenMP waits, for both sides alike
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    jars.fetch(LOCK)
    chunks = _chunks(model, documents)
    raw = SentenceTransformer(str(model_path(model)), device="cpu", local_files_only=True)
    encode: _Work = lambda: raw.encode(chunks, batch_size=_BATCH_SIZE, normalize_embeddings=True)  # noqa: E731
    ours = _opened(model)
    work: dict[str, _Work] = {"encode": encode}
    work.update((name, partial(each.embed, chunks)) for name, each in ours.items())
    vectors = {name: make() for name, make in work.items()}
    seconds = [{name: _seconds(make) for name, make in work.items()} for _ in range(rounds)]
    precisions = {
        name: Faster(
            median(each["encode"] / each[name] for each in seconds),
            len(chunks) / median(each[name] for each in seconds),
            float(np.einsum("ij,ij->i", vectors[name], vectors["encode"]).min()),
        )
        for name in ours
    }
    speed = len(chunks) / median(each["encode"] for each in seconds)
    return Engines(speed, precisions, ours["float32"].describe(), len(chunks), rounds)


def _opened(model: str) -> dict[str, LocalModel]:
    """The model by openvino in each precision that is more than played at here."""
    ours: dict[str, LocalModel] = {}
    for precision in _PRECISIONS:
        made = opened(Asked(model, model_path(model), "cpu", "openvino", precision))
        if precision in made.describe():
            ours[precision] = made
    return ours


def _chunks(model: str, documents: int) -> list[str]:
    ranges = model_chunker(model, 256, 32).ranges
    return [each.body[begin:end] for each in texts()[:documents] for begin, end in ranges(each.body)]


def _seconds(work: _Work) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started
