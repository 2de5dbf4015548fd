"""The embedder behind `freshet model serve` against the same embedder in this process, on the same texts, by turns.

    python bench/remote.py [--texts 256] [--rounds 5] [--pipeline [--documents 120]]

Each round has texts that no round had before, so that no cache answers. What counts is the median of the rounds'
ratios. With `--pipeline`, the whole job with its embeddings from the server, against `SentenceTransformer.encode` of
the same chunks (bench/raw_encode.py), on a local stack in a folder that is gone afterwards.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from bench import raw_encode
from bench.embed import mixed_texts, seconds
from bench.raw_encode import Ratio
from bench.rig import rig
from core.config.embedding import Embedding
from stack import local as stack
from stack.layout import free_ports
from udfs.embedding.embedder import embedder
from udfs.embedding.tokenizing import DEFAULT, model_path
from udfs.embedding.transformer import TransformerEmbedder


@contextmanager
def served(model: str) -> Iterator[Embedding]:
    """The model behind a server of its own process, on a free port."""
    command = [sys.executable, "-m", "cli", "model", "serve", "--model", model, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        url = process.stdout.readline().split()[2].rstrip(",")
        try:
            yield Embedding.model_validate({"model": model, "openai": {"url": url}})
        finally:
            process.terminate()


def of_round(texts: list[str], number: int) -> list[str]:
    return [f"{number}: {text}" for text in texts]


def against_local(count: int, rounds: int) -> None:
    texts = mixed_texts(count)
    local = TransformerEmbedder(DEFAULT, model_path(DEFAULT))
    with served(DEFAULT) as embedding:
        remote = embedder(embedding)
        warm = of_round(texts, 0)[:64]
        difference = float(np.abs(local.embed(warm) - remote.embed(warm)).max())
        found, alone = [], []
        for number in range(1, rounds + 1):
            own = of_round(texts, number)
            found.append((seconds(partial(local.embed, own)), seconds(partial(remote.embed, own))))
            alone.append(
                (
                    seconds(partial(local.embed, [f"{number} alone"])),
                    seconds(partial(remote.embed, [f"{number} alone"])),
                )
            )
            print(f"  round {number}: local {count / found[-1][0]:6.1f}, remote {count / found[-1][1]:6.1f} texts/s")
    print(f"{local.describe()}; {count} texts a round; largest difference {difference:.1e}")
    print(f"local            {count / median(one for one, _ in found):8.1f} texts/s")
    print(f"remote           {count / median(two for _, two in found):8.1f} texts/s")
    print(f"one text, local  {median(one for one, _ in alone) * 1000:8.1f} ms")
    print(f"one text, remote {median(two for _, two in alone) * 1000:8.1f} ms")
    print(f"remote ÷ local   {median(one / two for one, two in found):8.2f}")


def of_pipeline(documents: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        try:
            servers = stack.up(directory, print, ports=free_ports())
            found = []
            for number in range(1, rounds + 1):
                # a new server each time, for it remembers texts
                with rig(servers) as own, served(DEFAULT) as embedding:
                    found.append(raw_encode.measure(own, DEFAULT, documents, 1, embedding))
                print(f"  round {number}: {_speeds(found[-1])}")
        finally:
            stack.down(directory, wipe=True)
    print(f"{found[0].chunks} chunks a round on {found[0].device}")
    print(f"pipeline ÷ raw   {median(each.ratio for each in found):8.2f}")


def _speeds(found: Ratio) -> str:
    fast, raw = found.pipeline_chunks_per_second, found.raw_chunks_per_second
    return f"pipeline through the server {fast:6.1f}, raw {raw:6.1f} chunks/s, ratio {found.ratio:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=120)
    parser.add_argument("--pipeline", action="store_true")
    given = parser.parse_args()
    if given.pipeline:
        of_pipeline(given.documents, given.rounds)
    else:
        against_local(given.texts, given.rounds)


if __name__ == "__main__":
    main()
