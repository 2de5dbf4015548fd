"""Figures on their way into a metric group; that Flink tells them, tests/flink_jobs/test_metrics.py sees."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from core.config.msf import PROPERTIES
from core.metrics import tally
from core.metrics.figures import BUCKETS_MS
from flink_jobs.engine.metrics import OF_BATCHES, Meters, Searchable, reporting


class Group:
    """A metric group that remembers what was counted, by the path of groups."""

    def __init__(self, found: Counter[str], path: str = "") -> None:
        self.found = found
        self._path = path

    def add_group(self, name: str, extra: str | None = None) -> Group:
        return Group(self.found, f"{self._path}{name}." + (f"{extra}." if extra else ""))

    def counter(self, name: str) -> Rise:
        self.found[self._path + name] += 0
        return Rise(self.found, self._path + name)


class Rise:
    def __init__(self, found: Counter[str], name: str) -> None:
        self._found = found
        self._name = name

    def inc(self, by: int = 1) -> None:
        self._found[self._name] += by


@pytest.fixture
def found() -> Counter[str]:
    tally.drain()
    return Counter()


def test_labels_are_groups_and_no_dot_is_in_them(found: Counter[str]) -> None:
    meters = Meters("stale")
    meters.open(Group(found))
    assert found == {"freshet.stale": 0}
    meters.count("changes", feed="debezium", operation="upsert")
    meters.count("changes", 2, feed="debezium", operation="upsert")
    meters.count("retries", of="store.pgvector")
    assert found["freshet.feed.debezium.operation.upsert.changes"] == 3
    assert found["freshet.of.store_pgvector.retries"] == 1


def test_what_is_not_defined_is_refused(found: Counter[str]) -> None:
    meters = Meters()
    meters.open(Group(found))
    with pytest.raises(KeyError):
        meters.count("chagnes")
    with pytest.raises(AssertionError):
        meters.count("changes", operation="upsert", feed="debezium")


def test_a_gauge_is_a_counter_that_falls(found: Counter[str]) -> None:
    meters = Meters("source_lag_ms")
    meters.open(Group(found))
    for value in (7, 12, 12, 3):
        meters.hold("source_lag_ms", value)
        assert found["freshet.source_lag_ms"] == value
    # opened anew after a failure
    meters.open(Group(found := Counter()))
    meters.hold("source_lag_ms", 3)
    assert found["freshet.source_lag_ms"] == 3


def test_on_the_service_they_are_where_cloudwatch_looks_and_without_buckets(
    found: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = tmp_path / "application_properties.json"
    properties.write_text("[]", encoding="utf-8")
    monkeypatch.setenv(PROPERTIES, str(properties))
    meters = Meters(*OF_BATCHES)
    meters.open(Group(found))
    tally.count("batches")
    tally.searchable(300)
    counted = tally.drain()
    meters.tell(counted)
    Searchable().hear(counted, meters)
    assert found["kinesisanalytics.Program.freshet.batches"] == 1
    assert 250 < found["kinesisanalytics.Program.freshet.commit_to_searchable_p99_ms"] <= 500
    assert not any("_bucket" in name or not name.startswith("kinesisanalytics.") for name in found)


def test_quantiles_are_of_the_last_minute(found: Counter[str]) -> None:
    now = 0.0
    searchable = Searchable(lambda: now)
    meters = Meters(*OF_BATCHES)
    meters.open(Group(found))
    half = "freshet.commit_to_searchable_p50_ms"
    for at, taken, below, above in [(0.0, 5_000, 2_500, 5_000), (40.0, 5_000, 2_500, 5_000), (80.0, 20, 10, 25)]:
        now = at
        for _ in range(3):
            tally.searchable(taken)
        counted = tally.drain()
        meters.tell(counted)
        searchable.hear(counted, meters)
        now += 31
        for _ in range(3):
            tally.searchable(taken)
        counted = tally.drain()
        searchable.hear(counted, meters)
        assert below < found[half] <= above
    assert found["freshet.commit_to_searchable_ms_count"] == 9
    assert found[f"freshet.le.{BUCKETS_MS[-1]}.commit_to_searchable_ms_bucket"] == 9
    searchable.hear([], meters)
    assert 10 < found[half] <= 25


def test_a_pipeline_with_reporters_of_its_own_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADOOP_CLASSPATH", "/mine.jar")
    assert reporting({"metrics.reporters": "statsd"}, 9249) == {}
    options = reporting({}, 9249)
    assert options["metrics.reporter.prom.port"] == "9249"
    assert options["metrics.reporter.prom.filterLabelValueCharacters"] == "false"
