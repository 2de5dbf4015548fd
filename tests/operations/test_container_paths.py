"""Paths and names of a Compose file lead nowhere but into its rehearsal's own folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ConfigError
from operations.containers.compose_file import Mount, Volume, _name, _volume
from operations.containers.rehearsal import ALONE, is_possible
from operations.containers.roots import Root
from tests.pages import ROOT


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
    file = tmp_path / "c.yaml"
    assert _volume(file, "a", "data:/var/lib/x") == Mount("/var/lib/x", Volume("data"))
    assert _volume(file, "a", "/etc/x:/x:rw") == Mount("/x", Path("/etc/x"))
    assert _volume(file, "a", "/etc/x:/x:ro") == Mount("/x", Path("/etc/x"), read_only=True)


@pytest.mark.parametrize("volume", ["a/../../b:/x", "a:/x:z", "/x", ":/x", "a:", {"type": "tmpfs", "target": "/x"}])
def test_any_other_volume_is_refused(tmp_path: Path, volume: object) -> None:
    with pytest.raises(ConfigError):
        _volume(tmp_path / "c.yaml", "a", volume)


IN_A_ROOT = """
import subprocess, sys
import subprocess
import sys
from pathlib import Path
from operations.containers import roots
here = Path(sys.argv[1])
roots.mount("-t", "tmpfs", "tmpfs", "/srv")
Path("/srv/below a").mkdir()
roots.mount("-t", "tmpfs", "tmpfs", "/srv/below a")
(here / "mounts").mkdir()
roots.mount("-t", "tmpfs", "tmpfs", str(here / "mounts"))
root = roots.make(here / "mounts" / "a", 0, [], here / "written")
root.bind("/tmp/read", here / "read", read_only=True)
root.bind("/tmp/kept", here / "kept")
for place in sys.argv[2:]:
    done = subprocess.run(root.words("/", ["touch", f"{place}/x"]), capture_output=True)
    print(place, done.returncode)
"""


@pytest.mark.skipif(not is_possible(), reason="needs Linux, root, and leave for namespaces of its own")
def test_what_is_only_read_isnt_written_to_nor_what_is_mounted_below_it(tmp_path: Path) -> None:
    for name in ("read", "kept", "written"):
        (tmp_path / name).mkdir()
    asked = ("/srv", "/srv/below a", "/tmp/read", "/tmp/kept", "/tmp", "/dev/shm", "/etc", str(tmp_path / "written"))
    ran = subprocess.run(
        ["unshare", *ALONE, "--", sys.executable, "-c", IN_A_ROOT, str(tmp_path), *asked],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    written = {line.rpartition(" ")[0] for line in ran.stdout.splitlines() if line.endswith(" 0")}
    assert written == {"/tmp/kept", "/tmp", "/dev/shm", "/etc", str(tmp_path / "written")}
    assert not Path("/dev/shm/x").exists() and not Path("/etc/x").exists()
