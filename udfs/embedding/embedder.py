"""Texts to vectors: which embedder a model is, the cache before it, and batches that survive one bad text.

This module loads no model and no torch until an embedder that needs them is asked for.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from string import punctuation
from typing import Any
from zlib import crc32

import numpy as np

from core.config.embedding import Embedding, EngineName, Precision
from core.errors import EmbeddingError
from core.metrics import tally
from core.stores.batches import halving
from core.stores.contract import Vectors
from udfs.embedding.contract import Asked, Embedder, LocalModel, SomeRefused, check_texts
from udfs.embedding.engines import opened
from udfs.embedding.model_files import HASH, model_path
from udfs.embedding.prompts import Side, default_prompt, prompt_of

CACHED_VECTORS = 16_384

_HASH_DIMENSION = 384
_PLACES_A_WORD = 4
_WORDS_KEPT = 100_000
_LONGEST_KEPT = 64
_SEEDS = np.arange(1, _PLACES_A_WORD + 1, dtype=np.uint64)[:, np.newaxis] << np.uint64(32)
_SIGNS_TO_SPACES = bytes.maketrans(punctuation.encode(), b" " * len(punctuation))


def embedder(model: Embedding | str, device: str | None = None) -> Embedder:
    """The embedder of a model's documents; the same object each time, so a process loads a model, or opens an
    endpoint, once.

    model   the pipeline file's, or a name alone: a sentence-transformers name, a folder, or `hash`
    device  `cuda`, `mps`, `cpu` or one of several (`cuda:1`); None: the best that is there

    Raises ConfigError where the model isn't found, sentence-transformers isn't installed or an endpoint lets nobody in,
    Unavailable where an endpoint is asked for the dimension and doesn't answer.
    """
    return _of_side(model, "document", device)


def questioner(model: Embedding | str, device: str | None = None) -> Embedder:
    """The embedder of questions to what `embedder` embedded: another one where a model distinguishes the two.

    Both share the model. Arguments and errors are those of `embedder`.
    """
    return _of_side(model, "query", device)


def unsided(model: Embedding | str, device: str | None = None) -> Embedder:
    """A local model's embedder of texts that may be questions or documents: nobody says which.

    As `SentenceTransformer.encode` has it: behind the model's default prompt, where it has one. See `embedder`.
    """
    embedding = Embedding(model=model) if isinstance(model, str) else model
    return _local(embedding, default_prompt(embedding.model), device)


def _of_side(model: Embedding | str, side: Side, device: str | None) -> Embedder:
    embedding = Embedding(model=model) if isinstance(model, str) else model
    prompt = prompt_of(embedding, side).text
    if not embedding.remote:
        return _local(embedding, prompt, device)
    return _remote(embedding, embedding.asks_otherwise and side == "query", prompt)


@lru_cache(maxsize=4)
def _remote(embedding: Embedding, of_questions: bool, prompt: str) -> Embedder:
    return CachedEmbedder(_prompted(_endpoint(embedding, of_questions), prompt), CACHED_VECTORS)


@lru_cache(maxsize=4)
def _endpoint(embedding: Embedding, of_questions: bool) -> Embedder:
    from udfs.embedding.remote import embedder as remote

    return remote.opened(embedding, of_questions)


def _local(embedding: Embedding, prompt: str, device: str | None) -> Embedder:
    return _of_engine(embedding.model, prompt, device, embedding.engine, embedding.precision)


@lru_cache(maxsize=8)
def _of_engine(model: str, prompt: str, device: str | None, engine: EngineName, precision: Precision) -> Embedder:
    if model == HASH:
        return _prompted(HashEmbedder(), prompt)
    return CachedEmbedder(_loaded(model, device, engine, precision).behind(prompt), CACHED_VECTORS)


@lru_cache(maxsize=4)
def _loaded(model: str, device: str | None, engine: EngineName, precision: Precision) -> LocalModel:
    return opened(Asked(model, model_path(model), device, engine, precision))


def dimension(model: Embedding | str) -> int:
    """Numbers in a vector of a model: as the pipeline file or the model's files say it, else it is loaded, or asked.

    Raises as `embedder` does.
    """
    if not isinstance(model, Embedding):
        return _local_dimension(model)
    if not model.remote:
        return _local_dimension(model.model)
    return model.dimension or model.dimensions or embedder(model).dimension


@lru_cache(maxsize=4)
def _local_dimension(model: str) -> int:
    if model == HASH:
        return _HASH_DIMENSION
    folder = model_path(model)
    sizes = [size for part in _parts(folder) if (size := _size(folder / part / "config.json")) is not None]
    return sizes[-1] if sizes else embedder(model).dimension


def _parts(folder: Path) -> list[str]:
    """The folders of the modules behind the transformer: pooling, dense layers."""
    file = folder / "modules.json"
    modules: list[dict[str, Any]] = json.loads(file.read_bytes()) if file.is_file() else []
    return [str(module["path"]) for module in modules if module["path"]]


def _size(file: Path) -> int | None:
    if not file.is_file():
        return None
    config = json.loads(file.read_bytes())
    modes = [name for name, on in config.items() if name.startswith("pooling_mode_") and on is True]
    size = config.get("out_features") or config.get("embedding_dimension") or config.get("word_embedding_dimension")
    return None if size is None else int(size) * max(1, len(modes))


class _Checksums(dict[bytes, int]):
    """A word's checksum; those of the first words are kept, as looking one up costs a fifth of making it."""

    def __missing__(self, word: bytes) -> int:
        value = crc32(word)
        if len(self) < _WORDS_KEPT and len(word) <= _LONGEST_KEPT:
            self[word] = value
        return value


