"""Embeddings by OpenVINO, on a CPU, without torch: sentence-transformers' vectors, sooner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import tokenizers

from core.config.embedding import Precision
from core.errors import ConfigError
from core.metrics import tally
from core.stores.contract import Vectors
from udfs.embedding.contract import INPUTS, Asked, check_texts
from udfs.embedding.graphs import OUTPUT, graph
from udfs.embedding.model_files import read_json
from udfs.embedding.pooling import Mask, Pooling, pooling_of
from udfs.embedding.precision import PROBES, check_precision
from udfs.embedding.prompts import default_prompt
from udfs.embedding.quiet_openvino import openvino
from udfs.embedding.tokenizing import longest_input

_TOKENS_A_BATCH = 2_048
_TEXTS_TOKENIZED_AT_ONCE = 2_048
_WIDTHS = 8
"""Batches are as wide as a multiple of it: OpenVINO prepares itself for each shape that it hasn't seen."""

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEmbedder:
    """A model's graph on this machine's CPU, fed in batches of like length that hold so many tokens, not so many texts.

    The vectors are those of `SentenceTransformer.encode(normalize_embeddings=True)`, but for rounding. As there, the
    model's default prompt stands before each text, where it has one: see `behind`.
    """

    def __init__(self, asked: Asked) -> None:
        """Opens the model. Raises ConfigError where its graph can't be had, or it doesn't stand the precision."""
        pooling = pooling_of(asked.folder)
        if isinstance(pooling, str):
            raise ConfigError([f"embedding.engine: openvino can't have {asked.name}: {pooling}; set it to torch"])
        self.name = asked.name
        self._pooling: Pooling = pooling
        self._prompt = default_prompt(str(asked.folder))
        self._tokenizer, self._padding, self._pads_left = _tokenizer(asked.folder)
        self._lock = Lock()
        read = graph(asked, openvino)
        self._inputs = [name for name in INPUTS if any(name in given.get_names() for given in read.inputs)]
        self.precision = _precision(asked.precision)
        if self.precision != "float32":
            self._request = _compiled(read, "float32")
            exact = self.embed(PROBES)
            self._request = _compiled(read, self.precision)
            check_precision(self.name, self.precision, exact, self.embed(PROBES))
        else:
            self._request = _compiled(read, "float32")
        size = self._request.get_compiled_model().output(0).get_partial_shape()[2].get_length()
        self.dimension = int(size) * len(pooling.modes)

    def behind(self, prompt: str) -> OpenVinoEmbedder:
        """The same model, loaded once, with another prompt before each text; "" for none.

        Raises ConfigError where the model leaves a prompt's tokens out, which this engine doesn't.
        """
        if prompt and self._pooling.without_prompt:
            said = f"{self.name} leaves its prompt's tokens out, which openvino doesn't"
            raise ConfigError([f"embedding.engine: {said}; set it to torch"])
        other = copy(self)
        other._prompt = prompt
        return other

    def describe(self) -> str:
        """See `Embedder.describe`."""
        threads = self._request.get_compiled_model().get_property("INFERENCE_NUM_THREADS")
        return f"{self.name} by openvino on cpu ({threads} threads), {self.precision}, {self.dimension} dimensions"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        check_texts(texts)
        parts = [
            self._embed(texts[start : start + _TEXTS_TOKENIZED_AT_ONCE])
            for start in range(0, len(texts), _TEXTS_TOKENIZED_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), np.float32)

    def _embed(self, texts: Sequence[str]) -> Vectors:
        ids = [each.ids for each in self._tokenizer.encode_batch_fast([self._prompt + text for text in texts])]
        order = sorted(range(len(ids)), key=lambda at: -len(ids[at]))
        made: dict[int, Vectors] = {}
        padding = 0
        for rows in _batches(order, ids):
            tokens, mask = self._filled([ids[at] for at in rows])
            made.update(zip(rows, self._forward(tokens, mask), strict=True))
            padding += int(mask.size - mask.sum())
        tally.count("tokens", sum(map(len, ids)))
        tally.count("padding", padding)
        return np.stack([made[at] for at in range(len(ids))])

    def _filled(self, rows: Sequence[Sequence[int]]) -> tuple[Mask, Mask]:
        """The ids of some texts and their mask, filled up to one width: shape (texts, tokens)."""
        width = max(map(len, rows))
        width += -width % _WIDTHS
        limit = self._tokenizer.truncation
        width = width if limit is None else min(width, max(limit["max_length"], max(map(len, rows))))
        tokens = np.full((len(rows), width), self._padding, np.int64)
        mask = np.zeros_like(tokens)
        for at, row in enumerate(rows):
            place = slice(width - len(row), None) if self._pads_left else slice(len(row))
            tokens[at, place], mask[at, place] = row, 1
        return tokens, mask

    def _forward(self, tokens: Mask, mask: Mask) -> Vectors:
        given = dict(zip(INPUTS, (tokens, mask, np.zeros_like(tokens)), strict=True))
        # a request answers one caller at a time, and what it gives is its own memory
        with self._lock:
            answer = self._request.infer({name: given[name] for name in self._inputs}, share_outputs=True)
            return self._pooling.pooled(answer[OUTPUT], mask)


def _batches(order: Sequence[int], ids: Sequence[Sequence[int]]) -> Iterator[Sequence[int]]:
    start = 0
    while start < len(order):
        size = max(1, _TOKENS_A_BATCH // max(1, len(ids[order[start]])))
        yield order[start : start + size]
        start += size


def _precision(asked: Precision) -> str:
    """What is computed in: as it was asked for, but for float32 where the CPU would only play at bfloat16."""
    has = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bfloat16" if asked == "bfloat16" and "BF16" in has else "float32"


def _compiled(read: Any, precision: str) -> Any:
    # not pinned: the job's JVM and the store's server want the same cores
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "ENABLE_CPU_PINNING": False,
    }
    return openvino.Core().compile_model(read, "CPU", settings).create_infer_request()


def _tokenizer(folder: Path) -> tuple[tokenizers.Tokenizer, int, bool]:
    """What cuts texts as the model's own does, the id that fills up, and whether it does so on the left."""
    inner = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = read_json(folder / "tokenizer_config.json")
    named = config.get("pad_token") or (inner.padding or {}).get("pad_token") or ""
    padding = inner.token_to_id(named["content"] if isinstance(named, dict) else named)
    if read_json(folder / "sentence_bert_config.json").get("do_lower_case"):
        parts = [tokenizers.normalizers.Lowercase(), *filter(None, [inner.normalizer])]
        inner.normalizer = tokenizers.normalizers.Sequence(parts)
    inner.no_padding()
    inner.no_truncation()
    if (longest := longest_input(folder)) is not None:
        inner.enable_truncation(longest, direction=config.get("truncation_side", "right"))
    return inner, padding or 0, config.get("padding_side") == "left"
