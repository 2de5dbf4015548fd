"""What the bundle's program reads of its application; the whole of it runs in test_rehearsal.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.config.pipeline import Pipeline
from core.errors import ConfigError
from deploy.msf.main import owned, property_groups


def test_groups_are_read_as_the_service_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "application_properties.json"
    groups = [
        {"PropertyGroupId": "kinesis.analytics.flink.run.options", "PropertyMap": {"python": "main.py"}},
        {"PropertyGroupId": "freshet", "PropertyMap": {"parallelism": 2}},
    ]
    file.write_text(json.dumps(groups), encoding="utf-8")
    assert property_groups(file)["freshet"] == {"parallelism": "2"}


def test_an_application_without_properties_has_no_groups(tmp_path: Path) -> None:
    assert property_groups(tmp_path / "none.json") == {}


@pytest.mark.parametrize("text", ['[{"PropertyMap": {"dsn": "p4ss"}}]', '{"dsn": "p4ss"}', '"p4ss', "[1]"])
def test_a_file_of_another_form_is_named_and_not_quoted(text: str, tmp_path: Path) -> None:
    file = tmp_path / "application_properties.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"application_properties\.json") as raised:
        property_groups(file)
    assert "p4ss" not in str(raised.value)


def test_what_is_to_become_of_a_changed_file_is_one_of_three() -> None:
    with pytest.raises(ConfigError, match=r"changed of freshet\.run is 'yes': it must be one of refuse,"):
        owned(Pipeline.model_construct(), {"changed": "yes"})
