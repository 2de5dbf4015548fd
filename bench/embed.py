"""The embedder against raw `SentenceTransformer.encode` on the same texts, turn by turn, in one process.

    python bench/embed.py [--texts 256] [--rounds 5]

Texts are Python's own help topics: whole chunks of 256 tokens, and single paragraphs of all lengths. The two take
turns, so that whatever else the machine does slows both; what counts is the median of the rounds' ratios. The cache is
not asked.
"""

from __future__ import annotations

import argparse
import pydoc_data.topics
import random
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from udfs.embedding.embedder import embedder
from udfs.embedding.tokenizing import DEFAULT, model_chunker, model_path
from udfs.embedding.transformer import TransformerEmbedder


def mixed_texts(count: int) -> list[str]:
    ranges = model_chunker(DEFAULT, 256, 32).ranges
    topics = list(pydoc_data.topics.topics.values())
    chunks = [topic[begin:end] for topic in topics for begin, end in ranges(topic)]
    paragraphs = [paragraph for topic in topics for paragraph in topic.split("\n\n") if paragraph.strip()]
    source = random.Random(1)
    return source.sample(chunks, count // 2) + source.sample(paragraphs, count - count // 2)


def seconds(work: Callable[[], Any]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    # behind udfs.embedding.transformer, which settles how OpenMP waits before torch reads it
    from sentence_transformers import SentenceTransformer

    texts = mixed_texts(given.texts)
    ours = TransformerEmbedder(DEFAULT, model_path(DEFAULT))
    raw = SentenceTransformer(str(model_path(DEFAULT)))
    expected = raw.encode(texts, batch_size=32, normalize_embeddings=True)
    difference = float(np.abs(ours.embed(texts) - expected).max())
    rounds = [
        (
            seconds(lambda: raw.encode(texts, batch_size=32, normalize_embeddings=True)),
            seconds(lambda: ours.embed(texts)),
        )
        for _ in range(given.rounds)
    ]
    print(f"{ours.describe()}; {len(texts)} texts; largest difference {difference:.1e}")
    print(f"raw encode   {len(texts) / median(one for one, _ in rounds):8.1f} texts/s")
    print(f"embedder     {len(texts) / median(two for _, two in rounds):8.1f} texts/s")
    print(f"ours ÷ raw   {median(one / two for one, two in rounds):8.2f}")
    hashing = embedder("hash")
    hashing.embed(texts)
    print(f"hash         {len(texts) / seconds(lambda: hashing.embed(texts)):8.0f} texts/s")


if __name__ == "__main__":
    main()
