"""A model in the bundle: its files but for the weights, and its graph, for OpenVINO on the service's CPUs."""

from __future__ import annotations

from core.config.pipeline import Pipeline
from core.errors import ConfigError
from deploy.msf.archive import Entries
from udfs.embedding.contract import Asked
from udfs.embedding.graphs import onnx_files, origin_of
from udfs.embedding.model_files import BROUGHT, model_path, short_name
from udfs.embedding.pooling import pooling_of

_DESCRIBING = (".json", ".txt")


def carried(pipeline: Pipeline) -> Entries:
    """The files of the pipeline's model, by their paths below a folder of PYTHONPATH.

    Raises ConfigError where the model isn't here, or OpenVINO can't compute it from files alone.
    """
    model = pipeline.embedding.model
    folder = model_path(model)
    origin = origin_of(Asked(model, folder))
    graph = {} if origin is None else onnx_files(origin)
    if not graph:
        raise ConfigError([f"embedding.model: {model!r} has no graph to carry: save onnx/model.onnx into its folder"])
    if isinstance(misfit := pooling_of(folder), str):
        raise ConfigError([f"embedding.model: openvino can't compute {model!r} on the service: {misfit}"])
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in _DESCRIBING and path.is_file()
    }
    return {f"{BROUGHT}/{short_name(model)}/{name}": content for name, content in (files | graph).items()}
