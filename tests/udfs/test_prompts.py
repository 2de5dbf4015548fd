"""Questions are embedded as questions: by prompts of the model's own files, of the pipeline file, of an endpoint."""

from __future__ import annotations

import json
import pydoc_data.topics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from core.config.documents import Chunk
from core.config.embedding import Embedding, Prompt
from core.errors import ConfigError
from serving.embeddings import INPUT_TYPES, application, sides_of
from serving.server import served
from tests.embedding_endpoint import Endpoint, endpoint
from udfs.embedding.embedder import HashEmbedder, embedder, questioner, unsided
from udfs.embedding.prompts import document_prompt, prompt_of, prompts_described
from udfs.embedding.tokenizing import DEFAULT, document_chunker, model_path, tokenizer

E5 = {"query": "query: ", "document": "passage: "}
TEXTS = ["how much is the fish", "The river Saône carries more water than the Seine.", ""]


def model_with(folder: Path, **settings: Any) -> str:
    """The model that is here, in a folder of its own, whose file of prompts is another."""
    folder.mkdir(exist_ok=True)
    for each in model_path(DEFAULT).iterdir():
        if each.name != "config_sentence_transformers.json":
            (folder / each.name).symlink_to(each)
    written = {"__version__": {"sentence_transformers": "5.0.0"}, **settings}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(written), encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="module")
def e5(tmp_path_factory: pytest.TempPathFactory) -> str:
    return model_with(
        tmp_path_factory.mktemp("e5") / "model",
        prompts={**E5, "clustering": "cluster: "},
        default_prompt_name="clustering",
    )


def of(model: str, **settings: Any) -> Embedding:
    return Embedding.model_validate({"model": model, **settings})


def test_each_side_has_the_vectors_of_sentence_transformers(e5: str) -> None:
    from sentence_transformers import SentenceTransformer

    raw = SentenceTransformer(e5, device="cpu")
    questions, documents = questioner(e5, "cpu").embed(TEXTS), embedder(of(e5), "cpu").embed(TEXTS)
    assert np.abs(questions - raw.encode_query(TEXTS, normalize_embeddings=True)).max() < 1e-5
    assert np.abs(documents - raw.encode_document(TEXTS, normalize_embeddings=True)).max() < 1e-5
    assert np.abs(unsided(e5, "cpu").embed(TEXTS) - raw.encode(TEXTS, normalize_embeddings=True)).max() < 1e-5
    assert np.abs(questions - documents).max() > 0.01


def test_both_sides_share_one_model_and_are_one_embedder_where_nothing_distinguishes_them(e5: str) -> None:
    one, other = embedder(e5, "cpu"), questioner(e5, "cpu")
    assert one is embedder(e5, "cpu") and one is not other
    assert one._inner._model is other._inner._model  # type: ignore[attr-defined]
    assert questioner(DEFAULT, "cpu") is embedder(DEFAULT, "cpu") is unsided(DEFAULT, "cpu")


@pytest.mark.parametrize(
    ("saved", "query", "document"),
    [
        ({}, "", ""),
        ({"prompts": {}, "default_prompt_name": None}, "", ""),
        ({"prompts": {"query": "Represent: ", "document": ""}}, "Represent: ", ""),
        ({"prompts": {"query": "q: ", "passage": "p: "}}, "q: ", "p: "),
        ({"prompts": {"query": "q: ", "document": None, "corpus": "c: "}}, "q: ", "c: "),
        ({"prompts": {"classification": "x: "}}, "", ""),
    ],
)
def test_a_models_own_file_says_what_stands_before_its_texts(
    tmp_path: Path, saved: dict[str, Any], query: str, document: str
) -> None:
    model = of(model_with(tmp_path / "m", **saved))
    assert (prompt_of(model, "query"), prompt_of(model, "document")) == (Prompt(query), Prompt(document))


def test_the_pipeline_file_says_otherwise_by_text_and_by_name(e5: str) -> None:
    from sentence_transformers import SentenceTransformer

    other = of(e5, prompts={"query": "Q: "}, prompt_names={"document": "query"})
    assert (prompt_of(other, "query"), prompt_of(other, "document")) == (Prompt("Q: "), Prompt("query: "))
    assert prompt_of(of(e5, prompts={"document": ""}), "document") == Prompt("")
    assert prompts_described(other) == "before each query stands 'Q: '; before each document stands 'query: '"
    assert prompts_described(of(DEFAULT)) == prompts_described(of("hash")) == ""
    expected = SentenceTransformer(str(model_path(DEFAULT)), device="cpu").encode(["Q: " + text for text in TEXTS])
    assert np.abs(questioner(other, "cpu").embed(TEXTS) - expected).max() < 1e-5


def test_a_name_that_the_model_has_no_prompt_for_is_refused(e5: str) -> None:
    with pytest.raises(
        ConfigError, match=r"prompt_names\.query is 'querry': .* has clustering, document, query; did you mean"
    ):
        questioner(of(e5, prompt_names={"query": "querry"}))
    with pytest.raises(ConfigError, match=r"prompt_names\.document is 'passage': hash has no prompts"):
        embedder(of("hash", prompt_names={"document": "passage"}))


