"""From a vector a token to one a text, as sentence-transformers' modules do it, without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.stores.contract import Vectors
from udfs.embedding.model_files import read_json

Mask = NDArray[np.int64]
"""1 where a text has a token, 0 where it is filled up: shape (texts, tokens)."""

_KNOWN = ("Transformer", "Pooling", "Normalize")
_LEAST = 1e-9
_OLD_NAMES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""As models have them that were saved before a mode had a name, in the order in which several are joined."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """How a model's tokens become a text's vector.

    modes           joined in this order
    without_prompt  whether the tokens of a prompt don't count
    """

    modes: tuple[str, ...] = ("mean",)
    without_prompt: bool = False

    def pooled(self, tokens: Vectors, mask: Mask) -> Vectors:
        """A unit vector a text: tokens (texts, tokens, size) and their mask become (texts, size · modes), float32."""
        vectors = np.concatenate([_MODES[mode](tokens, mask) for mode in self.modes], axis=1)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
        return unit


def pooling_of(folder: Path) -> Pooling | str:
    """How a model's tokens are pooled, by its files; a text that names it, where they ask for what isn't known here.

    Without a list of modules tokens are averaged: sentence-transformers' own default.
    """
    file = folder / "modules.json"
    modules: list[dict[str, Any]] = json.loads(file.read_bytes()) if file.is_file() else []
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    if kinds and (kinds[:2] != ["Transformer", "Pooling"] or set(kinds) - set(_KNOWN) or modules[0]["path"]):
        return f"its modules are {', '.join(kinds)}, and those that are known are {', '.join(_KNOWN)}"
    config = read_json(folder / modules[1]["path"] / "config.json") if modules else {}
    modes = _modes(config)
    if strange := [mode for mode in modes if mode not in _MODES]:
        return f"its pooling is {', '.join(strange)}, which isn't known"
    return Pooling(modes, not config.get("include_prompt", True))


def _modes(config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("pooling_mode")
    if named is None:
        return tuple(mode for name, mode in _OLD_NAMES.items() if config.get(name)) or ("mean",)
    return (named,) if isinstance(named, str) else tuple(named)


def _sum(tokens: Vectors, weights: NDArray[Any]) -> NDArray[Any]:
    summed: NDArray[Any] = np.matmul(weights[:, np.newaxis, :].astype(np.float32), tokens)[:, 0]
    return summed


def _total(weights: NDArray[Any]) -> NDArray[Any]:
    total: NDArray[Any] = np.maximum(weights.sum(axis=1, keepdims=True).astype(np.float32), _LEAST)
    return total


def _first(mask: Mask) -> NDArray[np.int64]:
    first: NDArray[np.int64] = mask.argmax(axis=1)
    return first


def _last(mask: Mask) -> NDArray[np.int64]:
    last: NDArray[np.int64] = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    return last


def _weights(mask: Mask) -> Mask:
    """1 for a text's first token, 2 for its second, and so on."""
    weights: Mask = mask * (np.arange(1, mask.shape[1] + 1) - _first(mask)[:, np.newaxis])
    return weights


def _max(tokens: Vectors, mask: Mask) -> NDArray[Any]:
    most: NDArray[Any] = np.where(mask[:, :, np.newaxis] == 0, -np.inf, tokens).max(axis=1)
    return most


_MODES: Mapping[str, Callable[[Vectors, Mask], NDArray[Any]]] = {
    "cls": lambda tokens, mask: tokens[np.arange(len(tokens)), _first(mask)],
    "max": _max,
    "mean": lambda tokens, mask: _sum(tokens, mask) / _total(mask),
    "mean_sqrt_len_tokens": lambda tokens, mask: _sum(tokens, mask) / np.sqrt(_total(mask)),
    "weightedmean": lambda tokens, mask: _sum(tokens, _weights(mask)) / _total(_weights(mask)),
    "lasttoken": lambda tokens, mask: tokens[np.arange(len(tokens)), _last(mask)],
}
