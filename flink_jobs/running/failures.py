"""What Flink, Beam and Kafka's client throw, said as an operator reads it. Pure: a stack trace in, a line out.

Each failure that a user can meet has one line in `_EXPLANATIONS`; the trace itself is in Flink's log.
"""

from __future__ import annotations

import re

from core.errors import brief

WORKER_DIED = "the embedding worker died"
"""What is said where nothing tells by which signal."""

_EXPLANATIONS: tuple[tuple[str, str], ...] = (
    # ours, from Python inside the JVM and from workers: they say it themselves
    (r"^pemja\.core\.PythonException: <class 'core\.errors\.\w+'>: (?P<said>.+)", "{said}"),
    (r"^core\.errors\.\w+: (?P<said>.+)", "{said}"),
    # memory and disks
    (
        "OutOfMemoryError: (Java heap space|GC overhead)",
        "the JVM has no memory left (heap): raise taskmanager.memory.task.heap.size, or lower parallelism",
    ),
    (
        "OutOfMemoryError: Metaspace",
        "the JVM has no memory left for code (metaspace): stop the job and start it again",
    ),
    (
        "OutOfMemoryError: (Cannot reserve|Direct buffer)",
        "the JVM has no memory left (direct buffers): raise taskmanager.memory.task.off-heap.size",
    ),
    (
        "OutOfMemoryError: unable to create native thread",
        "the machine lets the JVM start no more threads: raise the limit of processes (ulimit -u)",
    ),
    ("OutOfMemoryError", "the JVM has no memory left"),
    (
        "(?P<said>No space left on device|Disk quota exceeded)",
        "{said}: make room where checkpoints and temporary files lie",
    ),
    ("Too many open files", "too many open files: raise the limit (ulimit -n)"),
    # workers
    ("Process died with exit code 137|exits? with code: ?137", "the embedding worker died (signal 9)"),
    (
        r"(Process died with exit code|[Pp]ython process exits with code:) ?(?P<said>\d+)",
        "the embedding worker died (exit code {said})",
    ),
    (
        "Failed to create stage bundle factory|Timed out while waiting for command .*beam_boot",
        "the embedding worker didn't start: Flink's log has what it said",
    ),
    (
        "StatusRuntimeException: (CANCELLED|UNAVAILABLE)|FnApiControlClient|"
        "Failed to start remote bundle|Multiplexer|call already (half-)?closed|Stream removed",
        WORKER_DIED,
    ),
    # checkpoints and state
    ("Exceeded checkpoint tolerable failure threshold", "too many checkpoints failed one after the other"),
    (
        "Checkpoint expired before completing",
        "a checkpoint took too long: a batch waits for a slow model or store (execution.checkpointing.timeout)",
    ),
    (
        "CheckpointException: .*([Nn]ot all required tasks are currently running|is not being executed at the moment)",
        "the job is just restarting, so there is no checkpoint now",
    ),
    (
        "CheckpointException: (?P<said>.+)|Could not (materialize|complete|perform) (the )?(snapshot|checkpoint)",
        "a checkpoint failed",
    ),
    (
        "[Mm]ax(imum)? ?parallelism",
        "the state was kept with another maximum of parallelism, and can't be used: run with --without-state",
    ),
    (
        "Cannot map (checkpoint/)?savepoint state|Failed to rollback to checkpoint/savepoint|"
        "StateMigrationException|must not be incompatible|Could not restore keyed state backend|"
        "InvalidClassException",
        "the kept state doesn't fit this job: another version of Freshet or Flink wrote it. Run that "
        "version, or this one with --without-state",
    ),
    (
        "(Cannot find|Could not find|FileNotFoundException).*(checkpoint|savepoint|chk-|_metadata)",
        "the kept state is gone, or a part of it: run with --without-state, or put the folder back",
    ),
    # Kafka
    (
        "RecordTooLargeException",
        "the topic of dead letters takes no message as large as this dead letter any more; its limit is "
        "looked at again",
    ),
    (
        r"TopicAuthorizationException: Not authorized to access topics: \[(?P<said>[^\]]*)\]",
        "Kafka doesn't let the job use topic {said}: grant Read and Describe on the source's topics, "
        "Write and Describe on that of dead letters",
    ),
    (
        "GroupAuthorizationException",
        "Kafka doesn't let the job use its consumer group: grant Read on groups that begin with freshet-",
    ),
    (
        r"(Cluster|TransactionalId|Delegation\w*)AuthorizationException",
        "Kafka refuses what the job asks for: grant its user Idempotent Write on the cluster",
    ),
    (
        "SaslAuthenticationException|SslAuthenticationException|Authentication failed",
        "Kafka refuses the login: look at the user and password in source.kafka's properties",
    ),
    (
        r"Topic (?P<said>\S+) not present in metadata",
        "topic {said} is gone, or Kafka doesn't answer: make the topic again, or start Kafka",
    ),
    (
        "UnknownTopicOrPartition|UnknownTopicId|does not host this topic-partition|"
        "This server does not host this topic ID|InconsistentTopicId",
        "a topic is gone that the job uses: make it again, and run with --without-state where it was the source's",
    ),
    (
        "OffsetOutOfRange|NoOffsetForPartition",
        "what the job would read next is gone from the topic: it was cut, or made anew. Run with --without-state",
    ),
    (
        r"Expiring \d+ record\(s\) for (?P<said>\S+):",
        "Kafka took nothing for {said} in two minutes: is its broker there?",
    ),
    (
        "Timed out waiting for a node assignment|Failed to (get|list|update) metadata|"
        r"No resolvable bootstrap urls|DisconnectException|errors\.(NetworkException|TimeoutException|"
        "NotLeaderOrFollowerException|BrokerNotAvailableException)|Failed to construct kafka",
        "Kafka doesn't answer: start it, or look at source.kafka.properties.bootstrap.servers",
    ),
    # Flink itself
    (
        "BindException|Could not start rest endpoint on any port",
        "the port is in use that Flink is to listen on (rest.port, metrics.reporter.prom.port): is "
        "another run still there?",
    ),
    (
        "Heartbeat of TaskManager|TaskManager with id .* is no longer reachable|"
        "Connection unexpectedly closed by remote task manager|RemoteTransportException|LostConnection",
        "a TaskManager is gone (killed, out of memory, or stopped for long)",
    ),
    (
        "NoResourceAvailableException|Could not acquire the minimum required resources|minimum required",
        "there are not enough task slots: a TaskManager is missing, or parallelism is higher than its slots",
    ),
    ("JobCancellationException|Job was cancell?ed|JobCancel", "the job was cancelled"),
)
"""Looked for in each cause, the innermost first; the first that fits says it."""

