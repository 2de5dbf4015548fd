"""A graph of what torch loads, where a model has none: importing this module imports torch, which takes seconds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel
from transformers.utils.logging import disable_progress_bar

from udfs.embedding.contract import INPUTS


class _Tokens(torch.nn.Module):
    """The transformer alone: from ids and mask to a vector a token."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self._inner = inner

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """A vector a token, of shape (texts, tokens, size)."""
        tokens: torch.Tensor = self._inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return tokens


def traced(folder: Path, openvino: Any) -> Any:
    """An `openvino.Model` of the transformer in a folder, of any number of texts and tokens."""
    example = {name: torch.ones(2, 16, dtype=torch.long) for name in INPUTS[:2]}
    with torch.inference_mode(), warnings.catch_warnings():
        # torch warns of its tracing, which OpenVINO does, and of each branch in it: `difference` looks at what it gives
        warnings.simplefilter("ignore")
        made = openvino.convert_model(_Tokens(_loaded(folder)), example_input=example)
    for given, name in zip(made.inputs, example, strict=True):
        given.get_tensor().set_names({name})
        given.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
    made.validate_nodes_and_infer_types()
    return made


def difference(folder: Path, made: Any, openvino: Any) -> float:
    """The largest difference of a graph's token vectors from those of the weights, relative to the largest number.

    Taken of three random texts of different lengths, in another shape than a graph is traced with.
    """
    inner = _loaded(folder)
    chance = torch.Generator().manual_seed(1)
    ids = torch.randint(0, inner.config.vocab_size, (3, 24), generator=chance)
    mask = (torch.arange(24) < torch.tensor([[24], [9], [17]])).long()
    with torch.inference_mode():
        expected = _Tokens(inner)(ids, mask)[mask.bool()].numpy()
    given = dict(zip(INPUTS, (ids.numpy(), mask.numpy(), np.zeros((3, 24), np.int64)), strict=True))
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(made, "CPU", settings)
    names = [each.get_any_name() for each in compiled.inputs]
    answer = compiled({name: given[name] for name in names})[0][mask.bool().numpy()]
    return float(np.abs(answer - expected).max() / np.abs(expected).max())


def _loaded(folder: Path) -> Any:
    disable_progress_bar()  # type: ignore[no-untyped-call]
    # eager: what the faster ways of attention do by the mask's shape would be traced as a constant
    model = AutoModel.from_pretrained(folder, attn_implementation="eager", local_files_only=True)
    return model.eval().float()
