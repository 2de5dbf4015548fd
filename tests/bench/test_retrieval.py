"""A labelled set, small enough to look at, asked through the server and by the bare model."""

from __future__ import annotations

import json
from math import isclose, log2
from pathlib import Path

from bench.retrieval import measure, ndcg, read
from bench.rig import rig
from stack.local import Stack

DOCUMENTS = {
    "a": "Parcels that got lost are paid back within ten days.",
    "b": "The shop opens at nine in the morning.",
    "c": "Children pay half in museums of the city.",
    "d/1 ü": "Bread is baked from flour, water and salt.",
    "e": "",
}
QUERIES = {"1": "When can I come to the store?", "2": "My package never arrived", "3": "nobody has judged this"}
JUDGED = "query-id\tcorpus-id\tscore\n1\tb\t2\n2\ta\t1\n2\tb\t0\n3\tc\t0\n"


def test_ndcg_is_that_of_trec_eval() -> None:
    relevance = {"1": {"a": 3, "b": 2, "c": -1}}

    assert ndcg({"1": ["a", "b"]}, relevance) == 1
    assert isclose(ndcg({"1": ["c", "b", "x", "a"]}, relevance), (2 / log2(3) + 3 / log2(5)) / (3 + 2 / log2(3)))
    assert ndcg({"1": ["x"] * 10 + ["a"]}, relevance) == 0


def test_what_is_asked_through_the_server_is_what_the_bare_model_finds(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(JUDGED, encoding="utf-8")
    for name, texts in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    labelled = read(tmp_path)
    assert list(labelled.queries) == ["1", "2"] and list(labelled.documents) == ["a", "b", "c", "d/1 ü"]
    with rig(stack) as own:
        found = measure(own, labelled)
    assert (found.served, found.bare, found.differing, found.documents) == (1, 1, 0, 4)
