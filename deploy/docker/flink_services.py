"""Flink's part of `docker-compose.yaml`: JobManager, TaskManager with or without a GPU, and the job's submission."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyflink
import yaml

from core.metrics.figures import REPORTER
from deploy.docker.services import Config, Service, config, config_file
from flink_jobs.engine.environment import CLUSTER, JVM_FLAGS

SLOTS = 2
GPUS = 1
METRICS_PORT = 9249
_FILE = "/etc/freshet/flink/config.yaml"
_ASK = "import json, urllib.request as r; answer = json.load(r.urlopen('{}', timeout=5)); assert {}"
_DEVICE = {"driver": "nvidia", "count": GPUS, "capabilities": ["gpu"]}
GPU: dict[str, Any] = {"deploy": {"resources": {"reservations": {"devices": [_DEVICE]}}}}
"""What a service on a GPU has more than others."""


def flink_configuration(slots: int = SLOTS) -> dict[str, str]:
    """The cluster's `config.yaml`: what a local run has, Java's options as Flink ships them, and where things are."""
    shipped = yaml.safe_load((Path(pyflink.__file__).parent / "conf" / "config.yaml").read_text(encoding="utf-8"))
    return {
        "env.java.opts.all": f"{JVM_FLAGS} {shipped['env']['java']['opts']['all']}",
        **CLUSTER,
        **REPORTER,
        "metrics.reporter.prom.port": str(METRICS_PORT),
        "jobmanager.rpc.address": "jobmanager",
        "jobmanager.bind-host": "0.0.0.0",
        "jobmanager.memory.process.size": "1600m",
        "taskmanager.bind-host": "0.0.0.0",
        # of the JVM: the model is the Python workers', which no figure here holds
        "taskmanager.memory.process.size": "2g",
        "rest.address": "jobmanager",
        "rest.bind-address": "0.0.0.0",
        "rest.port": "8081",
        "taskmanager.numberOfTaskSlots": str(slots),
    }


def flink_services() -> dict[str, Service]:
    """JobManager, TaskManagers and the job."""
    return {
        "jobmanager": _jobmanager(),
        "taskmanager": _taskmanager("cpu", _configuration("flink", SLOTS), {}),
        # a slot's workers have the model each: more slots than GPUs would share one's memory
        "taskmanager-gpu": _taskmanager("gpu", _configuration("flink-gpu", GPUS), GPU),
        "job": job("pipeline", ("postgres", "kafka", "opensearch"), secrets=("postgres_password",)),
    }


def _configuration(name: str, slots: int) -> Config:
    return config(name, _FILE, yaml.safe_dump(flink_configuration(slots), sort_keys=False, width=10_000))


def _asking(path: str, condition: str, host: str = "jobmanager") -> list[str]:
    return ["CMD", "python", "-c", _ASK.format(f"http://{host}:8081{path}", condition)]


def _jobmanager() -> Service:
    return Service(
        target="flink",
        command=["/opt/freshet/flink/bin/jobmanager.sh", "start-foreground"],
        configs=[_configuration("flink", SLOTS)],
        volumes=["freshet:/var/lib/freshet"],
        # not published: whoever reaches it submits jobs, and so does any page in a browser that does
        healthcheck=_asking("/overview", "'taskmanagers' in answer", "127.0.0.1"),
    )


def _taskmanager(profile: str, configuration: Config, extra: dict[str, Any]) -> Service:
    return Service(
        target="flink",
        profiles=[profile],
        command=["/opt/freshet/flink/bin/taskmanager.sh", "start-foreground"],
        configs=[configuration],
        volumes=["freshet:/var/lib/freshet"],
        depends_on=["jobmanager"],
        healthcheck=_asking("/overview", "answer['taskmanagers'] > 0"),
        extra=extra,
    )


def job(name: str, servers: Sequence[str], profiles: Sequence[str] = (), secrets: Sequence[str] = ()) -> Service:
    """What submits the pipeline file of a name. `servers` are the services that it reads and writes."""
    file = f"/etc/freshet/{name}.yaml"
    return Service(
        target="flink",
        profiles=profiles,
        command=["freshet", "run", "--target", "jobmanager:8081", file],
        configs=[config_file(name, file, f"./deploy/docker/{name}.yaml")],
        secrets=secrets,
        volumes=["freshet:/var/lib/freshet"],
        # the loader makes the table whose topic is read
        depends_on=[*servers, "jobmanager", "loader"],
        healthcheck=["CMD", "freshet", "status", file, "--exit-code"],
        # it takes a second of a processor
        healthcheck_every="30s",
        # a savepoint is taken when it stops
        extra={"stop_grace_period": "2m"},
    )
