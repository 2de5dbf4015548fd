"""A model as a graph that OpenVINO reads: from its package, from its own `onnx/` folder, or made of what torch loads.

It is made once and kept as OpenVINO's own files, which are mapped into memory: what several workers read is there once.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from udfs.embedding.contract import INPUTS, Asked
from udfs.embedding.model_files import DEFAULT, config_error, path_here, short_name
from udfs.pinned import cache, read

LOCK = Path(__file__).with_name("jars.lock")
"""The package that has the default model's graph; `stack.jars` fetches it."""

OUTPUT = "tokens"
"""A vector a token, of shape (texts, tokens, size)."""

_MEMBER = "all-minilm-l6-v2.onnx"
_OWN = "onnx/model.onnx"
_MOST_DIFFERENCE = 1e-4
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "config.json")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model's graph comes from: a file to read, or the weights that torch makes it of.

    kind   `package`, `own` or `torch`
    files  what it is made of: others make another graph
    """

    kind: str
    files: tuple[Path, ...]

    @property
    def kept(self) -> Path:
        """Where the graph is kept once it was made."""
        marks = "|".join(f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in self.files)
        named = blake2b(f"{self.kind}|{marks}".encode(), digest_size=8).hexdigest()
        return cache("graphs") / named / "graph.xml"


def origin_of(asked: Asked) -> Origin | None:
    """Where the graph of a model comes from, as far as it is on this machine; None where it can't be had here."""
    if is_packaged(asked.name, asked.folder) and _package().is_file():
        return Origin("package", (_package(),))
    own = asked.folder / _OWN
    return Origin("own", (own, *own.parent.glob("model.onnx[._]data"))) if own.is_file() else _of_torch(asked.folder)


def _of_torch(folder: Path) -> Origin | None:
    weights = tuple(sorted(file for pattern in _WEIGHTS for file in folder.glob(pattern)))
    return Origin("torch", weights) if has_torch() and weights else None


def is_packaged(name: str, folder: Path) -> bool:
    """Whether a model is the one whose graph a package has: the default one, and not a folder of somebody's own."""
    return short_name(name) == DEFAULT and not Path(name).expanduser().is_dir() and folder == path_here(name)


def has_torch() -> bool:
    """Whether a graph can be made of what torch loads."""
    return is_installed("torch") and is_installed("transformers")


def is_installed(module: str) -> bool:
    """Whether a module is there to be imported; none is imported by it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def graph(asked: Asked, openvino: Any) -> Any:
    """The model's graph, an `openvino.Model` with some of `INPUTS` and the one output `OUTPUT`.

    Raises ConfigError where it can't be had, or doesn't fit.
    """
    origin = origin_of(asked)
    if origin is None:
        remedy = f"./freshet and freshet run fetch the graph of {DEFAULT}; of others, save {_OWN} into their folder"
        raise config_error(asked.name, "engine openvino has no graph of it, nor torch to make one", remedy)
    kept = origin.kept
    if kept.is_file():
        return openvino.Core().read_model(kept)
    made = _with_one_output(asked.name, _made(origin, asked, openvino), openvino)
    if origin.kind != "package" and has_torch():
        _refuse_unequal(asked, made, openvino)
    _keep(made, kept, openvino)
    return made


def onnx_files(origin: Origin) -> dict[str, bytes]:
    """A graph's files as a model's folder has them, by their paths in it; none of one that torch would make."""
    match origin.kind:
        case "package":
            return {_OWN: _packed(origin)}
        case "own":
            return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in origin.files}
    return {}


def _packed(origin: Origin) -> bytes:
    with zipfile.ZipFile(origin.files[0]) as package:
        return package.read(_MEMBER)


def _made(origin: Origin, asked: Asked, openvino: Any) -> Any:
    match origin.kind:
        case "package":
            return openvino.Core().read_model(_packed(origin), b"")
        case "own":
            return openvino.Core().read_model(origin.files[0])
    from udfs.embedding.tracing import traced

    return traced(asked.folder, openvino)


def _with_one_output(name: str, made: Any, openvino: Any) -> Any:
    """The graph cut behind its tokens' vectors: what pools them in a graph isn't computed."""
    strange = [given.get_any_name() for given in made.inputs if not given.get_names() & set(INPUTS)]
    # a shape (texts, tokens, size): others are of a pooled text, or of a head
    tokens = next((output for output in made.outputs if _is_of_tokens(output.get_partial_shape())), None)
    if strange or tokens is None:
        seen = f"asks for {', '.join(strange)}" if strange else "gives no vectors of tokens"
        raise config_error(name, f"its graph {seen}", "set embedding.engine to torch")
    source = tokens.get_node().input_value(0)
    result = openvino.opset13.result(source)
    result.output(0).get_tensor().set_names({OUTPUT})
    return openvino.Model([result], made.get_parameters())


def _is_of_tokens(shape: Any) -> bool:
    return bool(shape.rank.is_static and shape.rank.get_length() == 3 and shape[2].is_static)


def _keep(made: Any, place: Path, openvino: Any) -> None:
    """Keep a graph, whole or not at all, where there is room for it: other workers may do the same."""
    try:
        place.parent.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent.parent, prefix=".making-") as folder:
            openvino.save_model(made, Path(folder) / place.name, compress_to_fp16=False)
            if not place.parent.exists():
                shutil.copytree(folder, Path(folder) / "whole", ignore=shutil.ignore_patterns("whole"))
                (Path(folder) / "whole").replace(place.parent)
    except (OSError, RuntimeError):
        return


def _package() -> Path:
    (package,) = read(LOCK)
    return package.place


def _refuse_unequal(asked: Asked, made: Any, openvino: Any) -> None:
    from udfs.embedding.tracing import difference

    differs = difference(asked.folder, made, openvino)
    if not differs < _MOST_DIFFERENCE:
        seen = f"its graph gives others than its weights, by {differs:.1e} of the largest number"
        raise config_error(asked.name, seen, f"set embedding.engine to torch, or save {_OWN} anew")
