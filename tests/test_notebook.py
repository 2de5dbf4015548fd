"""The notebook of the documentation runs: its cells, one after the other, against a server on real stores."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pandas as pd
import pytest
import yaml

from serving.asking import application
from serving.keys import add
from serving.offer import opened
from serving.problems import as_problem
from serving.server import served
from serving.settings import read
from stack.local import Stack
from tests.answering_model import Model, answering_model
from tests.connectors.servers import new_schema
from tests.pages import ROOT
from tests.search_server import documents, written

NOTEBOOK = ROOT / "docs" / "ask-from-a-notebook.ipynb"
QUESTION = "How is parcel 3 sent home?"


def cells(kind: str) -> dict[str, str]:
    """The notebook's cells of a kind, in their order, by their ids."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    return {each["id"]: "".join(each["source"]) for each in notebook["cells"] if each["cell_type"] == kind}


def run(text: str, name: str, names: dict[str, Any]) -> Any:
    """Run a cell; what its last expression comes to, as a notebook shows it."""
    tree = ast.parse(text)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), name, "eval"), names)


@pytest.fixture
def model(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    """The answering model of a server, whose address and key are in the environment."""
    store = {"pgvector": {"dsn": new_schema(stack.postgres.dsn), "table": "manuals"}}
    pipeline = documents(store, ["tenant", "lang", "number"])
    (tmp_path / "manuals.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    written(tmp_path / "manuals.yaml")
    with answering_model() as model:
        answer = {"openai": {"url": f"{model.address}/v1", "model": "small"}}
        file = {"name": "helpdesk", "indexes": {"manuals": {"pipeline": "manuals.yaml"}}, "keys": "keys.yaml"}
        (tmp_path / "serve.yaml").write_text(yaml.safe_dump({**file, "answer": answer}), encoding="utf-8")
        key = add(tmp_path / "keys.yaml", "reader", {"indexes": ["manuals"], "filter": "{}"})
        with (
            opened(read(tmp_path / "serve.yaml")) as offer,
            served(application(offer, Event()), refusal=as_problem) as url,
        ):
            for name, value in {"URL": url, "KEY": key, "QUESTION": QUESTION}.items():
                monkeypatch.setenv(f"FRESHET_{name}", value)
            yield model


def test_its_cells_run_one_after_the_other(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    shown, printed = {}, {}
    for name, text in cells("code").items():
        shown[name] = run(text, name, names)
        printed[name] = capsys.readouterr().out
    assert list(shown["offer"]["name"]) == ["manuals"]
    assert len(shown["search"]) == 5 and isinstance(shown["search"], pd.DataFrame)
    assert list(shown["fresh"].index) == ["position", "committed_at", "lag_seconds", "stale", "stale_since"]
    assert QUESTION in printed["context"] and "| " in printed["context"]
    assert list(shown["citations"]["mark"]) == list(range(1, len(names["made"]["citations"]) + 1))
    words = "".join(model.says)
    assert printed["openai"].strip() == printed["stream"] == printed["langchain"].strip() == words
    assert list(shown["openai"]["document_id"]) == [each["document_id"] for each in names["cited"]]
    assert shown["stream"]["retrieve"] > 0 and shown["stream"]["total"] >= shown["stream"]["first_token"]
    # three asked the model, each with the question's passages
    assert len(model.asked) == 3
    assert all("parcel" in each.body["messages"][-1]["content"] for each in model.asked)
    assert shown["chain"].startswith("By these alone:\n- ") and shown["chain"].endswith(QUESTION)


def test_no_answer_of_someone_s_server_stands_in_it() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert [each["id"] for each in notebook["cells"] if each.get("outputs") or each.get("execution_count")] == []
