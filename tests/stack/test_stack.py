"""One stack of its own, brought up by the command, used, broken and stopped: the tests run in this order."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from cli.stack_command import app
from connectors.aws.client import Aws, client
from core.errors import FreshetError, Unavailable
from core.formats.wrapping import bare
from stack import connect, jars, layout, opensearch, process
from stack import local as stack
from stack.passfile import password_of
from stack.postgres import USER
from tests.listeners import elsewhere
from tests.operations.test_folder_lock import readable

ARRIVAL_SECONDS = 60


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    # a folder that everybody may enter, unlike pytest's: the session's stack has the other kind
    path = Path(tempfile.mkdtemp(prefix="freshet-stack-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        stack.down(path, wipe=True)
        shutil.rmtree(path)


def command(directory: Path, *arguments: str) -> tuple[int, str]:
    # as a process of its own, as the servers must outlive it
    code = "from cli.stack_command import app; app()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=directory, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def shown(directory: Path) -> dict[str, Any]:
    code, text = command(directory, "status", "--json")
    found: dict[str, Any] = json.loads(text)
    assert code == (0 if all(server["running"] for name, server in found.items() if name != "folder") else 1)
    return found


def insert(of: stack.Stack, key: int) -> None:
    with psycopg.connect(of.postgres.dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO things VALUES (%s, %s)", (key, "x" * 6_000_000 if key == 0 else "text"))


def keys_in_topic(of: stack.Stack, until: int, topic: str = "shop.public.things") -> set[int]:
    settings = {
        "bootstrap.servers": of.kafka.bootstrap_servers,
        "group.id": f"reader-{topic}-{until}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    consumer, keys = Consumer(settings), set[int]()
    consumer.subscribe([topic])
    try:
        while until not in keys:
            message = consumer.poll(ARRIVAL_SECONDS)
            assert message is not None, f"{until} did not arrive in {ARRIVAL_SECONDS} s; {sorted(keys)} did"
            if message.error() is None:
                keys.add(bare(message.key())["id"])
    finally:
        consumer.close()
    return keys


def register(of: stack.Stack) -> None:
    connect.register_postgres(of.connect.url, "things", of.postgres.dsn, "shop", ["public.things"])


def processes_of(directory: Path) -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["cmdline"]) if str(directory) in " ".join(each.info["cmdline"] or [])]


def test_status_of_nothing_fails(directory: Path) -> None:
    assert not any(shown(directory)[name]["running"] for name in ("postgres", "kafka", "connect"))


def test_up_starts_servers_that_outlive_the_command(directory: Path) -> None:
    layout.prepare(layout.layout_of(directory))
    layout.remember_ports(layout.layout_of(directory), layout.free_ports())
    code, text = command(directory, "up")
    assert code == 0, text
    now = shown(directory)
    assert now["kafka"]["bootstrap_servers"] in text
    assert all(psutil.pid_exists(now[name]["pid"]) for name in ("postgres", "kafka", "connect"))
    with psycopg.connect(now["postgres"]["dsn"]) as connection:
        assert connection.execute("SHOW wal_level").fetchone() == ("logical",)
        assert connection.execute("SELECT '[3,4]'::vector <-> '[0,0]'").fetchone() == (5.0,)


def test_changes_of_a_table_arrive_in_its_topic_big_ones_too(directory: Path) -> None:
    of = stack.status(directory)
    with psycopg.connect(of.postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE things (id int PRIMARY KEY, body text)")
    insert(of, 0)
    register(of)
    insert(of, 1)
    assert keys_in_topic(of, until=1) == {0, 1}


def test_up_again_changes_nothing(directory: Path) -> None:
    before = stack.status(directory)
    said: list[str] = []
    again = stack.up(directory, said.append)
    assert said == []
    assert again.postgres.server.pid == before.postgres.server.pid
    assert again.connect.server.pid == before.connect.server.pid
    register(again)


def content(path: Path) -> bytes:
    # servers delete files meanwhile
    with suppress(FileNotFoundError, IsADirectoryError):
        return path.read_bytes() if path.is_file() else b""
    return b""


def test_the_password_is_shown_nowhere(directory: Path) -> None:
    of, servers, name = layout.layout_of(directory), stack.status(directory), "shown"
    secret = password_of(of.passfile, USER)
    assert secret is not None and len(secret) > 40
    with psycopg.connect(servers.postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {name} (id int PRIMARY KEY)".encode())
    try:
        connect.register_postgres(servers.connect.url, name, servers.postgres.dsn, name, [f"public.{name}"])
        texts = [httpx.get(f"{servers.connect.url}/connectors?expand=info").text]
        assert name in texts[0]
    finally:
        connect.remove_postgres(servers.connect.url, name, servers.postgres.dsn)
    holders = {file for file in of.folder.rglob("*") if secret.encode() in content(file)}
    assert holders == {of.passfile, of.connects_passfile}
    assert {stat.S_IMODE(file.stat().st_mode) for file in holders} == {0o600}
    processes = [psutil.Process(each.pid) for each in (servers.postgres.server, servers.connect.server) if each.pid]
    texts += [" ".join([*each.cmdline(), *each.environ().values()]) for each in processes]
    texts += [CliRunner().invoke(app, ["status", "--dir", str(directory), *how]).output for how in ([], ["--json"])]
    assert len(texts) == 5 and "passfile=" in texts[-1] and not [each for each in texts if secret in each]


@pytest.mark.parametrize(("name", "key"), [("postgres", 2), ("connect", 3)])
def test_a_killed_server_comes_back_with_its_data_and_port(directory: Path, name: str, key: int) -> None:
    before = shown(directory)
    os.kill(before[name]["pid"], signal.SIGKILL)
    assert not shown(directory)[name]["running"]
    after = stack.up(directory)
    assert after.running
    pids = {each: server["pid"] for each, server in shown(directory).items() if each != "folder"}
    assert [each for each, pid in pids.items() if pid != before[each]["pid"]] == [name]
    insert(after, key)
    assert set(range(key + 1)) <= keys_in_topic(after, until=key)


def test_a_killed_kafka_whose_port_was_taken_meanwhile_comes_back_on_another(directory: Path) -> None:
    before = stack.status(directory)
    assert before.kafka.server.pid is not None
    broker = psutil.Process(before.kafka.server.pid)
    broker.kill()
    broker.wait(10)
    port = int(before.kafka.bootstrap_servers.rpartition(":")[2])
    said: list[str] = []
    with socket.create_server(("127.0.0.1", port)):
        after = stack.up(directory, said.append)
    assert after.running
    assert after.kafka.bootstrap_servers != before.kafka.bootstrap_servers
    assert any(line.startswith(f"Port {port} is taken: Kafka listens on ") for line in said)
    insert(after, 4)
    assert keys_in_topic(after, until=4) == {0, 1, 2, 3, 4}


def test_a_connector_that_fails_is_an_error_with_its_reason_and_without_the_password(directory: Path) -> None:
    of = stack.status(directory)
    wrong = of.postgres.dsn.replace("freshet@", "nobody-here:hunter2@")
    with pytest.raises(FreshetError, match="nobody-here") as raised:
        connect.register_postgres(of.connect.url, "wrong", wrong, "wrong", ["public.things"])
    assert "hunter2" not in str(raised.value)


def test_a_task_that_fails_later_is_reported_with_its_cause_and_what_to_do(directory: Path) -> None:
    of = stack.status(directory)
    with psycopg.connect(of.postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE sums (id int PRIMARY KEY, total numeric(8,2) NOT NULL)")
        connection.execute("INSERT INTO sums VALUES (1, 'NaN')")
    with suppress(FreshetError):  # where it has failed before it was seen to run
        connect.register_postgres(of.connect.url, "sums", of.postgres.dsn, "shop", ["public.sums"])
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while not stack.status(directory).connect.failed and time.monotonic() < deadline:
        time.sleep(0.1)
    code, text = command(directory, "status")
    assert code == 1 and "Connector sums has failed, and tells of no more changes: Invalid value: null used" in text
    assert "set decimal.handling.mode to string at the connector" in text
    (failed,) = json.loads(command(directory, "status", "--json")[1])["connect"]["failed"]
    assert failed["connector"] == "sums" and "Exception" not in failed["cause"]
    mended = {"decimal.handling.mode": "string"}
    httpx.patch(f"{of.connect.url}/connectors/sums/config", json=mended, timeout=30).raise_for_status()
    assert keys_in_topic(of, until=1, topic="shop.public.sums") == {1}
    assert stack.status(directory).connect.failed == ()
    connect.remove_postgres(of.connect.url, "sums", of.postgres.dsn)


def test_a_removed_connector_leaves_no_slot(directory: Path) -> None:
    of = stack.status(directory)
    connect.remove_postgres(of.connect.url, "things", of.postgres.dsn)
    with psycopg.connect(of.postgres.dsn) as connection:
        assert connection.execute("SELECT slot_name FROM pg_replication_slots").fetchall() == []
        assert connection.execute("SELECT pubname FROM pg_publication").fetchall() == []


def test_opensearch_is_there_once_it_was_asked_for(directory: Path) -> None:
    assert "opensearch" not in shown(directory)
    before = stack.status(directory)
    # OpenSearch's usual port may be taken here
    ports = layout.remembered_ports(layout.layout_of(directory))
    assert ports is not None
    layout.remember_ports(layout.layout_of(directory), replace(ports, opensearch=layout.free_ports().opensearch))
    code, text = command(directory, "up", "--with", "opensearch")
    assert code == 0, text
    now = shown(directory)["opensearch"]
    assert now["url"] in text
    health = httpx.get(f"{now['url']}/_cluster/health").json()
    assert (health["status"], health["number_of_data_nodes"]) == ("green", 1)
    assert "opensearch-knn" in httpx.get(f"{now['url']}/_cat/plugins").text
    user = psutil.Process(now["pid"]).username()
    assert user == ("nobody" if os.geteuid() == 0 else psutil.Process().username())
    assert stack.status(directory).kafka.server.pid == before.kafka.server.pid


def test_a_killed_opensearch_comes_back_with_its_data_by_a_plain_up(directory: Path) -> None:
    before = stack.status(directory).opensearch
    assert before is not None and before.server.pid is not None
    httpx.put(f"{before.url}/things").raise_for_status()
    httpx.put(f"{before.url}/things/_doc/1", json={"text": "one"}).raise_for_status()
    server = psutil.Process(before.server.pid)
    server.kill()
    server.wait(10)
    assert not shown(directory)["opensearch"]["running"]
    after = stack.up(directory).opensearch
    assert after is not None and after.server.running and after.url == before.url
    assert httpx.get(f"{after.url}/things/_doc/1").json()["_source"] == {"text": "one"}
    assert httpx.put(f"{after.url}/mistyped/_doc/1", json={"text": "one"}).is_error


def test_aws_is_there_once_it_was_asked_for(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    ports = layout.remembered_ports(layout.layout_of(directory))
    assert ports is not None
    layout.remember_ports(layout.layout_of(directory), replace(ports, aws=layout.free_ports().aws))
    code, text = command(directory, "up", "--with", "aws")
    assert code == 0, text
    now = shown(directory)["aws"]
    assert now["endpoint"] in text and now["running"]
    s3 = client("s3", Aws("eu-central-1", now["endpoint"]), "test")
    s3.create_bucket(Bucket="things", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["things"]


def test_no_other_machine_reaches_a_server(directory: Path) -> None:
    servers = [server["pid"] for name, server in shown(directory).items() if name != "folder"]
    count, open_to_all = elsewhere(servers)
    assert len(servers) == 5 and count >= 7
    assert open_to_all == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user too")
def test_another_user_reads_nothing_of_the_stack(directory: Path) -> None:
    place = layout.layout_of(directory).of("postgres").resolve()
    directory.chmod(0o755)
    assert readable(directory / ".freshet") <= {"stack/ports.json", "stack/lock"}
    assert readable(place) == set()


def test_down_leaves_no_process_and_keeps_the_data(directory: Path) -> None:
    assert len(processes_of(directory)) >= 4
    code, text = command(directory, "down")
    assert (code, text) == (0, "Stopped: Kafka Connect, Kafka, OpenSearch, AWS, PostgreSQL\n")
    assert processes_of(directory) == []
    assert command(directory, "down") == (0, "Nothing ran\n")
    assert (layout.layout_of(directory).of("postgres") / "data").exists()
    assert (layout.layout_of(directory).of("opensearch") / "data").exists()


def test_wipe_deletes_the_data(directory: Path) -> None:
    assert CliRunner().invoke(app, ["down", "--wipe", "--dir", str(directory)]).exit_code == 0
    assert not layout.layout_of(directory).folder.exists()


def test_an_opensearch_that_ends_quotes_its_log(tmp_path: Path) -> None:
    of = layout.layout_of(tmp_path)
    layout.prepare(of)
    files = jars.fetch(stack.OPENSEARCH_LOCK)
    with pytest.raises(Unavailable, match=r"(?s)ended while.*Failed to bind"):
        opensearch.start(of, 700_000, files, lambda line: None)
    opensearch.wipe(of)


def test_the_shared_stack_runs_beside_it(stack: stack.Stack) -> None:
    assert stack.running
    assert AdminClient({"bootstrap.servers": stack.kafka.bootstrap_servers}).list_topics(timeout=5).brokers


def test_a_server_that_ends_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    of = process.Service("Teapot", "teapot-mark", tmp_path / "log", tmp_path / "pid", ())
    with pytest.raises(Unavailable, match=r"(?s)Teapot ended while it started.*log:\n  short and stout"):
        process.ensure(
            of, lambda: process.spawn(of, ["sh", "-c", "echo short and stout", "teapot-mark"]), bool, 5, lambda _: None
        )


def test_a_pid_that_belongs_to_another_process_by_now_is_not_stopped(tmp_path: Path) -> None:
    of = process.Service("Teapot", "teapot-mark", tmp_path / "log", tmp_path / "pid", ((signal.SIGTERM, 5),))
    with subprocess.Popen(["sleep", "60"]) as other:
        of.pid.write_text(str(other.pid))
        assert not process.stop(of)
        assert other.poll() is None
        other.kill()


def test_a_server_that_ignores_its_signal_is_killed_at_the_deadline(tmp_path: Path) -> None:
    of = process.Service("Teapot", "teapot-mark", tmp_path / "log", tmp_path / "pid", ((signal.SIGTERM, 0.3),))
    ignoring = "trap '' TERM; echo ready; while true; do sleep 1; done"
    process.ensure(
        of,
        lambda: process.spawn(of, ["sh", "-c", ignoring, "teapot-mark"]),
        lambda: of.log.exists() and of.log.read_text() == "ready\n",
        5,
        lambda _: None,
    )
    assert process.stop(of)
    assert process.find(of) is None
