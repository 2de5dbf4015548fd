"""The local stack: real PostgreSQL with pgvector, Kafka, and Debezium in Kafka Connect, on 127.0.0.1, without Docker.
OpenSearch and a server that plays AWS can be had besides.

`up` starts what doesn't run and gives the addresses; the servers outlive the command. `down` stops them.
"""

import shutil
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from stack import aws, connect, jars, kafka, opensearch, postgres, process
from stack.failures import Failed, failed
from stack.layout import (
    Layout,
    Ports,
    free_ports,
    is_free,
    layout_of,
    locked,
    prepare,
    remember_ports,
    remembered_ports,
)

LOCK = Path(__file__).with_name("jars.lock")
OPENSEARCH_LOCK = Path(__file__).with_name("opensearch.lock")
_TITLES = {
    "postgres": "PostgreSQL",
    "kafka": "Kafka",
    "controller": "Kafka's controller",
    "connect": "Kafka Connect",
    "opensearch": "OpenSearch",
    "aws": "AWS",
}


@dataclass(frozen=True)
class Server:
    """One server's process. It is `running` where it answers; `memory` is in resident bytes, 0 without a process."""

    running: bool
    pid: int | None
    memory: int
    log: Path


@dataclass(frozen=True)
class Postgres:
    """PostgreSQL, reached by `dsn`, which names the file with the password."""

    dsn: str
    server: Server


@dataclass(frozen=True)
class Kafka:
    """Kafka, reached by `bootstrap_servers`."""

    bootstrap_servers: str
    server: Server


@dataclass(frozen=True)
class Connect:
    """Kafka Connect, whose REST interface is at `url`; of its connectors those that have failed."""

    url: str
    server: Server
    failed: tuple[Failed, ...] = ()


@dataclass(frozen=True)
class OpenSearch:
    """OpenSearch, at `url`."""

    url: str
    server: Server


@dataclass(frozen=True)
class Aws:
    """S3, SQS, Kinesis and DynamoDB as moto plays them, all at `endpoint`."""

    endpoint: str
    server: Server


class Extra(StrEnum):
    """A server that a stack has only where it was asked for."""

    OPENSEARCH = "opensearch"
    AWS = "aws"


@dataclass(frozen=True)
class Stack:
    """The servers of the stack kept in `folder`; None is one that the stack doesn't have."""

    folder: Path
    postgres: Postgres
    kafka: Kafka
    connect: Connect
    opensearch: OpenSearch | None
    aws: Aws | None

    @property
    def running(self) -> bool:
        """Whether all of it runs."""
        has = (self.postgres, self.kafka, self.connect, self.opensearch, self.aws)
        return all(each.server.running for each in has if each is not None)


def up(
    directory: Path,
    report: process.Report = print,
    ports: Ports | None = None,
    extra: Collection[Extra] = (),
) -> Stack:
    """Starts every server of the directory's stack that doesn't run, on the data it had, and waits until all answer.

    A stack that had an extra server once has it from then on.
    Ports are those of the last time, else `ports`, else the usual ones; one that is taken is replaced, and reported.
    Raises FreshetError where the machine can't run a server, Unavailable, with the end of its log, where it doesn't
    come up.
    """
    of = layout_of(directory)
    prepare(of)
    with locked(of):
        has = {*extra, *_extras(of)}
        files, search_files = jars.fetch(LOCK), jars.fetch(OPENSEARCH_LOCK) if Extra.OPENSEARCH in has else []
        chosen = _choose_ports(of, remembered_ports(of) or ports or Ports(), has, report)
        with ThreadPoolExecutor(4) as threads:
            starting = [
                threads.submit(postgres.start, of, chosen.postgres, report),
                threads.submit(kafka.start, of, chosen, files, report),
            ]
            if Extra.OPENSEARCH in has:
                starting.append(threads.submit(opensearch.start, of, chosen.opensearch, search_files, report))
            if Extra.AWS in has:
                starting.append(threads.submit(aws.start, of, chosen.aws, report))
        for each in starting:
            each.result()
        connect.start(of, chosen, files, report)
        for name in connect.restart_failed(chosen.connect):
            report(f"Connector {name} had failed: started again")
    return status(directory)


