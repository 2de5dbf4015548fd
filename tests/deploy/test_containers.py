"""docker-compose.yaml without Docker: what its services run, run as processes in places of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import pytest
import yaml

from core.errors import ConfigError, FreshetError
from operations.containers import names
from operations.containers.compose_file import Health, Mount, Volume, profiles, read
from operations.containers.dockerfile import stages
from operations.containers.rehearsal import is_possible, rehearse
from operations.folder_lock import alone
from tests.pages import ROOT
from tests.programs import needed

FILE = ROOT / "docker-compose.yaml"
ADDRESSES = {"kafka": "127.0.1.2"}


def written(folder: Path, **services: Any) -> Path:
    """A Compose file of services that have a health check at least."""
    health = {"test": ["CMD", "true"], "interval": "10s", "timeout": "5s", "retries": 3, "start_period": "1m30s"}
    described = {name: {"image": "a/b:1", "healthcheck": health, **service} for name, service in services.items()}
    file = folder / "compose.yaml"
    file.write_text(yaml.safe_dump({"services": described}), encoding="utf-8")
    return file


def test_services_come_behind_those_they_wait_for() -> None:
    found = read(FILE)
    place = {each.name: number for number, each in enumerate(found)}
    assert len(place) == len(yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"])
    assert all(place[other] < place[each.name] for each in found for other in each.after)
    assert profiles(FILE) == ["cpu"]


def test_a_service_is_read_as_compose_reads_it(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        a={"command": ["sh", "-c", "echo $$HOME"], "environment": {"X": "$${dir:a}"}, "stop_grace_period": "2m",
           "volumes": ["data:/var/data", "./here:/there:ro"]},
    )  # fmt: skip
    (service,) = read(file)
    assert service.command == ("sh", "-c", "echo $HOME")
    assert service.environment == {"X": "${dir:a}"}
    assert service.mounts == (Mount("/var/data", Volume("data")), Mount("/there", tmp_path / "here", read_only=True))
    assert (service.image, service.stage, service.grace_s) == ("a/b", "", 120.0)
    assert (service.health.command, service.health.timeout_s, service.health.within_s) == (("true",), 5.0, 120.0)


def test_what_compose_takes_in_short_is_read_as_in_full(tmp_path: Path) -> None:
    health = {"test": "curl http://localhost || exit 1"}
    file = written(
        tmp_path, a={"command": "sh -c 'echo $$HOME'", "environment": ["X=a=b", "Y="], "healthcheck": health}
    )
    (service,) = read(file)
    assert service.command == ("sh", "-c", "echo $HOME")
    assert service.environment == {"X": "a=b", "Y": ""}
    assert service.health == Health(("/bin/sh", "-c", "curl http://localhost || exit 1"), 30.0, 90.0)


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ({"a": {"healthcheck": {}, "depends_on": ["b"]}}, "services.a.depends_on: b"),
        ({"a": {"depends_on": ["b"]}, "b": {"depends_on": ["a"]}}, "services.b.depends_on: a"),
    ],
)
def test_what_nobody_can_start_is_named(tmp_path: Path, services: dict[str, Any], message: str) -> None:
    for each in services.values():
        each.pop("healthcheck", None)
    with pytest.raises(ConfigError, match=re.escape(message)):
        read(written(tmp_path, **services))


def test_a_service_without_a_health_check_is_named(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services: {a: {image: 'a:1'}}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"services\.a has no healthcheck"):
        read(file)


@pytest.mark.parametrize(
    ("name", "kind", "code", "found"),
    [
        ("kafka", "A", dns.rcode.NOERROR, ["127.0.1.2"]),
        ("KAFKA", "A", dns.rcode.NOERROR, ["127.0.1.2"]),
        ("kafka", "AAAA", dns.rcode.NOERROR, []),
        ("zookeeper", "A", dns.rcode.NXDOMAIN, []),
    ],
)
def test_a_name_is_answered_as_an_engine_does(name: str, kind: str, code: int, found: list[str]) -> None:
    answer = dns.message.from_wire(names.answered(dns.message.make_query(name, kind).to_wire(), ADDRESSES))
    assert answer.rcode() == code
    assert [item.to_text() for rrset in answer.answer for item in rrset] == found


def test_stages_tell_their_environment_folder_and_user() -> None:
    flink = stages(ROOT / "deploy" / "docker" / "Dockerfile")["flink"]
    assert (flink.user, flink.folder) == (9999, "/var/lib/freshet")
    assert flink.environment["PATH"] == "/opt/freshet/flink/bin:$PATH"
    assert flink.environment["PYTHONUNBUFFERED"] == "1"


def test_without_the_rights_the_error_says_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(FreshetError, match=r"needs Linux and root: .* Run it with sudo"):
        rehearse(FILE, "anything", "terminal.containers")
    assert not (tmp_path / ".freshet").exists()


def test_a_second_rehearsal_in_one_folder_is_refused(tmp_path: Path) -> None:
    refusal = "another rehearsal runs in"
    with alone(tmp_path / "x.lock", refusal):
        second = alone(tmp_path / "x.lock", refusal)
        with pytest.raises(FreshetError, match=refusal):
            second.__enter__()
    with alone(tmp_path / "x.lock", refusal):
        pass


@pytest.mark.timeout(1200)
def test_the_services_come_up_and_the_search_of_the_page_answers(tmp_path: Path) -> None:
    if not is_possible():
        pytest.skip("needs Linux, root, and leave for namespaces of its own")
    for program in ("curl", "wget", "prometheus"):
        needed(program)
    (tmp_path / "docker-compose.yaml").symlink_to(FILE)
    rehearsing = [sys.executable, "-m", "cli", "compose", "--rehearse", str(FILE)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        rehearsing, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=1180
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    asked = set(profiles(FILE))
    here = [each for each in read(FILE) if not each.profiles or asked & set(each.profiles)]
    services = [each.name for each in here if each.name != "grafana"]
    assert "taskmanager" in services and len(services) >= 10
    for name in services:
        assert f"{name} is well, " in said, said
    assert "grafana isn't run: nothing here stands in for the image grafana/grafana" in said
    assert re.search(r"first row \d+\.\d s after the start", said), said
    assert "assert" in said.partition("docker compose exec job freshet search")[2], said
    assert "job stopped, exit code 0" in said, said
    log = (tmp_path / ".freshet" / "containers" / "logs" / "job.log").read_text(encoding="utf-8")
    assert "the next run resumes from savepoint-" in log