def test_only_a_prompt_that_is_there_or_was_makes_another_index(tmp_path: Path, e5: str) -> None:
    assert document_prompt(of(DEFAULT)) is document_prompt(of("hash")) is None
    assert document_prompt(of(e5)) == Prompt("passage: ")
    assert document_prompt(of(model_with(tmp_path / "q", prompts={"query": "Represent: "}))) is None
    was_default = model_with(tmp_path / "d", prompts={"query": "Represent: "}, default_prompt_name="query")
    assert document_prompt(of(was_default)) == Prompt("")


def test_chunks_leave_room_for_the_prompt_and_have_other_ids(tmp_path: Path) -> None:
    long = "a prompt of some length that says at once what it is for: "
    with_prompt = of(model_with(tmp_path / "m", prompts={"document": long}))
    words, chunk = tokenizer(DEFAULT), Chunk(tokens=256, overlap=32)
    cut, text = document_chunker(with_prompt, chunk), "\n\n".join(pydoc_data.topics.topics.values())[:80_000]
    lengths = [len(words.starts(long + text[begin:end])) for begin, end in cut.ranges(text)]
    assert 200 < max(lengths) <= 254
    assert document_chunker(of(DEFAULT), chunk).name == document_chunker(DEFAULT, chunk).name
    small, bare = Chunk(tokens=64, overlap=8), of(with_prompt.model, prompts={"document": ""})
    assert document_chunker(with_prompt, small).ranges(text) == document_chunker(bare, small).ranges(text)
    assert document_chunker(with_prompt, small).name != document_chunker(bare, small).name
    too_long = of(with_prompt.model, prompts={"document": "word " * 254})
    with pytest.raises(ConfigError, match=r"has 254 tokens, and the model reads 254: shorten it"):
        document_chunker(too_long, chunk)


def test_hashes_have_a_prompt_where_the_file_gives_one() -> None:
    vectors = embedder(of("hash", prompts={"document": "passage: "})).embed(["x"])
    assert np.array_equal(vectors, HashEmbedder().embed(["passage: x"]))


@pytest.fixture
def server() -> Iterator[Endpoint]:
    with endpoint() as running:
        yield running


def test_endpoints_get_texts_behind_their_prompts(server: Endpoint) -> None:
    model = of("m", openai={"url": server.openai}, dimension=384, prompts=E5)
    assert np.abs(embedder(model).embed(["x"]) - HashEmbedder().embed(["passage: x"])).max() < 1e-6
    assert np.abs(questioner(model).embed(["x"]) - HashEmbedder().embed(["query: x"])).max() < 1e-6
    assert [set(asked.body) for asked in server.asked] == [{"model", "encoding_format", "input"}] * 2


@pytest.mark.parametrize("provider", ["openai", "tei", "sagemaker"])
def test_endpoints_that_know_prompts_are_asked_by_name(
    server: Endpoint, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    there = {
        "openai": {"url": server.openai},
        "tei": {"url": server.address},
        "sagemaker": {"endpoint": "e5", "region": "eu-central-1", "url": server.address},
    }
    field = "input_type" if provider == "openai" else "prompt_name"
    named = {"query": "s2p_query", "document": "passage"}
    model = of("m", **{provider: there[provider]}, dimension=384, prompt_names=named)
    embedder(model).embed(["x"])
    questioner(model).embed(["x"])
    assert [(asked.body[field], asked.texts) for asked in server.asked] == [("passage", ["x"]), ("s2p_query", ["x"])]
    assert document_prompt(model) == Prompt(name="passage")
    server.asked.clear()
    half = of("m", **{provider: there[provider]}, dimension=384, prompt_names={"query": "s2p_query"})
    embedder(half).embed(["y"])
    assert field not in server.asked[0].body


def test_check_says_what_an_endpoints_model_has_and_nobody_sets(e5: str, server: Endpoint) -> None:
    silent = of(e5, openai={"url": server.openai}, dimension=384)
    assert "a prompt for a query and a document, which nobody sets" in prompts_described(silent)
    assert prompt_of(silent, "query") == Prompt(), "another machine of the job's may not have those files"
    assert "nobody" not in prompts_described(of(e5, openai={"url": server.openai}, prompts=E5))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"prompts": {"query": "a"}, "prompt_names": {"query": "b"}}, "either prompts.query or prompt_names.query"),
        ({"model": "amazon.titan-embed-text-v2:0", "bedrock": {}, "prompt_names": {"query": "b"}}, "bedrock knows no"),
        ({"prompts": {"passage": "a"}}, "passage"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Embedding.model_validate(settings)


def test_the_model_server_embeds_each_side_as_it_is_asked(e5: str) -> None:
    with served(application(unsided(e5, "cpu"), 8_192, (), sides_of(e5, "cpu"))) as url:
        named = of(e5, openai={"url": f"{url}/v1"}, prompt_names={"query": "query", "document": "passage"})
        assert np.abs(questioner(named).embed(TEXTS) - questioner(e5, "cpu").embed(TEXTS)).max() < 1e-5
        assert np.abs(embedder(named).embed(TEXTS) - embedder(e5, "cpu").embed(TEXTS)).max() < 1e-5
        bare = httpx.post(f"{url}/v1/embeddings", json={"input": TEXTS}).json()["data"]
        assert np.abs(np.float32([each["embedding"] for each in bare]) - unsided(e5, "cpu").embed(TEXTS)).max() < 1e-5
        refused = httpx.post(f"{url}/v1/embeddings", json={"input": "x", "input_type": "clustering"})
        assert (refused.status_code, "clustering" in refused.text) == (400, True)
        assert all(name in refused.text for name in INPUT_TYPES)
