"""How many of the true ten nearest chunks each store's index finds, over real texts of your own.

`python -m bench.recall FOLDER [--stores pgvector,opensearch,milvus] [--chunks 20000]`, on servers of its own, in a
folder that is forgotten. FOLDER has text files; what they say is cut and embedded as a pipeline does it with the
default model, and the vectors are kept there, in `recall-CHUNKS.npy`, for the next time. Each hundredth chunk isn't
written but asked. Settings of the indexes are the usual ones.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.asking import plan_of
from bench.rig import CHUNK, Rig, own_rig
from connectors.opening.stores import open_stores, stores_of
from core.config.embedding import Embedding
from core.config.store import Store
from core.stores.contract import Vectors, VectorStore
from stack.local import Extra
from udfs.embedding.embedder import embedder
from udfs.embedding.tokenizing import DEFAULT, model_chunker

DEPTH = 10
_ASKED = 100
_A_BATCH = 256


@dataclass(frozen=True, slots=True)
class Recall:
    """What was found of the true ten nearest, as a share, and how long writing took, and a search at the median."""

    recall: float
    chunks: int
    queries: int
    write_s: float
    search_ms: float


def texts_of(folder: Path) -> Iterator[str]:
    """The chunks of a folder's text files, file by file, each once."""
    cut, seen = model_chunker(DEFAULT, CHUNK["tokens"], CHUNK["overlap"]), set[str]()
    for file in sorted(folder.rglob("*.txt")):
        text = file.read_text(encoding="utf-8", errors="replace").replace("\0", " ")
        for begin, end in cut.ranges(text):
            chunk = text[begin:end]
            if chunk.strip() and chunk not in seen:
                seen.add(chunk)
                yield chunk


def vectors_of(texts: Sequence[str], file: Path) -> Vectors:
    """The texts' vectors, of the file where it has as many, else embedded and kept there."""
    if file.is_file() and len(kept := np.load(file)) == len(texts):
        return np.asarray(kept, np.float32)
    model = embedder(Embedding(model=DEFAULT))
    made = np.concatenate([model.embed(texts[at : at + _A_BATCH]) for at in range(0, len(texts), _A_BATCH)])
    np.save(file, made)
    return made


def measure(rig: Rig, settings: Mapping[str, Any], texts: Sequence[str], vectors: Vectors) -> dict[str, Recall]:
    """Write most chunks to each store that the settings name, ask the rest, and compare with all distances."""
    usual = rig.pipeline("recall", DEFAULT, rig.topic("recall"))
    pipeline = usual.model_copy(update={"store": Store.model_validate(settings)})
    asked = np.arange(len(texts)) % _ASKED == 0
    known = np.flatnonzero(~asked)
    best = np.argsort(-(vectors[asked] @ vectors[known].T), axis=1, kind="stable")[:, :DEPTH]
    true = [{str(known[at]) for at in row} for row in best]
    found = {}
    for name, store in open_stores(stores_of(pipeline), vectors.shape[1]).items():
        store.prepare()
        begin = time.perf_counter()
        for at in range(0, len(known), _A_BATCH):
            _write(store, texts, vectors, known[at : at + _A_BATCH])
        written = time.perf_counter() - begin
        found[name] = _asked(store, vectors[asked], true, len(known), written)
        store.close()
    return found


def _write(store: VectorStore, texts: Sequence[str], vectors: Vectors, rows: Iterable[int]) -> None:
    at = list(rows)
    plans = [plan_of(f"recall/{row}", texts[row], DEFAULT, {}) for row in at]
    store.apply(plans, [vectors[row : row + 1] for row in at])


def _asked(store: VectorStore, questions: Vectors, true: Sequence[set[str]], chunks: int, written: float) -> Recall:
    right, took = 0, []
    for question, expected in zip(questions, true, strict=True):
        begin = time.perf_counter()
        hits = store.search(question, DEPTH)
        took.append((time.perf_counter() - begin) * 1000)
        right += len(expected & {hit.document_id.rpartition("/")[2] for hit in hits})
    share = right / sum(map(len, true))
    return Recall(round(share, 4), chunks, len(true), round(written, 1), round(float(np.median(took)), 1))


def main(
    folder: Annotated[Path, typer.Argument(help="text files", exists=True, file_okay=False)],
    stores: Annotated[str, typer.Option(help="whose index, with commas")] = "pgvector,opensearch,milvus",
    number: Annotated[int, typer.Option("--chunks", help="how many, of all that the files give")] = 20_000,
) -> None:
    """Print what each store finds of the true ten nearest."""
    folder = folder.absolute()
    texts = list(islice(texts_of(folder), number))
    vectors = vectors_of(texts, folder / f"recall-{len(texts)}.npy")
    names = stores.split(",")
    with own_rig((Extra.OPENSEARCH,) if "opensearch" in names else ()) as rig:
        of = rig.stack.opensearch
        known = {
            "pgvector": {"dsn": rig.dsn, "table": "recall"},
            "opensearch": {"hosts": [of.url if of else ""], "index": f"{rig.prefix}-recall"},
            "milvus": {"uri": str(Path("recall.db").absolute()), "collection": "recall"},
        }
        found = measure(rig, {name: known[name] for name in names}, texts, vectors)
        print(json.dumps({name: asdict(each) for name, each in found.items()}, indent=2))


if __name__ == "__main__":
    typer.run(main)
