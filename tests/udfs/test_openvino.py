"""OpenVINO, against sentence-transformers itself: the same vectors, without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from huggingface_hub.utils import filter_repo_objects
from safetensors.numpy import load_file, save_file

from core.config.embedding import Embedding
from core.errors import ConfigError
from core.metrics import tally
from core.stores.contract import Vectors
from stack import jars
from tests.programs import needed_package
from tests.udfs.test_transformer import OF_SEVERAL_LANGUAGES, TEXTS, multilingual
from udfs.embedding import engines, graphs, model_files
from udfs.embedding.contract import Asked, LocalModel
from udfs.embedding.embedder import dimension, embedder, questioner
from udfs.embedding.engines import ENGINES, opened
from udfs.embedding.precision import PROBES, check_precision
from udfs.embedding.tokenizing import DEFAULT, model_path

if TYPE_CHECKING:
    from udfs.embedding.transformer import TransformerEmbedder

needed_package("openvino")


@pytest.fixture(scope="module", autouse=True)
def graph_of_the_default_model() -> None:
    (file,) = jars.fetch(graphs.LOCK)
    assert file == graphs._package(), "what is fetched is what is looked for"


@pytest.fixture(scope="module")
def exact() -> TransformerEmbedder:
    from udfs.embedding.transformer import TransformerEmbedder

    return TransformerEmbedder(DEFAULT, model_path(DEFAULT), "cpu")


MIXED = [*TEXTS[:12], *PROBES, "word " * 600, *OF_SEVERAL_LANGUAGES]


@pytest.fixture(scope="module")
def expected(exact: TransformerEmbedder) -> Vectors:
    """What torch makes of `MIXED` in float32."""
    return exact.embed(MIXED)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return multilingual(tmp_path_factory.mktemp("multilingual"))


def asked(folder: Path, **more: Any) -> Asked:
    return Asked(str(folder), folder, "cpu", **more)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_has_the_vectors_of_torch_in_float32(
    engine: str, exact: TransformerEmbedder, expected: Vectors
) -> None:
    model = opened(Asked(DEFAULT, model_path(DEFAULT), "cpu", engine, "float32"))  # type: ignore[arg-type]
    vectors = model.embed(MIXED)
    assert vectors.dtype == np.float32 and vectors.shape == (len(MIXED), dimension(DEFAULT))
    assert np.abs(vectors - expected).max() < 1e-5
    few = MIXED[:8]
    assert np.abs(model.behind("query: ").embed(few) - exact.behind("query: ").embed(few)).max() < 1e-5
    assert model.embed([]).shape == (0, 384)
    assert f"{DEFAULT} by {engine} on cpu (" in model.describe() and "float32, 384 dimensions" in model.describe()


def test_auto_takes_openvino_for_the_default_model_on_a_cpu_and_both_share_an_index() -> None:
    assert " by openvino on cpu" in embedder(DEFAULT, "cpu").describe()
    assert " by openvino on cpu" in questioner(Embedding(engine="openvino"), "cpu").describe()
    by_torch = Embedding(engine="torch")
    assert " by torch on cpu" in embedder(by_torch, "cpu").describe()
    assert by_torch.rounded == Embedding(engine="openvino", precision="float32").rounded == Embedding().rounded == ""


@pytest.mark.parametrize("engine", ENGINES)
def test_bfloat16_is_near_to_float32_and_says_what_it_is(engine: str, expected: Vectors) -> None:
    from udfs.embedding import openvino

    model = opened(Asked(DEFAULT, model_path(DEFAULT), "cpu", engine, "bfloat16"))  # type: ignore[arg-type]
    cosines = np.einsum("ij,ij->i", model.embed(MIXED), expected)
    assert cosines.min() > 0.999
    played_at = engine == "openvino" and "BF16" not in openvino.openvino.Core().get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    )
    assert ("float32" if played_at else "bfloat16") in model.describe()
    assert played_at or cosines.min() < 1 - 1e-6, "it was computed in another precision"


def rounded_too_far(self: object, texts: list[str]) -> Vectors:
    made = np.eye(len(texts), 384, dtype=np.float32)
    if getattr(self, "asked", False):
        made = made + np.float32(0.003)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
    self.asked = True  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("engine", ENGINES)
def test_a_precision_that_a_model_does_not_stand_is_refused(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from udfs.embedding import openvino
    from udfs.embedding.transformer import TransformerEmbedder

    kind = TransformerEmbedder if engine == "torch" else openvino.OpenVinoEmbedder
    monkeypatch.setattr(kind, "embed", rounded_too_far)
    monkeypatch.setattr(openvino, "_precision", lambda given: "bfloat16")
    with pytest.raises(ConfigError, match=f"{DEFAULT} doesn't stand bfloat16, a vector's cosine .* 0.99.*below 0.999"):
        opened(Asked(DEFAULT, model_path(DEFAULT), "cpu", engine, "bfloat16"))  # type: ignore[arg-type]


def test_what_is_no_number_is_refused_too() -> None:
    with pytest.raises(ConfigError, match="cosine to float32's is nan"):
        check_precision("m", "float16", np.eye(2, dtype=np.float32), np.full((2, 2), np.nan, np.float32))


def test_a_model_without_a_graph_has_one_made_of_its_weights_once(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from udfs.embedding.transformer import TransformerEmbedder

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    expected = TransformerEmbedder("own", small, "cpu").embed([*OF_SEVERAL_LANGUAGES, *TEXTS])
    made = opened(asked(small, engine="openvino"))
    (kept,) = (tmp_path / "freshet/graphs").iterdir()
    assert sorted(file.name for file in kept.iterdir()) == ["graph.bin", "graph.xml"]
    monkeypatch.setattr("udfs.embedding.tracing.traced", None)
    for model in (made, opened(asked(small, engine="openvino"))):
        assert np.abs(model.embed([*OF_SEVERAL_LANGUAGES, *TEXTS]) - expected).max() < 1e-5


@pytest.fixture
def with_graph(tmp_path: Path) -> Path:
    """The default model in a folder of one's own, with its graph where exporters put it."""
    folder = tmp_path / "model"
    shutil.copytree(model_path(DEFAULT), folder, symlinks=True)
    with zipfile.ZipFile(graphs._package()) as package:
        (folder / "onnx").mkdir()
        (folder / "onnx/model.onnx").write_bytes(package.read(graphs._MEMBER))
    return folder


