"""Kafka Connect with Debezium's PostgreSQL connector.

The worker is a distributed one, alone in its group: connectors, offsets and states are topics in the stack's Kafka.
So a connector made over REST is there again after the worker was killed, and offsets go when Kafka's data goes.

A connector's configuration, which whoever is on this machine can ask for, has no password of the stack's: PostgreSQL's
driver finds it in a file.
"""

import re
import signal
import tarfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from core.config.first_pipeline import slot_of
from core.errors import FreshetError, Unavailable
from core.formats.debezium.places import HEARTBEAT_QUERY
from flink_jobs.running.failures import root_cause
from stack import java, passfile, process
from stack.failures import failed, redacted
from stack.kafka import MAX_RECORD_BYTES, bootstrap_servers
from stack.layout import HERE, Layout, Ports
from stack.postgres import USER

_CONVERTER = "org.apache.kafka.connect.json.JsonConverter"
SETTINGS: dict[str, str | int] = {
    **{
        f"{kind}.storage.{name}": value
        for kind in ("config", "offset", "status")
        for name, value in (("topic", f"connect-{kind}"), ("replication.factor", 1))
    },
    "group.id": "freshet-connect",
    "plugin.discovery": "service_load",
    "key.converter": _CONVERTER,
    "key.converter.schemas.enable": "true",
    "value.converter": _CONVERTER,
    "value.converter.schemas.enable": "true",
    "offset.storage.partitions": 1,
    "status.storage.partitions": 1,
    # a connector that is killed repeats at most a second
    "offset.flush.interval.ms": 1000,
    # the next worker waits this long for a killed one to be missed; less than 6 s the broker doesn't allow
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 2000,
    "scheduled.rebalance.max.delay.ms": 0,
    "producer.max.request.size": MAX_RECORD_BYTES,
    "producer.buffer.memory": 2 * MAX_RECORD_BYTES,
}
"""The worker's settings but for addresses and folders."""

HEARTBEAT_MS = 5_000
"""Each is some 4 kB in its topic, schema and all: 70 MB a day."""

_READY_SECONDS = 90.0
_RUNNING_SECONDS = 60.0
_GONE_SECONDS = 15.0
_REQUEST_SECONDS = 30.0


def service(layout: Layout) -> process.Service:
    """How Connect is recognised and stopped: a connector that hangs is not waited for longer than 15 s."""
    mark = str(layout.of("connect") / "worker.properties")
    return process.Service(
        "Kafka Connect", mark, layout.log("connect"), layout.pid("connect"), ((signal.SIGTERM, 15.0),)
    )


def url(port: int) -> str:
    """The address of the REST interface."""
    return f"http://127.0.0.1:{port}"


