"""Whether a question asked through `freshet serve` finds what the bare model finds, over a labelled set of your own.

`python -m bench.retrieval FOLDER [--engine openvino --precision bfloat16]`, on servers of its own in a folder that is
forgotten. FOLDER has a set in BEIR's layout: `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`)
and `qrels/test.tsv` (query, document, and how relevant it is, behind a line of names). Each document is a chunk,
however long: both sides embed the same text, and the model cuts off what it doesn't read. nDCG@10 is trec_eval's: a
gain is the relevance, ÷ log2(rank + 1).
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from math import log2
from pathlib import Path
from statistics import fmean
from typing import Annotated

import httpx
import numpy as np
import typer

from bench.asking import fill, served
from bench.rig import TABLE, Rig, own_rig
from connectors.opening.stores import open_stores, stores_of
from core.config.embedding import Embedding
from udfs.embedding.embedder import embedder
from udfs.embedding.tokenizing import DEFAULT, model_path

_USUAL = Embedding(model=DEFAULT)
DEPTH = 10
"""How many answers count."""

Rankings = Mapping[str, Sequence[str]]
"""The ids of documents, best first, by a query's id."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled set: documents and queries by their ids, and how relevant is which document to which query.

    Of the queries those that have a relevant document. A relevance of 0 or less says: not at all.
    """

    documents: Mapping[str, str]
    queries: Mapping[str, str]
    relevance: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Found:
    """Mean nDCG@10 of the answers through the server, and of the bare model; how many rankings differ; and of what."""

    served: float
    bare: float
    differing: int
    queries: int
    documents: int
    load: float


def read(folder: Path) -> Labelled:
    """A set of BEIR's layout. Raises OSError, ValueError or KeyError where it is none."""
    relevance: dict[str, dict[str, int]] = {}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as file:
        for query, document, found in list(csv.reader(file, delimiter="\t"))[1:]:
            relevance.setdefault(query, {})[document] = int(found)
    asked = {query for query, found in relevance.items() if max(found.values()) > 0}
    documents = {
        each["_id"]: f"{each.get('title', '')}\n{each['text']}".strip() for each in _lines(folder / "corpus.jsonl")
    }
    queries = {each["_id"]: each["text"] for each in _lines(folder / "queries.jsonl") if each["_id"] in asked}
    return Labelled({key: text for key, text in documents.items() if text}, queries, relevance)


def _text(document: Mapping[str, str]) -> str:
    return f"{document.get('title', '')}\n{document['text']}".strip()


def _lines(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def ndcg(rankings: Rankings, relevance: Mapping[str, Mapping[str, int]]) -> float:
    """The mean over queries of the discounted gain of a ranking ÷ that of the best one, both to DEPTH."""
    return fmean(_of_best(found, relevance[query]) for query, found in rankings.items())


def _of_best(found: Sequence[str], relevance: Mapping[str, int]) -> float:
    return _gain([relevance.get(each, 0) for each in found]) / _gain(sorted(relevance.values(), reverse=True))


def _gain(relevances: Sequence[int]) -> float:
    return sum(max(0, each) / log2(rank + 2) for rank, each in enumerate(relevances[:DEPTH]))


def measure(rig: Rig, labelled: Labelled, embedding: Embedding = _USUAL) -> Found:
    """Write the documents to a store by the job's embedder; ask each query through the server, and the bare model.

    embedding  the job's and the server's; the bare model computes in float32 by torch, whatever it says
    """
    asked, bare = _asked(rig, labelled, embedding), _bare(labelled)
    differing = sum(asked[query] != bare[query] for query in labelled.queries)
    scores = ndcg(asked, labelled.relevance), ndcg(bare, labelled.relevance)
    return Found(*scores, differing, len(labelled.queries), len(labelled.documents), os.getloadavg()[0])


def _asked(rig: Rig, labelled: Labelled, embedding: Embedding) -> Rankings:
    usual = rig.pipeline("retrieval", DEFAULT, rig.topic("retrieval"))
    pipeline = usual.model_copy(update={"embedding": embedding})
    model = embedder(pipeline.embedding)
    (store,) = open_stores(stores_of(pipeline), model.dimension).values()
    fill(store, pipeline, model, labelled.documents)
    store.close()
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), pipeline) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        return {query: _hits(http, text) for query, text in labelled.queries.items()}


def _hits(http: httpx.Client, text: str) -> list[str]:
    found = http.post("/v1/indexes/pgvector/search", json={"query": text, "k": DEPTH}).raise_for_status().json()["hits"]
    return [hit["document_id"].removeprefix(f"{TABLE}/") for hit in found]


def _bare(labelled: Labelled) -> Rankings:
    import_module("udfs.embedding.transformer")  # before torch: it settles how OpenMP waits
    from sentence_transformers import SentenceTransformer

    model, keys = SentenceTransformer(str(model_path(DEFAULT)), local_files_only=True), list(labelled.documents)
    documents = model.encode(list(labelled.documents.values()), normalize_embeddings=True)
    queries = model.encode(list(labelled.queries.values()), normalize_embeddings=True)
    best = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :DEPTH]
    return {query: [keys[at] for at in row] for query, row in zip(labelled.queries, best, strict=True)}


def main(
    folder: Annotated[Path, typer.Argument(help="a set as BEIR lays it out", exists=True, file_okay=False)],
    engine: Annotated[str, typer.Option(help="embedding.engine of job and server")] = "auto",
    precision: Annotated[str, typer.Option(help="embedding.precision of job and server")] = "auto",
) -> None:
    """Ask a labelled set through the server, and by the bare model."""
    labelled = read(folder.absolute())
    embedding = Embedding.model_validate({"model": DEFAULT, "engine": engine, "precision": precision})
    with own_rig() as own:
        print(json.dumps(asdict(measure(own, labelled, embedding)), indent=2))


if __name__ == "__main__":
    typer.run(main)
