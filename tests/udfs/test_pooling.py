"""How tokens become a text's vector, against sentence-transformers' own modules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.programs import needed_package
from udfs.embedding.pooling import Pooling, pooling_of
from udfs.embedding.tokenizing import DEFAULT, model_path

needed_package("torch")
MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), ("mean", "cls")])
@pytest.mark.parametrize("pads_left", [False, True])
def test_pooling_is_that_of_sentence_transformers(modes: tuple[str, ...], pads_left: bool) -> None:
    import torch
    from sentence_transformers.sentence_transformer.modules import Pooling as Theirs

    lengths, chance = np.array([7, 1, 4]), np.random.default_rng(3)
    tokens = chance.normal(size=(3, 7, 16)).astype(np.float32)
    mask = (np.arange(7) < lengths[:, np.newaxis]).astype(np.int64)
    mask = mask[:, ::-1].copy() if pads_left else mask
    features = {"token_embeddings": torch.from_numpy(tokens), "attention_mask": torch.from_numpy(mask)}
    theirs = Theirs(16, modes).forward(features)["sentence_embedding"].numpy()
    ours = Pooling(modes).pooled(tokens, mask)
    assert ours.shape == (3, 16 * len(modes)) and ours.dtype == np.float32
    assert np.abs(ours - theirs / np.linalg.norm(theirs, axis=1, keepdims=True)).max() < 1e-6


def saved(folder: Path, kinds: list[str], pooling: dict[str, Any]) -> Path:
    paths = ["", *(f"{at}_{kind}" for at, kind in enumerate(kinds[1:], 1))]
    modules = [
        {"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in zip(kinds, paths, strict=True)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for path in paths[1:]:
        (folder / path).mkdir()
        (folder / path / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.mark.parametrize(
    ("more", "config", "expected"),
    [
        (["Normalize"], {"pooling_mode_cls_token": True}, Pooling(("cls",))),
        ([], {"pooling_mode": "lasttoken"}, Pooling(("lasttoken",))),
        ([], {"pooling_mode": ["mean", "max"], "include_prompt": False}, Pooling(("mean", "max"), True)),
        ([], {}, Pooling()),
        (["Dense"], {}, "its modules are Transformer, Pooling, Dense, and those that are known"),
        ([], {"pooling_mode": "attention"}, "its pooling is attention, which isn't known"),
    ],
)
def test_what_a_models_files_say(tmp_path: Path, more: list[str], config: dict[str, Any], expected: object) -> None:
    found = pooling_of(saved(tmp_path, ["Transformer", "Pooling", *more], config))
    assert found == expected or (isinstance(found, str) and isinstance(expected, str) and found.startswith(expected))


def test_the_default_model_and_one_that_names_no_modules_average() -> None:
    assert pooling_of(model_path(DEFAULT)) == pooling_of(Path("/no/such")) == Pooling(("mean",))