def is_ready(port: int) -> bool:
    """Whether the worker takes connectors."""
    try:
        return httpx.get(f"{url(port)}/health", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def start(layout: Layout, ports: Ports, jars: Sequence[Path], report: process.Report) -> None:
    """Starts the worker where it doesn't run, and waits until its REST interface takes connectors. Kafka must run.

    Raises Unavailable where it doesn't come up.
    """
    if (own := passfile.password_of(layout.passfile, USER)) is not None:
        passfile.remember(layout.connects_passfile, HERE, str(ports.postgres), USER, own)
    spawn = partial(_spawn, layout, ports, jars)
    process.ensure(service(layout), spawn, partial(is_ready, ports.connect), _READY_SECONDS, report)


def _spawn(layout: Layout, ports: Ports, jars: Sequence[Path]) -> psutil.Process:
    folder, of = layout.of("connect"), service(layout)
    folder.mkdir(parents=True, exist_ok=True)
    plugins = unpack(next(jar for jar in jars if jar.name.endswith(".tar.gz")), folder / "plugins")
    java.write_properties(Path(of.mark), properties(plugins, ports))
    java_, *rest = java.command(folder, jars, "org.apache.kafka.connect.cli.ConnectDistributed", of.mark)
    return process.spawn(of, [java_, f"-Dorg.postgresql.pgpassfile={layout.connects_passfile}", *rest])


def unpack(archive: Path, plugins: Path) -> Path:
    """Unpacks the JARs of a plugin's archive into a folder of its own below `plugins`, which it gives back."""
    # flat, by base names only: no path in an archive decides where a file goes
    folder = plugins / archive.name.removesuffix(".tar.gz")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name.endswith(".jar") else None
            if content is not None:
                (folder / Path(member.name).name).write_bytes(content.read())
    return plugins


def properties(plugins: Path, ports: Ports) -> dict[str, str | int]:
    """The worker's `worker.properties`."""
    return SETTINGS | {
        "bootstrap.servers": bootstrap_servers(ports.kafka),
        "listeners": url(ports.connect),
        "rest.advertised.host.name": "127.0.0.1",
        "plugin.path": str(plugins),
    }


def register_postgres(
    connect_url: str,
    name: str,
    dsn: str,
    topic_prefix: str,
    tables: Sequence[str],
    partitions: int = 1,
    heartbeats_to: str = "",
) -> bool:
    """Makes or changes a Debezium connector for tables (`schema.table`) of a database, and waits until its task runs.

    False where it ran already, as it would be made.

    Topics are `topic_prefix.schema.table`, new ones with `partitions` partitions; keys and values have schemas.
    `heartbeats_to`: the topic into which heartbeats go, between the changes that it has; "": there are none.
    The slot and the publication are called after `name`. The snapshot may go on after this returns. Where the dsn has
    no password in it the worker takes that from its own file.
    Raises FreshetError, with the cause, where the connector fails, Unavailable where it doesn't run within 60 s.
    """
    config = _postgres_config(name, dsn, topic_prefix, tables, partitions) | _heartbeats(topic_prefix, heartbeats_to)
    deadline = time.monotonic() + _RUNNING_SECONDS
    with httpx.Client(base_url=connect_url, timeout=_REQUEST_SECONDS) as client:
        if _runs_with(client, name, config):
            return False
        # not changed in place: until the worker gets to it, the old task's state would pass for the new one's
        _delete(client, name, deadline)
        response = client.put(f"/connectors/{name}/config", json=config)
        if response.is_error:
            raise FreshetError(f"Kafka Connect refused connector {name!r}: {redacted(_refusal(response), config)}")
        _wait_running(client, name, config, deadline)
    return True


def database_of(connect_url: str, name: str) -> str:
    """Which database a connector is of, as host:port/name; "" where there is no such connector."""
    with httpx.Client(base_url=connect_url, timeout=_REQUEST_SECONDS) as client:
        present = client.get(f"/connectors/{name}/config")
    return "" if present.is_error else _database(present.json())


def same_database(dsn: str, database: str) -> bool:
    """Whether a connection string is of a database as `database_of` tells it."""
    return _database(_postgres_config("", dsn, "", (), 1)) == database


def _database(config: dict[str, str]) -> str:
    host, port, name = (config.get(f"database.{part}", "") for part in ("hostname", "port", "dbname"))
    return f"{host}:{port}/{name}"


def remove_postgres(connect_url: str, name: str, dsn: str) -> None:
    """Deletes a connector of `register_postgres` with its slot and its publication; the topics stay."""
    with httpx.Client(base_url=connect_url, timeout=_REQUEST_SECONDS) as client:
        _delete(client, name, time.monotonic() + _GONE_SECONDS)
    slot = slot_of(name)
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        deadline = time.monotonic() + _GONE_SECONDS
        active = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND active"
        while connection.execute(active, (slot,)).fetchone() and time.monotonic() < deadline:
            time.sleep(0.05)
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (slot,)
        )
        connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(slot)))


def restart_failed(port: int) -> list[str]:
    """Starts the failed connectors and tasks of a running worker again; gives their connectors' names."""
    names = [each.connector for each in failed(url(port))]
    with httpx.Client(base_url=url(port), timeout=_REQUEST_SECONDS) as client:
        for name in names:
            parameters = {"includeTasks": "true", "onlyFailed": "true"}
            client.post(f"/connectors/{name}/restart", params=parameters).raise_for_status()
    return names