def down(directory: Path, wipe: bool = False) -> list[str]:
    """Stops the servers, Connect first, PostgreSQL last, and names those that ran; `wipe` deletes their data."""
    of = layout_of(directory)
    if not of.folder.exists():
        return []
    prepare(of)
    with locked(of):
        order = ("connect", "kafka", "opensearch", "aws", "postgres")
        stopped = [_TITLES[name] for name in order if process.stop(_service(of, name))]
        if wipe:
            postgres.wipe(of)
            opensearch.wipe(of)
            shutil.rmtree(of.folder)
    return stopped


def status(directory: Path) -> Stack:
    """What runs of the directory's stack, asked of the servers now."""
    of = layout_of(directory)
    ports = remembered_ports(of) or Ports()
    return Stack(
        of.folder,
        _postgres(of, ports),
        Kafka(kafka.bootstrap_servers(ports.kafka), _server(of, "kafka", partial(kafka.is_ready, ports.kafka))),
        _connect(of, ports),
        _opensearch(of, ports) if opensearch.is_there(of) else None,
        _aws(of, ports) if aws.is_there(of) else None,
    )


def _postgres(of: Layout, ports: Ports) -> Postgres:
    ready = partial(postgres.is_ready, of, ports.postgres)
    return Postgres(postgres.dsn(of, ports.postgres), _server(of, "postgres", ready))


def _connect(of: Layout, ports: Ports) -> Connect:
    server, url = _server(of, "connect", partial(connect.is_ready, ports.connect)), connect.url(ports.connect)
    return Connect(url, server, failed(url) if server.running else ())


def _extras(of: Layout) -> set[Extra]:
    there = {Extra.OPENSEARCH: opensearch.is_there, Extra.AWS: aws.is_there}
    return {extra for extra, is_there in there.items() if is_there(of)}


def _opensearch(of: Layout, ports: Ports) -> OpenSearch:
    ready = partial(opensearch.is_ready, ports.opensearch)
    return OpenSearch(opensearch.url(ports.opensearch), _server(of, "opensearch", ready))


def _aws(of: Layout, ports: Ports) -> Aws:
    return Aws(aws.endpoint(ports.aws), _server(of, "aws", partial(aws.is_ready, ports.aws)))


def _service(of: Layout, name: str) -> process.Service:
    services = {
        "postgres": postgres.service,
        "kafka": kafka.service,
        "connect": connect.service,
        "opensearch": opensearch.service,
        "aws": aws.service,
    }
    return services[name](of)


def _server(of: Layout, name: str, is_ready: Callable[[], bool]) -> Server:
    found = process.find(_service(of, name))
    if found is None:
        return Server(running=False, pid=None, memory=0, log=of.log(name))
    return Server(running=is_ready(), pid=found.pid, memory=process.memory(found), log=of.log(name))


def _choose_ports(of: Layout, wanted: Ports, has: Collection[Extra], report: process.Report) -> Ports:
    owners = {"controller": "kafka"}
    chosen, spare = wanted, free_ports()
    for field in fields(Ports):
        name, port = field.name, getattr(wanted, field.name)
        if name in set(Extra) - set(has):
            continue
        if process.find(_service(of, owners.get(name, name))) is None and not is_free(port):
            chosen = replace(chosen, **{name: getattr(spare, name)})
            report(f"Port {port} is taken: {_TITLES[name]} listens on {getattr(chosen, name)} instead")
    if chosen.kafka != wanted.kafka:
        # a worker that still looks for Kafka where it was must be started anew
        process.stop(connect.service(of))
    remember_ports(of, chosen)
    return chosen
