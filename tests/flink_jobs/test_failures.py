"""Failures as operators read them: each stack trace that a user can meet, and none that shows a class."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flink_jobs.running.failures import explained, root_cause

FAILURES = Path(__file__).parents[1] / "fixtures" / "failures"
BUNDLE = (FAILURES / "bundle_on_a_dead_worker.txt").read_text(encoding="utf-8")
IN_A_WORKER = (FAILURES / "error_in_a_worker.txt").read_text(encoding="utf-8")
_KAFKA = "org.apache.flink.kafka.shaded.org.apache.kafka.common.errors."
CASES = [
    (
        BUNDLE,
        "the embedding worker died",
    ),
    (
        IN_A_WORKER,
        "pgvector at 127.0.0.1:5432 doesn't answer: start it",
    ),
    (
        "java.lang.RuntimeException: a\nCaused by: pemja.core.PythonException: <class "
        "'core.errors.Unavailable'>: the embedding worker died (signal 9)\n\tat "
        "<string>.flat_map(x.py:9)",
        "the embedding worker died (signal 9)",
    ),
    (
        "pemja.core.PythonException: <class 'ZeroDivisionError'>: division by zero",
        "division by zero (Flink's log",
    ),
    (
        "java.lang.IllegalStateException: Process died with exit code 137",
        "the embedding worker died (signal 9)",
    ),
    (
        "java.lang.IllegalStateException: Process died with exit code 1",
        "the embedding worker died (exit code 1)",
    ),
    (
        "java.lang.RuntimeException: Failed to create stage bundle factory! INFO:root:Initializing Python harness: x",
        "didn't start",
    ),
    (
        "java.lang.OutOfMemoryError: Java heap space",
        "no memory left (heap)",
    ),
    (
        "java.lang.OutOfMemoryError: Metaspace",
        "(metaspace)",
    ),
    (
        "java.lang.OutOfMemoryError: Direct buffer memory",
        "(direct buffers)",
    ),
    (
        "java.lang.OutOfMemoryError: unable to create native thread: possibly out of memory",
        "ulimit -u",
    ),
    (
        "java.io.IOException: No space left on device",
        "No space left on device: make room",
    ),
    (
        "org.apache.flink.util.FlinkRuntimeException: Exceeded checkpoint tolerable failure "
        "threshold.\nCaused by: org.apache.flink.runtime.checkpoint.CheckpointException: "
        "Checkpoint expired before completing.",
        "took too long",
    ),
    (
        "org.apache.flink.runtime.checkpoint.CheckpointException: Checkpoint triggering task "
        "x of job y is not being executed at the moment. Aborting checkpoint. Failure reason: "
        "Not all required tasks are currently running.",
        "just restarting",
    ),
    (
        "java.util.concurrent.CompletionException: java.lang.IllegalStateException: Failed to "
        "rollback to checkpoint/savepoint file:/x/chk-9. Cannot map checkpoint/savepoint "
        "state for operator 0a to the new program",
        "the kept state doesn't fit",
    ),
    (
        "java.lang.IllegalStateException: Failed to rollback to checkpoint/savepoint file:/x. "
        "Max parallelism mismatch between checkpoint/savepoint state and new program.",
        "another maximum of parallelism",
    ),
    (
        "java.io.FileNotFoundException: Cannot find checkpoint or savepoint file/directory "
        "'file:/x/chk-9' on file system 'file'.",
        "is gone",
    ),
    (
        "java.io.IOException: Failed to send data to Kafka x-0@-1\nCaused by: "
        f"{_KAFKA}RecordTooLargeException: The request included a message larger than the max message "
        "size the server will accept.",
        "takes no message as large",
    ),
    (
        f"{_KAFKA}TopicAuthorizationException: Not authorized to access topics: [a.letters]",
        "use topic a.letters",
    ),
    (
        f"{_KAFKA}GroupAuthorizationException: Not authorized to access group: freshet-a",
        "consumer group",
    ),
    (
        f"{_KAFKA}SaslAuthenticationException: Authentication failed: Invalid username or password",
        "refuses the login",
    ),
    (
        f"{_KAFKA}UnknownTopicOrPartitionException: This server does not host this topic-partition.",
        "a topic is gone",
    ),
    (
        f"{_KAFKA}TimeoutException: Topic a.letters not present in metadata after 60000 ms.",
        "topic a.letters is gone, or",
    ),
    (
        f"{_KAFKA}TimeoutException: Expiring 1 record(s) for a.letters-0:120000 ms has passed since batch creation",
        "nothing for a.letters-0",
    ),
    (
        "java.lang.RuntimeException: Failed to get metadata for topics [x].\nCaused by: "
        f"{_KAFKA}TimeoutException: Timed out waiting for a node assignment. Call: describeTopics",
        "Kafka doesn't answer",
    ),
    (
        "java.net.BindException: Could not start rest endpoint on any port in port range 8081",
        "the port is in use",
    ),
    (
        "java.util.concurrent.TimeoutException: Heartbeat of TaskManager with id localhost:4-a timed out.",
        "a TaskManager is gone",
    ),
    (
        "org.apache.flink.runtime.jobmanager.scheduler.NoResourceAvailableException: Could "
        "not acquire the minimum required resources.",
        "task slots",
    ),
    (
        "java.lang.NullPointerException",
        "Flink failed without saying why",
    ),
    (
        "org.apache.flink.util.FlinkException: x.y.Zed: the dog ate it",
        "the dog ate it (Flink's log has the whole)",
    ),
    (
        "",
        "unknown",
    ),
]
_NAMED = re.compile(r"\b(?:java|javax|org|com|pemja|core)\.[\w.]*\w|[a-z]\w*\.[A-Z]\w+|\w+Exception|[Bb]eam")


@pytest.mark.parametrize(("trace", "said"), CASES)
def test_what_a_user_can_meet_is_said(trace: str, said: str) -> None:
    assert said in explained(trace)
    assert not _NAMED.search(explained(trace))
    assert "\n" not in explained(trace)


CLASSES = st.from_regex(r"\A(org|java)(\.[a-z]{1,8}){1,4}\.[A-Z][A-Za-z]{2,12}(Exception|Error)\Z")
WORDS = st.from_regex(r"\A[a-z]{1,9}( [a-z0-9]{1,9}){0,5}\Z")


@given(st.lists(st.tuples(CLASSES, WORDS), min_size=1, max_size=5))
def test_a_failure_that_nobody_foresaw_shows_no_class(chain: list[tuple[str, str]]) -> None:
    lines = [f"{name}: {said}\n\tat a.b.C.d(C.java:1)" for name, said in chain]
    said = explained("\nCaused by: ".join(lines))
    assert chain[-1][1] in said or "the " in said
    assert not any(name in said for name, _ in chain)


def test_the_log_has_the_root_cause_as_it_is() -> None:
    assert root_cause(BUNDLE).startswith("org.apache.flink.util.SerializedThrowable: org.apache.beam")