_RULES = tuple((re.compile(pattern), explanation) for pattern, explanation in _EXPLANATIONS)
_CAUSED = "Caused by: "
_TRACEBACK = "Traceback (most recent call last)"
_CLASS = re.compile(r"^(?:[\w$]+\.)+[\w$]+(?:Exception|Error|Throwable|Failure|Interrupt|Warning)?(?::\s*|$)")
_NAMED = re.compile(r"(?<![\w$.])(?:[a-z_][\w$]*\.){2,}[A-Z][\w$]*")
_PYTHON = re.compile(
    r"^(?P<name>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Unavailable|Rejected|Timeout))(?:: (?P<said>.*))?$"
)
_PEMJA = re.compile(r"^pemja\.core\.PythonException: <class '[\w.]+'>: ")
_LONGEST = 500
_READ = 2_000
"""Characters of a cause that are looked at: the rest is what a user wrote, and may be as long as it likes."""


def root_cause(stacktrace: str) -> str:
    """The last cause that a Java stack trace names, one line."""
    lines = stacktrace.splitlines() or ["unknown"]
    causes = [line.removeprefix(_CAUSED) for line in lines if line.startswith(_CAUSED)]
    return (causes or lines)[-1 if causes else 0].strip()


def explained(stacktrace: str) -> str:
    """Why a job failed, one line without names of classes, from what Flink tells of it."""
    causes = _causes(stacktrace)
    for cause in causes:
        for pattern, said in _RULES:
            if (found := pattern.search(cause)) is not None:
                return brief(said.format(**found.groupdict()), _LONGEST)
    return brief(_unknown(causes[0]), _LONGEST)


def _causes(stacktrace: str) -> list[str]:
    """The innermost first: what ends a worker's own traceback, then the causes from the last to the first."""
    lines = [line[:_READ].rstrip() for line in stacktrace.splitlines()]
    named = [_stripped(line.removeprefix(_CAUSED)) for line in lines if line.startswith(_CAUSED)]
    if lines and lines[0].strip():
        named.insert(0, _stripped(lines[0].strip()))
    return [*_of_tracebacks(lines), *reversed(named)] or ["unknown"]


def _of_tracebacks(lines: list[str]) -> list[str]:
    """What ends the last of Python's tracebacks within a trace, where there is one."""
    begun = [at for at, line in enumerate(lines) if _TRACEBACK in line]
    found = [line for line in lines[begun[-1] + 1 :] if _PYTHON.match(line)] if begun else []
    return found[-1:]


def _stripped(cause: str) -> str:
    # what is sent from one process to the other stands in an envelope
    return re.sub(r"^(org\.apache\.flink\.util\.SerializedThrowable: )+", "", cause)


def _unknown(cause: str) -> str:
    python = _PYTHON.match(cause)
    if python is not None and python["said"] and "." not in python["name"].rpartition(".")[0]:
        return f"{python['said']} ({python['name'].rpartition('.')[2]})"
    message = _PEMJA.sub("", cause)
    while (named := _CLASS.match(message)) is not None and named.end() > 0:
        message = message[named.end() :]
    message = _NAMED.sub("…", message).strip(" :")
    return f"{message} (Flink's log has the whole)" if message else "Flink failed without saying why; its log has more"