class HashEmbedder:
    """Vectors from the words' checksums: texts that share words are near. For tests, and to measure all but the model.

    The same on every machine and in every process.
    """

    name = HASH
    dimension = _HASH_DIMENSION

    def __init__(self) -> None:
        self._checksums = _Checksums()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`. A text without a word has the first axis as its vector."""
        check_texts(texts)
        words = [text.lower().encode().translate(_SIGNS_TO_SPACES).split() for text in texts]
        rows = np.repeat(np.arange(len(texts)), [len(each) for each in words])
        hashes = np.array([*map(self._checksums.__getitem__, chain.from_iterable(words))], np.uint64)
        mixed = _mixed(hashes + _SEEDS)
        cells = rows * self.dimension + (mixed % np.uint64(self.dimension)).astype(np.int64)
        signs = (mixed >> np.uint64(63)).astype(np.float64) * 2 - 1
        sums = np.bincount(cells.ravel(), signs.ravel(), len(texts) * self.dimension)
        vectors = sums.reshape(len(texts), self.dimension)
        vectors[~vectors.any(axis=1), 0] = 1
        unit: Vectors = (vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True))).astype(np.float32)
        return unit

    def describe(self) -> str:
        """See `Embedder.describe`."""
        return f"{self.name} on cpu, float32, {self.dimension} dimensions"


def _mixed(values: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014): every bit of the result depends on every bit given."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class PromptedEmbedder:
    """An embedder of texts behind a prompt."""

    def __init__(self, inner: Embedder, prompt: str) -> None:
        self.name = inner.name
        self.dimension = inner.dimension
        self._inner = inner
        self._prompt = prompt

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        return self._inner.embed([self._prompt + text for text in texts])

    def describe(self) -> str:
        """See `Embedder.describe`."""
        return self._inner.describe()


def _prompted(inner: Embedder, prompt: str) -> Embedder:
    return PromptedEmbedder(inner, prompt) if prompt else inner


class CachedEmbedder:
    """An embedder that remembers the vectors of the last texts, and embeds a text once that a batch has twice.

    hits    texts that were answered without the model
    misses  texts that the model embedded
    """

    def __init__(self, inner: Embedder, entries: int) -> None:
        self.name = inner.name
        self.dimension = inner.dimension
        self.hits = 0
        self.misses = 0
        self._inner = inner
        self._entries = entries
        self._vectors: OrderedDict[bytes, Vectors] = OrderedDict()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        check_texts(texts)
        keys = [blake2b(text.encode(), digest_size=16).digest() for text in texts]
        known = {key: self._vectors[key] for key in keys if key in self._vectors}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        made, refused = self._made(list(new.values()))
        bad = {key: refused[at] for at, key in enumerate(new) if at in refused}
        known.update((key, vector) for key, vector in zip(new, made, strict=True) if key not in bad)
        self.misses += len(new)
        self.hits += len(texts) - len(new)
        tally.count("texts_cached", len(texts) - len(new))
        self._remember(known)
        if bad:
            nothing = np.zeros(self.dimension, np.float32)
            vectors = np.stack([known.get(key, nothing) for key in keys])
            raise SomeRefused(vectors, {at: bad[key] for at, key in enumerate(keys) if key in bad})
        return np.stack([known[key] for key in keys]) if keys else made

    def describe(self) -> str:
        """See `Embedder.describe`."""
        return self._inner.describe()

    def _made(self, texts: list[str]) -> tuple[Vectors, Mapping[int, EmbeddingError]]:
        if not texts:
            return np.empty((0, self.dimension), np.float32), {}
        try:
            return self._inner.embed(texts), {}
        except SomeRefused as some:
            return some.vectors, some.errors

    def _remember(self, vectors: dict[bytes, Vectors]) -> None:
        for key, vector in vectors.items():
            if key in self._vectors:
                self._vectors.move_to_end(key)
            else:
                # A copy: a view would keep the whole batch it came from in memory.
                self._vectors[key] = vector.copy()
        while len(self._vectors) > self._entries:
            self._vectors.popitem(last=False)


def embed_each(model: Embedder, texts: Sequence[str]) -> tuple[Vectors, dict[int, EmbeddingError]]:
    """A vector for each text, and the errors of those that have none, by their place in `texts`.

    A batch that fails is halved until the one bad text is alone. Rows of bad texts are zeros. Vectors of a wrong
    shape or with NaN or infinity count as failures too.
    """
    vectors = np.zeros((len(texts), model.dimension), np.float32)
    errors: dict[int, EmbeddingError] = {}

    def attempt(places: Sequence[int]) -> Sequence[None]:
        refused: Mapping[int, EmbeddingError] = {}
        try:
            made = model.embed([texts[place] for place in places])
        except SomeRefused as some:
            made, refused = some.vectors, some.errors
        vectors[places] = _checked(model, made, len(places))
        errors.update((places[at], error) for at, error in refused.items())
        return [None] * len(places)

    def refuse(place: int, error: Exception) -> None:
        errors[place] = error if isinstance(error, EmbeddingError) else EmbeddingError(str(error))

    halving(range(len(texts)), attempt, refuse, (EmbeddingError,))
    return vectors, errors


def _checked(model: Embedder, vectors: Vectors, count: int) -> Vectors:
    if vectors.shape != (count, model.dimension):
        expected = (count, model.dimension)
        raise EmbeddingError(f"{model.name} gave vectors of shape {vectors.shape}, not {expected}: check the model")
    if not np.isfinite(vectors).all():
        raise EmbeddingError(f"{model.name} gave a vector with NaN or infinity: check the model and its precision")
    return vectors
