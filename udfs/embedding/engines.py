"""What computes a model of this machine: an engine that is added is an entry of `ENGINES` here.

An engine opens a folder of sentence-transformers' and gives the vectors of `SentenceTransformer.encode`, normalized: in
float32 they differ from torch's by less than 1e-5 a number, which a test holds each to. So an index may be made by one
and searched by another, and what a store keeps of how it was made names none; a lower precision it does name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.config.embedding import Embedding
from core.errors import ConfigError, to_install
from udfs.embedding.contract import Asked, LocalModel
from udfs.embedding.graphs import is_installed, is_packaged, origin_of
from udfs.embedding.model_files import DEFAULT, HASH, model_path, short_name
from udfs.embedding.pooling import pooling_of

DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
"""What Linux shows of NVIDIA's drivers, Jetson's among them, of AMD's, and of a GPU behind Windows."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine.

    what     it is, in words
    extra    of Freshet's, which it comes with
    modules  that are to be installed for it
    misfit   why it isn't what `auto` takes for a model; "" where it may be
    open     opens a model; raises ConfigError
    """

    what: str
    extra: str
    modules: tuple[str, ...]
    misfit: Callable[[Asked], str]
    open: Callable[[Asked], LocalModel]

    def lacks(self) -> str:
        """The module that isn't installed; "" where all are."""
        return next((name for name in self.modules if not is_installed(name)), "")


def _open_torch(asked: Asked) -> LocalModel:
    from udfs.embedding.transformer import TransformerEmbedder

    return TransformerEmbedder(asked.name, asked.folder, asked.device, asked.precision)


def _open_openvino(asked: Asked) -> LocalModel:
    from udfs.embedding.openvino import OpenVinoEmbedder

    if asked.device not in (None, "cpu"):
        raise ConfigError([f"embedding.engine: openvino computes on the CPU, not on {asked.device}; set it to torch"])
    return OpenVinoEmbedder(asked)


def _misfit_of_openvino(asked: Asked) -> str:
    if asked.device not in (None, "cpu") or (asked.device is None and has_gpu()):
        return "there is a GPU"
    if isinstance(pooling := pooling_of(asked.folder), str):
        return pooling
    origin = origin_of(asked)
    if origin is None or origin.kind == "torch":
        return "it has no graph"
    if origin.kind == "own" and not ENGINES["torch"].lacks():
        # its vectors could be others than those of the weights, by which an index was made
        return "its graph is its own"
    return ""


ENGINES: Mapping[str, Engine] = {
    "openvino": Engine(
        "OpenVINO, on a CPU alone, of the model's graph.",
        "openvino",
        ("openvino",),
        _misfit_of_openvino,
        _open_openvino,
    ),
    "torch": Engine(
        "sentence-transformers itself, on CUDA, MPS or a CPU.",
        "model",
        ("torch", "sentence_transformers"),
        lambda asked: "",
        _open_torch,
    ),
}
"""In the order in which `auto` looks through them."""


def opened(asked: Asked) -> LocalModel:
    """The model, by the engine that is asked for, or by the first that is installed and fits.

    Raises ConfigError where there is none, or it can't open the model.
    """
    if asked.engine != "auto":
        engine = ENGINES[asked.engine]
        if lacking := engine.lacks():
            raise _needs(asked.name, lacking, engine)
        return engine.open(asked)
    why = {}
    for name, engine in ENGINES.items():
        lacking = engine.lacks()
        why[name] = f"{lacking} isn't installed" if lacking else engine.misfit(asked)
        if not why[name]:
            return engine.open(asked)
    raise _needs(asked.name, ENGINES["torch"].lacks(), ENGINES["torch"], f", and not openvino: {why['openvino']}")


def _needs(model: str, lacking: str, engine: Engine, more: str = "") -> ConfigError:
    remedy = f"{to_install(engine.extra)}, or use embedding.model: hash"
    return ConfigError([f"embedding.model: {model!r} needs {lacking}, which isn't installed{more}; {remedy}"])


def has_gpu() -> bool:
    """Whether torch sees a GPU. It is asked only where a driver shows: importing it takes seconds."""
    if ENGINES["torch"].lacks():
        return False
    if sys.platform == "linux" and not any(Path(place).exists() for place in DRIVERS):
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def wants_package(embedding: Embedding) -> bool:
    """Whether a pipeline's model may be computed by a graph that is fetched: the default one, by OpenVINO."""
    if embedding.remote or embedding.model == HASH or embedding.engine == "torch" or ENGINES["openvino"].lacks():
        return False
    return short_name(embedding.model) == DEFAULT and is_packaged(embedding.model, model_path(embedding.model))
