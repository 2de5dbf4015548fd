"""Paths and names of a Compose file lead nowhere but into its rehearsal's own folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ConfigError
from operations.containers.compose_file import Mount, Volume, _name, _volume
from operations.containers.roots import Root


@pytest.fixture
def root(tmp_path: Path) -> Root:
    folder = tmp_path / "root"
    (folder / "var").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (folder / "var" / "run").symlink_to(tmp_path / "outside")
    (folder / "var" / "up").symlink_to("../../../outside")
    return Root(folder, 999)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/etc/x", "etc/x"),
        ("/", "."),
        ("/../../../etc/x", "etc/x"),
        ("a/../../b", "b"),
        ("/var/up/x", "outside/x"),
        ("/var/up", "outside"),
    ],
)
def test_a_path_stays_in_its_root(root: Root, path: str, place: str) -> None:
    assert root.at(path) == root.folder / place


def test_an_absolute_link_leads_to_a_place_in_the_root(root: Root, tmp_path: Path) -> None:
    root.put("/var/run/secrets/key", "k")
    assert list((tmp_path / "outside").iterdir()) == []
    assert (root.folder / str(tmp_path / "outside").lstrip("/") / "secrets" / "key").read_text() == "k"


@pytest.mark.parametrize("name", ["/tmp/z", "..", "a/../../b", "", "-x", "a b"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name in a Compose file"):
        _name(name)


def test_a_volume_is_a_name_or_a_place(tmp_path: Path) -> None:
    assert _volume(tmp_path / "c.yaml", "data:/var/lib/x") == Mount("/var/lib/x", Volume("data"))
    assert _volume(tmp_path / "c.yaml", "/etc/x:/x:ro") == Mount("/x", Path("/etc/x"))
    with pytest.raises(ConfigError):
        _volume(tmp_path / "c.yaml", "a/../../b:/x")
