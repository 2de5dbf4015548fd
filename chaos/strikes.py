"""What is done to the servers, the feed and the job in a round, chosen by seed alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """Kinds of faults. Killing is kill -9; freezing is SIGSTOP, and SIGCONT some seconds later."""

    WORKER = "worker killed"
    WORKER_IDLE = "idle worker killed"
    FILE = "pipeline file changed"
    TWO_RUNS = "two runs at once"
    TOPIC = "topics made anew"
    DATABASE = "database restored"
    JVM = "JVM killed"
    JOB = "job killed"
    JOB_WITHOUT_STATE = "job killed, state lost"
    RESTART = "job restarted"
    CONNECT = "Connect killed"
    KAFKA = "Kafka killed"
    POSTGRES = "Postgres killed"
    OPENSEARCH = "OpenSearch killed"
    MILVUS = "Milvus killed"
    POSTGRES_FROZEN = "Postgres frozen"
    KAFKA_FROZEN = "Kafka frozen"
    OPENSEARCH_FROZEN = "OpenSearch frozen"
    CONNECTOR = "connector restarted"
    SNAPSHOT = "offsets lost, snapshot"
    AWS_FROZEN = "AWS frozen"
    AWS_BUSY = "AWS refuses"
    RESHARD = "resharded"
    RESUMED = "DMS resumed"
    SLOW_FILE = "slow file"
    PARTITIONS = "partitions increased"
    INDEX = "index deleted"


JOB = {
    Fault.WORKER: 16,
    Fault.WORKER_IDLE: 5,
    Fault.JVM: 6,
    Fault.JOB: 8,
    Fault.JOB_WITHOUT_STATE: 8,
    Fault.RESTART: 6,
    Fault.FILE: 5,
    Fault.TWO_RUNS: 5,
}
"""How often what befalls the job comes, as a weight."""

AFTER = frozenset({Fault.WORKER_IDLE, Fault.FILE, Fault.TWO_RUNS, Fault.TOPIC, Fault.DATABASE, Fault.INDEX})
"""What happens when a round is settled and nothing is left to do; the round is settled once more then."""

STORES = {
    Fault.POSTGRES: 8,
    Fault.OPENSEARCH: 8,
    Fault.MILVUS: 8,
    Fault.POSTGRES_FROZEN: 6,
    Fault.OPENSEARCH_FROZEN: 6,
}
KAFKA = {Fault.KAFKA: 9, Fault.KAFKA_FROZEN: 6, Fault.PARTITIONS: 5}
AWS = {Fault.AWS_FROZEN: 10, Fault.AWS_BUSY: 12}


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault of a round: when it begins, in seconds from the round's start, and how long until it is mended."""

    fault: Fault
    at_s: float
    lasts_s: float

    def __str__(self) -> str:
        return f"{self.fault} {self.at_s:.1f}+{self.lasts_s:.1f} s"


def possible(faults: Mapping[Fault, int], stores: Sequence[str], only: Sequence[Fault] = ()) -> dict[Fault, int]:
    """Those of a feed's faults that can happen to these stores, and are of `only` where that names any."""
    return {
        fault: weight for fault, weight in faults.items() if _can_happen(fault, stores) and (fault in only or not only)
    }


def _can_happen(fault: Fault, stores: Sequence[str]) -> bool:
    if fault is Fault.INDEX:
        return bool({"pgvector", "opensearch", "milvus"}.intersection(stores))
    name = fault.partition(" ")[0].lower()
    return name in stores or name not in ("opensearch", "milvus")


def strikes(choices: Random, seconds: float, faults: Mapping[Fault, int]) -> list[Strike]:
    """One or two different faults within `seconds`, in their order; `faults` are weights."""
    chosen = list(dict.fromkeys(choices.choices(list(faults), list(faults.values()), k=choices.choice((1, 2, 2)))))
    found = [Strike(fault, _at(fault, choices, seconds), _lasts(fault, choices)) for fault in chosen]
    return sorted(found, key=lambda strike: strike.at_s)


def _at(fault: Fault, choices: Random, seconds: float) -> float:
    at_s = choices.uniform(0.2, seconds)
    return seconds if fault in AFTER else at_s


def _lasts(fault: Fault, choices: Random) -> float:
    if fault.endswith("frozen"):
        return choices.uniform(5, 10)
    if fault is Fault.AWS_BUSY:
        return choices.uniform(2, 6)
    if fault is Fault.SLOW_FILE:
        return choices.uniform(1, 10)
    return choices.uniform(1, 3) if fault is Fault.SNAPSHOT else choices.uniform(0.1, 3)