def _postgres_config(name: str, dsn: str, topic_prefix: str, tables: Sequence[str], partitions: int) -> dict[str, str]:
    of = conninfo_to_dict(dsn)
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": str(of.get("host", "127.0.0.1")),
        "database.port": str(of.get("port", 5432)),
        "database.user": str(of.get("user", "")),
        # an empty one would keep the driver from looking into its file
        **({"database.password": str(of["password"])} if of.get("password") else {}),
        "database.dbname": str(of.get("dbname", of.get("user", ""))),
        "topic.prefix": topic_prefix,
        # the list's entries are regular expressions
        "table.include.list": ",".join(re.escape(table) for table in tables),
        "plugin.name": "pgoutput",
        "slot.name": slot_of(name),
        "publication.name": slot_of(name),
        "publication.autocreate.mode": "filtered",
        # connectors may share a prefix: without it the second would wait a minute for the first's metrics to go
        "custom.metric.tags": f"connector={slot_of(name)}",
        "skipped.operations": "none",
        # 5 would be 8 ms faster at the median, and take a sixth of a processor while nothing changes
        "poll.interval.ms": "20",
        "retriable.restart.connector.wait.ms": "1000",
        # by bytes too: a queue of thousands of rows of several MB wouldn't fit the heap
        "max.queue.size.in.bytes": str(2 * MAX_RECORD_BYTES),
        "topic.creation.default.partitions": str(partitions),
        "topic.creation.default.replication.factor": "1",
    }


def _heartbeats(topic_prefix: str, topic: str) -> dict[str, str]:
    """What has a connector tell of how far it is while nothing changes.

    Sources: Debezium's documentation, "heartbeat.action.query" and "Message events", whose topic is PREFIX.message;
    Kafka's, "RegexRouter". Debezium's own heartbeats have a time and no LSN.
    """
    if not topic:
        return {}
    return {
        "heartbeat.interval.ms": str(HEARTBEAT_MS),
        "heartbeat.action.query": HEARTBEAT_QUERY,
        "transforms": "heartbeats",
        "transforms.heartbeats.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.heartbeats.regex": re.escape(f"{topic_prefix}.message"),
        "transforms.heartbeats.replacement": topic,
    }


def _runs_with(client: httpx.Client, name: str, config: dict[str, str]) -> bool:
    present = client.get(f"/connectors/{name}/config")
    if present.is_error or present.json() != config | {"name": name}:
        return False
    status = client.get(f"/connectors/{name}/status")
    return status.is_success and _is_running(_parts(status.json()))


def _delete(client: httpx.Client, name: str, deadline: float) -> None:
    client.delete(f"/connectors/{name}")
    while client.get(f"/connectors/{name}/status").status_code != httpx.codes.NOT_FOUND and time.monotonic() < deadline:
        time.sleep(0.05)


def _wait_running(client: httpx.Client, name: str, config: dict[str, str], deadline: float) -> None:
    parts: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        response = client.get(f"/connectors/{name}/status")
        parts = _parts(response.json()) if response.is_success else []
        if _is_running(parts):
            return
        if any(part["state"] == "FAILED" for part in parts):
            traces = "\n".join(part.get("trace", "") for part in parts)
            raise FreshetError(
                f"Connector {name!r} failed: {redacted(root_cause(traces), config).rstrip('.')}. "
                f"The whole trace: {client.base_url}connectors/{name}/status"
            )
        time.sleep(0.05)
    raise Unavailable(
        f"Connector {name!r} doesn't run after {_RUNNING_SECONDS:.0f} s; it is {[part['state'] for part in parts]}. "
        f"See {client.base_url}connectors/{name}/status and Kafka Connect's log."
    )


def _refusal(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text


def _parts(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [status["connector"], *status["tasks"]]


def _is_running(parts: list[dict[str, Any]]) -> bool:
    return len(parts) > 1 and all(part["state"] == "RUNNING" for part in parts)
