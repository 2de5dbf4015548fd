"""A logistic head: a weight for each number of a text's vector, trained on labelled texts.

It is a file, `head.json` in a folder of its own, which says whose vectors it was trained on: those of another model
have as many numbers perhaps, and mean something else. `python -m bench.sentiment` trains one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from core.config.embedding import Embedding
from core.config.sentiment import EMBEDDER
from core.errors import ConfigError
from core.stores.contract import Vectors
from udfs.embedding.contract import Embedder
from udfs.embedding.embedder import embed_each, embedder
from udfs.embedding.prompts import prompt_of
from udfs.sentiment.contract import Refused

FILE = "head.json"
SHIPPED = Path(__file__).parent

_NEEDED = "train one with python -m bench.sentiment, or set feedback.sentiment.model: vader"


class Head(msgspec.Struct, frozen=True):
    """Weights, and what they are of.

    model       whose vectors they are for, as `embedding.model` names it
    prompt      what stood before each text
    precision   of the vectors that it was trained on
    trained_on  which texts, for people to read
    weights     one a number of a vector
    """

    model: str
    prompt: str
    precision: str
    trained_on: str
    bias: float
    weights: tuple[float, ...]

    def scores(self, vectors: Vectors) -> list[float]:
        """From -1 to 1, for vectors of shape (n, weights): the probability that a text is positive, less that it isn't.

        That is the hyperbolic tangent of half the logit.
        """
        logits = vectors.astype(np.float64) @ np.asarray(self.weights) + self.bias
        return [float(score) for score in np.tanh(logits / 2)]


def read(folder: Path) -> Head:
    """The head in a folder. Raises ConfigError where there is none, or what is no head."""
    file = folder.expanduser() / FILE
    try:
        head = msgspec.json.decode(file.read_bytes(), type=Head)
    except OSError as error:
        raise _wrong(f"{file} can't be read: {error.strerror or error}: {_NEEDED}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _wrong(f"{file} is no head: {error}: {_NEEDED}") from None
    if not head.weights or not all(map(math.isfinite, (head.bias, *head.weights))):
        raise _wrong(f"{file} is no head: it has no weights, or NaN or infinity: {_NEEDED}")
    return head


def write(head: Head, folder: Path) -> None:
    """Write a head into a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(head), indent=1) + b"\n")


def _wrong(said: str) -> ConfigError:
    return ConfigError([f"feedback.sentiment.model: {said}"])


class HeadScorer:
    """Scores by a head on an embedder's vectors. What the embedder refuses is refused."""

    def __init__(self, name: str, head: Head, model: Embedder) -> None:
        """Raises ConfigError where the embedder's vectors aren't of the head's size."""
        if model.dimension != len(head.weights):
            raise _wrong(f"{name} has {len(head.weights)} weights, {model.name} {model.dimension} numbers")
        self.name = name
        self._head = head
        self._embedder = model

    def score(self, texts: Sequence[str]) -> Sequence[float | Refused]:
        """See `Scorer.score`. Of a long text the model reads the beginning, as for a search."""
        vectors, errors = embed_each(self._embedder, texts)
        scores = self._head.scores(vectors)
        return [Refused(str(errors[at])) if at in errors else score for at, score in enumerate(scores)]

    def describe(self) -> str:
        """See `Scorer.describe`."""
        head = self._head
        trained = f"trained on {head.trained_on}, with vectors in {head.precision}"
        return f"{self.name}, a logistic head on {self._embedder.describe()}; {trained}"

    def close(self) -> None:
        """See `Scorer.close`."""


def opened(folder: Path | None, embedding: Embedding | None) -> HeadScorer:
    """The head in a folder, or the shipped one where that is None, with the embedder whose vectors it takes.

    embedding  what makes vectors; None: the head's own model, on this machine

    Raises ConfigError where that is another model than the head's, or puts another text before each; as `read` and
    `udfs.embedding.embedder.embedder` do.
    """
    head = read(folder or SHIPPED)
    name = EMBEDDER if folder is None else str(folder)
    using = embedding or Embedding(model=head.model)
    if using.model != head.model:
        raise _wrong(f"{name} is for vectors of {head.model}, and embedding.model is {using.model}: {_NEEDED}")
    if (prompt := prompt_of(using, "document").text) != head.prompt:
        raise _wrong(f"{name} is for texts behind {head.prompt!r}, and here stands {prompt!r}: {_NEEDED}")
    return HeadScorer(name, head, embedder(using))
