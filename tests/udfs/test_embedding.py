"""The embedders' laws, and the real model against sentence-transformers itself."""

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.errors import EmbeddingError
from core.stores.contract import Vectors
from udfs.embedding.embedder import CachedEmbedder, HashEmbedder, dimension, embed_each, embedder


class Recording:
    """A hash embedder that remembers what it was asked, and fails at the text `bad`."""

    name = "recording"
    dimension = 384

    def __init__(self, bad: str = "", broken: str = "") -> None:
        self.asked: list[list[str]] = []
        self._bad, self._broken = bad, broken

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked.append(list(texts))
        if self._bad in texts:
            raise EmbeddingError("no")
        vectors = HashEmbedder().embed(texts)
        vectors[[text == self._broken for text in texts]] = np.nan
        return vectors

    def describe(self) -> str:
        return self.name


@given(st.lists(st.text(max_size=40), max_size=12))
def test_hash_vectors_are_unit_vectors_of_each_text_alone(texts: list[str]) -> None:
    model = HashEmbedder()
    together = model.embed(texts)
    assert (together.shape, together.dtype) == ((len(texts), model.dimension), np.float32)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert all(np.array_equal(model.embed([text])[0], vector) for text, vector in zip(texts, together, strict=True))


def test_hash_vectors_are_the_same_in_every_process() -> None:
    program = (
        "from udfs.embedding.embedder import HashEmbedder as H; print(H().embed(['Fresh text, älter']).tobytes().hex())"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == HashEmbedder().embed(["Fresh text, älter"]).tobytes().hex()


def test_hash_vectors_of_texts_that_share_words_are_near() -> None:
    cat, other_cat, slot = HashEmbedder().embed(
        ["the cat sat on a mat", "a cat sat on the rug", "logical replication slots"]
    )
    assert cat @ other_cat > 0.7
    assert cat @ slot < 0.3


def test_a_lone_surrogate_is_an_embedding_error_that_names_it() -> None:
    vectors, errors = embed_each(embedder("hash"), ["good", "b\ud800d", "fine"])
    assert list(errors) == [1]
    assert "U+D800 at character 1" in str(errors[1])
    assert not vectors[1].any()


@given(st.sets(st.integers(0, 19)))
def test_only_bad_texts_are_refused(bad: set[int]) -> None:
    texts = [f"text {place}" + ("\ud800" if place in bad else "") for place in range(20)]
    vectors, errors = embed_each(HashEmbedder(), texts)
    assert set(errors) == bad
    for place in range(20):
        expected = np.zeros(384) if place in bad else HashEmbedder().embed([texts[place]])[0]
        assert np.array_equal(vectors[place], expected)


def test_a_vector_that_is_not_finite_is_an_error_of_its_text_alone() -> None:
    vectors, errors = embed_each(Recording(broken="b"), ["a", "b", "c"])
    assert list(errors) == [1]
    assert "NaN" in str(errors[1])
    assert np.isfinite(vectors).all()


def test_vectors_of_another_dimension_are_errors() -> None:
    model = Recording()
    model.dimension = 3
    assert "shape (1, 384), not (1, 3)" in str(embed_each(model, ["a"])[1][0])


def test_no_texts_have_no_vectors() -> None:
    vectors, errors = embed_each(embedder("hash"), [])
    assert (vectors.shape, errors) == ((0, 384), {})


def test_the_cache_asks_once_for_a_text() -> None:
    inner = Recording()
    cache = CachedEmbedder(inner, 8)
    first = cache.embed(["a", "b", "a"])
    second = cache.embed(["b", "c"])
    assert inner.asked == [["a", "b"], ["c"]]
    assert (cache.hits, cache.misses) == (2, 3)
    assert np.array_equal(first, HashEmbedder().embed(["a", "b", "a"]))
    assert np.array_equal(second, HashEmbedder().embed(["b", "c"]))


def test_the_cache_forgets_what_was_not_used_longest() -> None:
    inner = Recording()
    cache = CachedEmbedder(inner, 2)
    for text in ["a", "b", "a", "c", "a", "b"]:
        cache.embed([text])
    assert inner.asked == [["a"], ["b"], ["c"], ["b"]]


def test_a_failed_batch_is_not_remembered() -> None:
    inner = Recording(bad="x")
    _, errors = embed_each(CachedEmbedder(inner, 8), ["a", "x"])
    assert list(errors) == [1]
    assert inner.asked == [["a", "x"], ["a"], ["x"]]


def test_dimensions_are_known_without_loading_the_model() -> None:
    asked = "print(dimension('all-MiniLM-L6-v2'), 'torch' in sys.modules)"
    program = f"import sys; from udfs.embedding.embedder import dimension; {asked}"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["384", "False"]
    assert dimension("hash") == 384
