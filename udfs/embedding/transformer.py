"""Embeddings by sentence-transformers. Importing this module imports torch, which takes seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

# Before the import: the hub's client reads it once. The model is a folder by now, there is nothing to ask for.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# OpenMP's threads spin while they wait for each other: beside a JVM and a database on the same cores that costs
# 200 ms a text where sleeping costs 30. It, too, is read once.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize
from transformers.utils.logging import disable_progress_bar

from core.config.embedding import Precision
from core.errors import EmbeddingError
from core.metrics import tally
from core.stores.contract import Vectors
from udfs.embedding.contract import check_texts
from udfs.embedding.precision import PROBES, check_precision

_TOKENS_A_BATCH = {"cuda": 32_768, "mps": 8_192, "cpu": 1_024}
_TEXTS_TOKENIZED_AT_ONCE = 2_048


class TransformerEmbedder:
    """A sentence-transformers model, fed in batches of like length that hold so many tokens, not so many texts.

    The vectors are those of `SentenceTransformer.encode(normalize_embeddings=True)`, but for rounding; on CUDA in
    half precision, where nobody says otherwise. As there, the model's default prompt stands before each text, where it
    has one: see `behind`.
    """

    def __init__(self, name: str, folder: Path, device: str | None = None, precision: Precision = "auto") -> None:
        """Loads the model from its folder. `device` None takes CUDA or MPS where there is one, else the CPU.

        Raises ConfigError where it doesn't stand the precision.
        """
        self.name = name
        disable_progress_bar()  # type: ignore[no-untyped-call]
        model = SentenceTransformer(str(folder), device=device, local_files_only=True).eval()
        self._device = model.device
        self._model = model
        self._prompt = model.prompts[model.default_prompt_name] if model.default_prompt_name else ""
        self._budget = _TOKENS_A_BATCH.get(self._device.type, _TOKENS_A_BATCH["cpu"])
        self._pads_left = getattr(model.tokenizer, "padding_side", "right") == "left"
        self.dimension = int(model.get_embedding_dimension())
        auto = "float16" if self._device.type == "cuda" else "float32"
        self.precision = auto if precision == "auto" else precision
        if self.precision != "float32":
            exact = self.embed(PROBES)
            self._model = model.to(getattr(torch, self.precision))
            check_precision(name, self.precision, exact, self.embed(PROBES))

    def behind(self, prompt: str) -> TransformerEmbedder:
        """The same model, loaded once, with another prompt before each text; "" for none."""
        other = copy(self)
        other._prompt = prompt
        return other

    def describe(self) -> str:
        """See `Embedder.describe`."""
        threads = f" ({torch.get_num_threads()} threads)" if self._device.type == "cpu" else ""
        return f"{self.name} by torch on {self._device}{threads}, {self.precision}, {self.dimension} dimensions"

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        check_texts(texts)
        parts = [
            self._embed(list(texts[start : start + _TEXTS_TOKENIZED_AT_ONCE]))
            for start in range(0, len(texts), _TEXTS_TOKENIZED_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), np.float32)

    def _embed(self, texts: list[str]) -> Vectors:
        features = self._model.preprocess(texts, prompt=self._prompt)
        if "attention_mask" not in features:
            return _to_numpy(self._forward(features))
        lengths = features["attention_mask"].sum(dim=1)
        order = torch.argsort(lengths, descending=True, stable=True)
        cut = list(self._batches(order, lengths))
        vectors = _to_numpy(torch.cat([self._fit(features, rows, int(lengths[rows[0]])) for rows in cut]))
        tokens = int(lengths.sum())
        tally.count("tokens", tokens)
        tally.count("padding", sum(len(rows) * int(lengths[rows[0]]) for rows in cut) - tokens)
        unsorted = np.empty_like(vectors)
        unsorted[order.numpy()] = vectors
        return unsorted

    def _batches(self, order: torch.Tensor, lengths: torch.Tensor) -> Iterator[torch.Tensor]:
        """The rows in `order`, longest first, in batches that are at most `_budget` tokens with their padding."""
        start = 0
        while start < len(order):
            size = max(1, self._budget // max(1, int(lengths[order[start]])))
            yield order[start : start + size]
            start += size

    def _fit(self, features: dict[str, Any], rows: torch.Tensor, width: int) -> torch.Tensor:
        """The vectors of these rows; halves of them where the device's memory holds no more."""
        try:
            return self._forward(_cut(features, rows, width, self._pads_left))
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                raise EmbeddingError(f"{self._device} has no memory for a text of {width} tokens: {error}") from error
        halves = torch.tensor_split(rows, 2)
        return torch.cat([self._fit(features, half, width) for half in halves])

    def _forward(self, features: dict[str, Any]) -> torch.Tensor:
        there = {name: value.to(self._device) if torch.is_tensor(value) else value for name, value in features.items()}
        return normalize(self._model(there)["sentence_embedding"].float(), dim=1)


def _cut(features: dict[str, Any], rows: torch.Tensor, width: int, pads_left: bool) -> dict[str, Any]:
    columns = slice(-width, None) if pads_left else slice(None, width)
    return {name: value[rows, columns] if torch.is_tensor(value) else value for name, value in features.items()}


def _to_numpy(vectors: torch.Tensor) -> Vectors:
    result: Vectors = vectors.cpu().numpy()
    return result
