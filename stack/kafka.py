"""Kafka: one node that is broker and controller (KRaft), set up so that a topic of one replica is enough."""

import base64
import shutil
import signal
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import psutil
from confluent_kafka import KafkaException

from connectors.kafka import clients as kafka_clients
from core.errors import FreshetError
from stack import java, process
from stack.layout import Layout, Ports

MAX_RECORD_BYTES = 32 * 1024 * 1024
"""The biggest record batch that the stack carries: rows of several MB are events too."""

SETTINGS: dict[str, str | int] = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    # a local stack keeps its topics until it is wiped: a pipeline may read from the earliest offset at any time
    "log.retention.ms": -1,
    "message.max.bytes": MAX_RECORD_BYTES,
    "replica.fetch.max.bytes": MAX_RECORD_BYTES,
    "offsets.topic.num.partitions": 1,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    # how long a killed broker is not taken back: 9 s by default; at 3 s a busy machine cut off live ones
    "broker.session.timeout.ms": 6000,
    "broker.heartbeat.interval.ms": 1000,
    # a lone broker follows nobody: the record that tells followers twice a second that the controller is there takes
    # half of what an idle one computes
    "metadata.max.idle.interval.ms": 0,
}
"""The broker's settings but for addresses and folders."""

_READY_SECONDS = 90.0


def service(layout: Layout) -> process.Service:
    """How Kafka is recognised and stopped."""
    mark = str(layout.of("kafka") / "server.properties")
    return process.Service("Kafka", mark, layout.log("kafka"), layout.pid("kafka"), ((signal.SIGTERM, 20.0),))


def bootstrap_servers(port: int) -> str:
    """The address for clients, as `bootstrap.servers` takes it."""
    return f"127.0.0.1:{port}"


def is_ready(port: int) -> bool:
    """Whether the broker answers a request for its metadata."""
    settings = {"bootstrap.servers": bootstrap_servers(port), "log_level": 0, "reconnect.backoff.max.ms": 100}
    client = kafka_clients.admin({**settings, "error_cb": lambda _: None})
    try:
        return bool(client.list_topics(timeout=2).brokers)
    except KafkaException:
        return False


def start(layout: Layout, ports: Ports, jars: Sequence[Path], report: process.Report) -> None:
    """Starts the broker where it doesn't run, on its data, formatted where there is none, and waits until it answers.

    Raises FreshetError where the data can't be formatted, Unavailable where the broker doesn't come up.
    """
    spawn = partial(_spawn, layout, ports, jars)
    process.ensure(service(layout), spawn, partial(is_ready, ports.kafka), _READY_SECONDS, report)


def _spawn(layout: Layout, ports: Ports, jars: Sequence[Path]) -> psutil.Process:
    folder, of = layout.of("kafka"), service(layout)
    _format(folder, ports, jars)
    java.write_properties(Path(of.mark), properties(folder / "data", ports))
    return process.spawn(of, java.command(folder, jars, "kafka.Kafka", of.mark))


def _format(folder: Path, ports: Ports, jars: Sequence[Path]) -> None:
    data = folder / "data"
    if data.exists():
        return
    # under another name until it is complete, as an interrupted format would be taken for a broken disk
    new = folder / "data.new"
    shutil.rmtree(new, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "format.properties"
    java.write_properties(settings, properties(new, ports))
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # in one word: one id in 64 begins with a dash
    arguments = ("format", f"--cluster-id={cluster}", "-c", str(settings))
    command = java.command(folder, jars, "kafka.tools.StorageTool", *arguments)
    result = process.run(command)
    if result.returncode != 0:
        raise FreshetError(f"Kafka could not format {new}:\n{(result.stderr or result.stdout).strip()}")
    new.rename(data)


def properties(data: Path, ports: Ports) -> dict[str, str | int]:
    """The broker's `server.properties`."""
    return SETTINGS | {
        "controller.quorum.voters": f"1@127.0.0.1:{ports.controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{ports.kafka},CONTROLLER://127.0.0.1:{ports.controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{ports.kafka}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
    }
