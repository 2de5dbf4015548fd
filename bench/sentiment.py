"""How right the models of sentiment are, and a logistic head trained anew.

    python -m bench.sentiment LABELLED [FOLDER [MODEL]]

LABELLED is a file of labelled texts as vaderSentiment 0.5 has them in its additional_resources: an id, a rating from
-4 to 4 and a text a line, with tabs between. What is rated nearer to 0 than 0.5 isn't asked about, and what the tests
hold out isn't trained on. Without FOLDER it is measured how right VADER is on those texts, and the head that ships on
those of them that it wasn't trained on; with it a head on MODEL's vectors is trained, in float32, and written there.
So the head that ships was made:

    python -m bench.sentiment amazonReviewSnippets_GroundTruth.txt udfs/sentiment
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.config.embedding import Embedding
from core.stores.contract import Vectors
from udfs.embedding.embedder import embedder
from udfs.embedding.prompts import prompt_of
from udfs.embedding.tokenizing import DEFAULT
from udfs.sentiment.contract import Scorer
from udfs.sentiment.head import SHIPPED, Head, opened, write
from udfs.sentiment.vader import Vader

HELD_OUT = Path(__file__).parents[1] / "tests" / "fixtures" / "sentiment" / "snippets.tsv"

_DECIDED = 0.5
_BATCH = 256
_DIGITS = 6

Labels = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Snippet:
    """A text, and what people think of how it is meant, from -4 to 4, in the mean of twenty."""

    name: str
    rating: float
    text: str

    @property
    def positive(self) -> bool:
        """On which side of 0 it is."""
        return self.rating > 0


@dataclass(frozen=True, slots=True)
class Right:
    """Shares of texts that are judged right: of all, and of both sides in the mean. A second: on this machine."""

    all: float
    balanced: float
    a_second: float


def snippets(file: Path) -> list[Snippet]:
    """The labelled texts of a file, those that people agree on: rated 0.5 or more, or -0.5 or less."""
    rows = (line.split("\t", 2) for line in file.read_text("latin-1").splitlines())
    found = [Snippet(name, float(rating), text) for name, rating, text in rows]
    return [each for each in found if abs(each.rating) >= _DECIDED]


def labels(of: Sequence[Snippet]) -> Labels:
    """Which of them are positive."""
    return np.array([each.positive for each in of])


def vectors(of: Sequence[Snippet], embedding: Embedding) -> Vectors:
    """Their vectors."""
    model, texts = embedder(embedding), [each.text for each in of]
    return np.concatenate([model.embed(texts[at : at + _BATCH]) for at in range(0, len(texts), _BATCH)])


def trained(of: Vectors, positive: Labels) -> tuple[float, tuple[float, ...]]:
    """A bias, and a weight for each number of a vector, both sides counting the same, however many of them there are.

    Newton's method finds the one minimum there is: the same each time, but for the vectors' last digits.
    """
    from sklearn.linear_model import LogisticRegression  # late: 2 s of a core

    model = LogisticRegression(solver="newton-cholesky", C=1.0, class_weight="balanced", tol=1e-10, max_iter=100)
    model.fit(of.astype(np.float64), positive)
    weights = tuple(round(float(weight), _DIGITS) for weight in model.coef_[0])
    return round(float(model.intercept_[0]), _DIGITS), weights


def head(of: Sequence[Snippet], embedding: Embedding, trained_on: str) -> Head:
    """A head on the vectors of a model."""
    bias, weights = trained(vectors(of, embedding), labels(of))
    return Head(embedding.model, prompt_of(embedding, "document").text, "float32", trained_on, bias, weights)


def right(scorer: Scorer, of: Sequence[Snippet]) -> Right:
    """How right a model is: a score of 0 or more says that a text is positive. The first call opens the model."""
    scorer.score([of[0].text])
    begun = time.perf_counter()
    scores = scorer.score([each.text for each in of])
    took = time.perf_counter() - begun
    hit = np.array([isinstance(score, float) and score >= 0 for score in scores]) == labels(of)
    sides = [float(hit[labels(of) == side].mean()) for side in (True, False)]
    return Right(float(hit.mean()), sum(sides) / 2, len(of) / took)


def main(labelled: str, folder: str = "", model: str = DEFAULT) -> None:
    """Trains, or measures."""
    held = {each.text for each in snippets(HELD_OUT)}
    every = snippets(Path(labelled))
    rest = [each for each in every if each.text not in held]
    if folder:
        name = Path(labelled).name.partition("_")[0]
        said = f"{len(rest):,} {name} of vaderSentiment 0.5 (MIT licence)"
        write(head(rest, Embedding(model=model), said), Path(folder))
        return
    unseen = [each for each in every if each.text in held] or every
    for scorer, of in ((Vader(), every), (opened(None, None), unseen)):
        seen = right(scorer, of)
        shares = f"{seen.all:.3f} right, {seen.balanced:.3f} of both sides in the mean"
        print(f"{scorer.name:8} {len(of):6,} texts: {shares}, {seen.a_second:,.0f} texts/s")
    print(f"the head that ships: {SHIPPED}")


if __name__ == "__main__":
    main(*sys.argv[1:])