def test_a_graph_of_its_own_is_read_and_one_of_other_weights_is_refused(
    with_graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact: TransformerEmbedder
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert graphs.origin_of(asked(with_graph)) == graphs.Origin("own", (with_graph / "onnx/model.onnx",))
    own = opened(asked(with_graph, engine="openvino"))
    assert np.abs(own.embed(OF_SEVERAL_LANGUAGES) - exact.embed(OF_SEVERAL_LANGUAGES)).max() < 1e-5
    why = ENGINES["openvino"].misfit(asked(with_graph))
    assert why == "its graph is its own", "nothing says that an index was made by it"

    shutil.rmtree(tmp_path / "cache")
    weights = load_file(with_graph / "model.safetensors")
    moved = {name: value * 1.01 if "layer.3" in name else value for name, value in weights.items()}
    (with_graph / "model.safetensors").unlink()
    save_file(moved, with_graph / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match="its graph gives others than its weights"):
        opened(asked(with_graph, engine="openvino"))


def test_a_graph_that_is_not_equal_is_not_kept(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("udfs.embedding.tracing.difference", lambda *given: 0.01)
    with pytest.raises(ConfigError, match=r"others than its weights, by 1\.0e-02.*set embedding\.engine to torch"):
        opened(asked(small, engine="openvino"))
    assert list(tmp_path.rglob("graph.xml")) == []


def test_tokens_and_padding_are_counted() -> None:
    model = opened(Asked(DEFAULT, model_path(DEFAULT), "cpu", "openvino"))
    tally.drain()
    model.embed(["one", "one two three four", "one two"])
    # [CLS] and [SEP] beside the words, in a batch as wide as a multiple of 8
    assert {each.name: each.by for each in tally.drain()} == {"tokens": 3 + 6 + 4, "padding": 5 + 2 + 4}


def test_neither_torch_is_imported_nor_anybody_told_of_the_use(tmp_path: Path) -> None:
    program = (
        "import sys; from udfs.embedding.embedder import embedder;"
        f"print(embedder({DEFAULT!r}).describe());"
        "sys.exit(', '.join({'torch', 'transformers', 'openvino_telemetry.main'} & set(sys.modules)))"
    )
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": cache}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (" by openvino on cpu" in ran.stdout, ran.stderr) == (True, "\n")
    assert list(tmp_path.iterdir()) == []


def without(*modules: str) -> Any:
    return lambda module: module not in modules


@pytest.mark.parametrize(
    ("given", "missing", "message"),
    [
        ({"engine": "openvino"}, ["openvino"], r"needs openvino, which isn't installed; install freshet\[openvino\]"),
        ({"engine": "torch"}, ["torch"], r"needs torch, which isn't installed; install freshet\[model\]"),
        ({}, ["torch", "openvino"], "needs torch, .*, and not openvino: openvino isn't installed"),
        ({}, ["torch"], "needs torch, .*, and not openvino: it has no graph"),
        ({"engine": "openvino"}, ["torch"], "has no graph of it, nor torch to make one"),
    ],
)
def test_what_is_not_installed_is_named(
    given: dict[str, Any], missing: list[str], message: str, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "is_installed", without(*missing))
    monkeypatch.setattr(graphs, "is_installed", without(*missing))
    with pytest.raises(ConfigError, match=message):
        opened(asked(small, **given))


@pytest.mark.parametrize(("torch", "weights"), [(True, ["model.safetensors"]), (False, ["onnx/model.onnx"])])
def test_of_a_models_weights_one_form_is_fetched(
    torch: bool, weights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ["config.json", "model.safetensors", "onnx/model.onnx", "onnx/model_O4.onnx"]
    files += ["tf_model.h5", "openvino/openvino_model.bin"]
    monkeypatch.setattr(model_files, "find_spec", lambda name: torch or None)
    left = list(filter_repo_objects(files, ignore_patterns=model_files.left_out()))
    assert left == ["config.json", *weights]


def test_openvino_has_no_gpu() -> None:
    with pytest.raises(ConfigError, match="computes on the CPU, not on cuda"):
        opened(Asked(DEFAULT, model_path(DEFAULT), "cuda", "openvino"))
    assert ENGINES["openvino"].misfit(Asked(DEFAULT, model_path(DEFAULT), "cuda")) == "there is a GPU"


class Toy:
    """An engine that the product doesn't have."""

    name, dimension = "toy", 2

    def behind(self, prompt: str) -> Toy:
        return self

    def embed(self, texts: list[str]) -> Vectors:
        return np.ones((len(texts), 2), np.float32)

    def describe(self) -> str:
        return "toy by toy"


def test_an_engine_that_is_added_is_an_entry(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_toy(given: Asked) -> LocalModel:
        return Toy()

    toy = engines.Engine("a toy", "toy", (), lambda given: "" if given.folder == small else "not small", open_toy)
    monkeypatch.setattr(engines, "ENGINES", {"toy": toy, **ENGINES})
    assert opened(asked(small)).describe() == "toy by toy"
    assert " by openvino " in opened(Asked(DEFAULT, model_path(DEFAULT), "cpu")).describe()
