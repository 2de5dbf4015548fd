"""What errors say of servers that belong to the stack of the current folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import main
from cli.stack_command import _running
from core.config.file import load
from core.errors import Unavailable
from operations import own_stack
from operations.folder_lock import locked
from stack import layout
from tests.operations.test_search import PIPELINE


@pytest.fixture
def postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The port of a stack that doesn't run."""
    monkeypatch.chdir(tmp_path)
    of, port = layout.layout_of(tmp_path), layout.free_port()
    of.folder.mkdir(parents=True)
    layout.remember_ports(of, layout.Ports(postgres=port))
    return port


@pytest.mark.parametrize(
    ("message", "hinted"),
    [
        ("PostgreSQL at 127.0.0.1:{0} refuses", True),
        ("http://localhost:{0}/x is away", True),
        ("10.127.0.0.1:{0}", False),
        ("127.0.0.1:{0}1 is away", False),
        ("db.example:{0}", False),
    ],
)
def test_a_server_of_the_stopped_stack_is_named_as_that(postgres: int, message: str, hinted: bool) -> None:
    assert ("`freshet stack up` starts it" in own_stack.stopped(message.format(postgres))) is hinted


@pytest.mark.parametrize("ports", ["[]", '{"postgres": []}', '{"postgres": 99999}', '{"postgres": "5432"}'])
def test_ports_that_someone_spoiled_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ports: str) -> None:
    monkeypatch.chdir(tmp_path)
    of = layout.layout_of(tmp_path)
    of.folder.mkdir(parents=True)
    of.ports.write_text(ports, encoding="utf-8")
    assert own_stack.stopped("127.0.0.1:99999 and 127.0.0.1:5432") == ""


def test_a_command_that_ends_by_it_says_so(
    postgres: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away() -> None:
        raise Unavailable(f"PostgreSQL at 127.0.0.1:{postgres} doesn't answer")

    monkeypatch.setattr(main, "commands", away)
    with pytest.raises(SystemExit):
        main.app()
    assert capsys.readouterr().err.splitlines() == [
        f"PostgreSQL at 127.0.0.1:{postgres} doesn't answer",
        "this folder's stack doesn't run, or not as a whole: `freshet stack up` starts it",
    ]


def test_a_pipeline_that_runs_on_is_named_when_its_stack_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    assert _running(Path()) == []
    with locked(load(tmp_path / "pipeline.yaml")):
        (named,) = _running(tmp_path)
    assert named.startswith("rivers (pid ")
