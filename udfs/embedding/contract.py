"""What every embedder promises, whichever model it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.config.embedding import EngineName, Precision
from core.errors import EmbeddingError
from core.stores.contract import Vectors

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What a transformer's graph may ask for, by the names that exporters give them."""


class Embedder(Protocol):
    """A model that turns texts into vectors."""

    @property
    def name(self) -> str:
        """The model as it was asked for."""

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text, in order: shape (n, dimension), float32.

        Raises EmbeddingError where one of the texts can't be embedded; which one, `embed_each` finds out.
        """

    def describe(self) -> str:
        """Model, device, precision and dimension, for people to read."""


class LocalModel(Embedder, Protocol):
    """A model of this machine, as an engine opens it."""

    def behind(self, prompt: str) -> Embedder:
        """The same model, loaded once, with another prompt before each text; "" for none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an engine is asked to open.

    name       the model as it was asked for
    folder     of its files, as sentence-transformers saves them
    device     `cuda`, `mps`, `cpu` or one of several (`cuda:1`); None: the best that is there
    engine     the one that is asked for; `auto`: the fastest that has the same vectors
    precision  of the arithmetic; `auto`: float16 on CUDA, else float32
    """

    name: str
    folder: Path
    device: str | None = None
    engine: EngineName = "auto"
    precision: Precision = "auto"


class SomeRefused(EmbeddingError):
    """Raised by an embedder that has found out itself which texts have no vectors.

    vectors  of all texts, zeros for those that are refused
    errors   of the refused ones, by their place
    """

    def __init__(self, vectors: Vectors, errors: Mapping[int, EmbeddingError]) -> None:
        super().__init__(str(next(iter(errors.values()))))
        self.vectors = vectors
        self.errors = errors


def check_texts(texts: Sequence[str]) -> None:
    """Raises EmbeddingError for a lone surrogate, which no tokenizer reads and no database holds."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found = f"U+{ord(text[error.start]):04X} at character {error.start}"
            raise EmbeddingError(f"the text has a lone surrogate, {found}: correct it in the source") from error
