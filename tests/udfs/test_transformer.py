"""The real model, against sentence-transformers itself."""

from __future__ import annotations

import pydoc_data.topics
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tokenizers

from core.config.embedding import Embedding
from core.errors import EmbeddingError
from core.metrics import tally
from tests.programs import needed_package
from udfs.embedding.embedder import dimension, embed_each, embedder
from udfs.embedding.languages import MULTILINGUAL, languages
from udfs.embedding.tokenizing import DEFAULT, model_path, tokenizer

if TYPE_CHECKING:
    import torch

    from udfs.embedding.transformer import TransformerEmbedder

needed_package("sentence_transformers")

TEXTS = [
    "",
    "one",
    "  ",
    "Zwei Wörter",
    *(text[: 30 * number] for number, text in enumerate(list(pydoc_data.topics.topics.values())[:24])),
]


@pytest.fixture(scope="module")
def model() -> TransformerEmbedder:
    from udfs.embedding.transformer import TransformerEmbedder

    return TransformerEmbedder(DEFAULT, model_path(DEFAULT), "cpu")


def test_vectors_equal_those_of_sentence_transformers(model: TransformerEmbedder) -> None:
    from sentence_transformers import SentenceTransformer

    raw = SentenceTransformer(str(model_path(DEFAULT)), device="cpu")
    expected = raw.encode(TEXTS, batch_size=32, normalize_embeddings=True)
    vectors = model.embed(TEXTS)
    assert vectors.dtype == np.float32
    assert np.abs(vectors - expected).max() < 1e-5


def test_no_batch_holds_more_tokens_than_its_budget(
    model: TransformerEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from udfs.embedding import transformer

    sizes = []

    def forward(features: dict[str, torch.Tensor]) -> torch.Tensor:
        sizes.append(tuple(features["input_ids"].shape))
        return original(features)

    original = model._forward
    monkeypatch.setattr(model, "_forward", forward)
    model.embed(TEXTS)
    assert sum(rows for rows, _ in sizes) == len(TEXTS)
    assert all(rows * width <= transformer._TOKENS_A_BATCH["cpu"] for rows, width in sizes)
    assert len(sizes) < len(TEXTS) / 2


def test_a_batch_that_memory_does_not_hold_is_halved(
    model: TransformerEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def small_memory(features: dict[str, torch.Tensor]) -> torch.Tensor:
        if features["input_ids"].numel() > 120:
            raise torch.OutOfMemoryError("out of memory")
        return original(features)

    original = model._forward
    expected = model.embed(TEXTS)
    monkeypatch.setattr(model, "_forward", small_memory)
    vectors, errors = embed_each(model, TEXTS)
    assert errors
    assert all("no memory for a text of" in str(error) for error in errors.values())
    fine = [place for place in range(len(TEXTS)) if place not in errors]
    assert len(fine) > 5
    assert np.abs(vectors[fine] - expected[fine]).max() < 1e-5


def test_a_text_that_cannot_be_embedded_is_refused_alone(model: TransformerEmbedder) -> None:
    with pytest.raises(EmbeddingError):
        model.embed(["\udfff"])
    vectors, errors = embed_each(model, ["a", "\udfff", "b"])
    assert list(errors) == [1]
    assert np.allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1], atol=1e-5)


def test_no_texts_have_no_vectors(model: TransformerEmbedder) -> None:
    assert model.embed([]).shape == (0, 384)


def test_a_process_has_one_model_and_tells_its_device() -> None:
    assert embedder(DEFAULT, "cpu") is embedder(DEFAULT, "cpu")
    assert embedder(DEFAULT, "cpu").dimension == dimension(DEFAULT)
    import torch

    threads = torch.get_num_threads()
    expected = f"{DEFAULT} by torch on cpu ({threads} threads), float32, 384 dimensions"
    assert embedder(Embedding(engine="torch"), "cpu").describe() == expected


def test_tokens_and_padding_are_counted(model: TransformerEmbedder) -> None:
    tally.drain()
    texts = ["one", "one two three four", "one two"]
    model.embed(texts)
    counted = {each.name: each.by for each in tally.drain()}
    # [CLS] and [SEP] beside the words
    assert counted == {"tokens": 3 + 6 + 4, "padding": 3 + 0 + 2}


OF_SEVERAL_LANGUAGES = [
    "Wir liefern binnen drei Tagen.",
    "私たちは三日以内に配達します。",
    "Доставляем за три дня",
    "نوصل خلال ثلاثة أيام",
]


def multilingual(folder: Path) -> Path:
    """A model of the make of MULTILINGUAL: BERT behind XLM-RoBERTa's tokenizer; small, with weights of chance."""
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    raw = tokenizers.Tokenizer(tokenizers.models.Unigram())
    raw.pre_tokenizer, raw.decoder = tokenizers.pre_tokenizers.Metaspace(), tokenizers.decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = tokenizers.trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>")
    raw.train_from_iterator(OF_SEVERAL_LANGUAGES * 4, trainer)
    ends = [("<s>", 0), ("</s>", 2)]
    raw.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    transformers.XLMRobertaTokenizerFast(tokenizer_object=raw, model_max_length=128).save_pretrained(folder / "inner")
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    bert = transformers.BertConfig(vocab_size=raw.get_vocab_size(), **size)
    transformers.BertModel(bert).save_pretrained(folder / "inner")
    parts = [modules.Transformer(str(folder / "inner"), max_seq_length=128), modules.Pooling(32)]
    SentenceTransformer(modules=parts).save(str(folder / "model"))
    return folder / "model"


def test_a_multilingual_model_of_the_make_that_the_documentation_names_is_loaded(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    from udfs.embedding.transformer import TransformerEmbedder

    folder = multilingual(tmp_path)
    expected = SentenceTransformer(str(folder), device="cpu").encode(OF_SEVERAL_LANGUAGES, normalize_embeddings=True)
    vectors = TransformerEmbedder("own", folder, "cpu").embed(OF_SEVERAL_LANGUAGES)
    assert np.abs(vectors - expected).max() < 1e-5
    words = tokenizer(str(folder))
    assert words.budget(256) == 126 and len(list(words.starts(OF_SEVERAL_LANGUAGES[1]))) > 1


def test_what_is_made_for_english_is_said_to_be() -> None:
    assert languages(DEFAULT) == languages(f"sentence-transformers/{DEFAULT}") == "made for English"
    assert languages(MULTILINGUAL) == languages("hash") == ""
    page = (Path(__file__).parents[2] / "docs/pipeline-file.md").read_text(encoding="utf-8")
    assert f"embedding: {{model: {MULTILINGUAL}}}" in page
