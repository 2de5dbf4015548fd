"""What a rehearsal's program is given beside its pipeline file, which doesn't say in which folder it is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from operations.pipeline_file import load
from operations.rehearsal.rehearse import properties
from tests.operations.test_displaced import SETTINGS


def test_a_passfile_is_passed_whole_and_a_password_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_PASSWORD", "geheim")
    dsns = ("postgresql://me@h/d?passfile=.freshet/stack/pgpass", "postgresql://me:${SOURCE_PASSWORD}@h/d")
    store, source = ({"dsn": dsn} for dsn in dsns)
    settings = {**SETTINGS, "store": {"pgvector": {**store, "table": "t"}}, "reselect": {"postgres": source}}
    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    written = json.loads(properties(file, load(file), tmp_path / "properties.json").read_text(encoding="utf-8"))
    groups = {each["PropertyGroupId"]: each["PropertyMap"] for each in written}
    assert groups["freshet.variables"] == {"SOURCE_PASSWORD": "geheim"}
    ((name, dsn),) = groups["freshet"].items()
    assert name == "store.pgvector.dsn" and f"passfile={tmp_path}/.freshet/stack/pgpass" in dsn
