"""Amazon Managed Service for Apache Flink 2.2: which of Flink's options it takes, and settings given as properties.

Source of the options: its developer guide, "Programmatic Flink configuration properties". A program that sets another
one is stopped before its job starts, with "Not allowed configuration change(s) were detected".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from pydantic import BaseModel

from core.config.pipeline import Pipeline
from core.config.variants import kinds
from core.errors import ConfigError

PROPERTIES = "FRESHET_APPLICATION_PROPERTIES"
"""The environment variable that names another file of properties, for a rehearsal."""

_PROPERTIES = "/etc/flink/application_properties.json"
"""Where the service, and nobody else, puts an application's (its developer guide, "Runtime properties")."""

LARGEST_ZIP = 512 * 1024 * 1024
"""Bytes; the service's limit for an application's code."""

_PIPELINE = """
auto-generate-uids auto-watermark-interval cached-files classpaths closure-cleaner-level force-avro force-kryo
generic-types global-job-parameters jars jobvertex-parallelism-overrides max-parallelism name object-reuse
operator-chaining.chain-operators-with-different-max-parallelism operator-chaining.enabled serialization-config
vertex-description-mode vertex-name-include-index-prefix watermark-alignment.allow-unaligned-source-splits
"""
_PYTHON = """
execution-mode operator-chaining.enabled job-options internal.archives-key-map internal.files-key-map
internal.requirements-file-key
"""
_TABLE_EXEC = """
async-lookup.buffer-capacity async-lookup.key-ordered-enabled async-lookup.output-mode async-lookup.timeout
async-ml-predict.max-concurrent-operations async-ml-predict.output-mode async-ml-predict.timeout
async-scalar.max-concurrent-operations async-scalar.max-attempts async-scalar.retry-delay async-scalar.retry-strategy
async-scalar.timeout async-state.enabled async-table.max-concurrent-operations async-table.max-retries
async-table.retry-delay async-table.retry-strategy async-table.timeout async-vector-search.max-concurrent-operations
async-vector-search.output-mode async-vector-search.timeout deduplicate.insert-update-after-sensitive-enabled
deduplicate.mini-batch.compact-changes-enabled delta-join.cache-enabled disabled-operators iceberg.use-v2-sink
interval-join.min-cleanup-interval legacy-cast-behaviour local-hash-agg.adaptive.distinct-value-rate-threshold
local-hash-agg.adaptive.enabled local-hash-agg.adaptive.sampling-threshold mini-batch.allow-latency mini-batch.enabled
mini-batch.size operator-fusion-codegen.enabled simplify-operator-name-enabled sink.keyed-shuffle
sink.nested-constraint-enforcer sink.not-null-enforcer sink.rowtime-inserter sink.type-length-enforcer
sink.upsert-materialize sink.upsert-materialize-strategy.adaptive.threshold.high
sink.upsert-materialize-strategy.adaptive.threshold.low sink.upsert-materialize-strategy.type sort.async-merge-enabled
sort.default-limit sort.max-num-file-handles source.cdc-events-duplicate source.idle-timeout
spill-compression.block-size spill-compression.enabled state.ttl
uid.format uid.generation unbounded-over.version window-agg.buffer-size-limit
"""
_TABLE_OPTIMIZER = """
agg-phase-strategy adaptive-broadcast-join.strategy bushy-join-reorder-threshold delta-join.strategy
distinct-agg.split.bucket-num distinct-agg.split.enabled dynamic-filtering.enabled incremental-agg-enabled
join-reorder-enabled multi-join.enabled multiple-input-enabled non-deterministic-update.strategy
reuse-optimize-block-with-digest-enabled reuse-sink-enabled reuse-source-enabled reuse-sub-plan-enabled
runtime-filter.enabled skewed-join-optimization.skewed-factor skewed-join-optimization.skewed-threshold
skewed-join-optimization.strategy source.report-statistics-enabled union-all-as-breakpoint-enabled
"""
_TABLE = """
builtin-catalog-name builtin-database-name catalog-modification.listeners column-expansion-strategy
display.max-column-width dml-sync dynamic-table-options.enabled generated-code.max-length legacy-nested-row-nullability
local-time-zone plan.compile.catalog-objects plan.force-recompile plan.restore.catalog-objects
rtas-ctas.atomicity-enabled sql-dialect
"""
_NETWORK = "adaptive-partitioner.enabled adaptive-partitioner.max-traverse-size"

TAKEN = frozenset(
    {
        "execution.runtime-mode",
        "execution.checkpointing.interval-during-backlog",
        "execution.checkpointing.unaligned",
        *(
            f"{group}.{name}"
            for group, names in {
                "pipeline": _PIPELINE,
                "python": _PYTHON,
                "table.exec": _TABLE_EXEC,
                "table.optimizer": _TABLE_OPTIMIZER,
                "table": _TABLE,
                "taskmanager.network": _NETWORK,
            }.items()
            for name in names.split()
        ),
    }
)
"""The options that a program may set on the service."""

_INSTEAD = {
    "execution.checkpointing.": "set it in the application's CheckpointConfiguration",
    "parallelism.": "set it in the application's ParallelismConfiguration",
    "pipeline.jars": "the bundle has one JAR, with these in it",
    "state.": "the service keeps state itself; a support case can change some of it",
    "taskmanager.": "its size is that of a KPU; a support case can change some of it",
    "restart-strategy.": "a support case can change it",
    "metrics.": "set it in the application's MonitoringConfiguration",
}
_ANYWHERE = "leave it out; a support case can change some of the others"

_BY_TABLE = ("documents", "profiles.records")


def properties_file(environment: Mapping[str, str]) -> str:
    """Where an application's properties lie: a file that is there on the service, and in a rehearsal."""
    return environment.get(PROPERTIES, _PROPERTIES)


def taken(option: str) -> bool:
    """Whether a program may set this option of Flink's on the service. Freshet's own job names its JAR by no option."""
    return option in TAKEN and option != "pipeline.jars"


def refused(options: Mapping[str, str]) -> dict[str, str]:
    """Those of Flink's options that the service stops a program for, each with what to do instead."""
    return {name: _instead(name) for name in options if not taken(name)}


def _instead(option: str) -> str:
    return next((what for start, what in _INSTEAD.items() if option.startswith(start)), _ANYWHERE)


def overridden(raw: Mapping[str, Any], properties: Mapping[str, str]) -> dict[str, Any]:
    """A pipeline file as YAML gives it, with properties in place of what it says.

    A property's name is the setting's place, with dots: `source.kafka.topic`, `documents.public.articles.chunk.tokens`.
    Where names have dots themselves, that of the file which fits longest is meant; double quotes hold one together that
    isn't there yet: `documents."public.posts".text`. Behind `source.kafka`, and so on, all is one name. A value is
    text, or a list as JSON.

    Raises ConfigError where a property names a table that isn't in the file.
    """
    changed = deepcopy(dict(raw))
    # a setting comes before what is in it
    for name in sorted(properties):
        _set(changed, _place(changed, name), _value(properties[name]))
    return changed


def _place(raw: Mapping[str, Any], name: str) -> tuple[str, ...]:
    place: tuple[str, ...] = ()
    node: Any = raw
    rest = name
    while rest:
        key, rest = _first(node, rest, ".".join(place), name)
        place = (*place, key)
        node = node.get(key) if isinstance(node, dict) else None
    return place


def _first(node: Any, rest: str, within: str, name: str) -> tuple[str, str]:
    """The first key of what is left of a property's name, and what is left then."""
    if rest.startswith('"') and '"' in rest[1:]:
        key, _, left = rest[1:].partition('"')
        return key, left.removeprefix(".")
    if within == "flink" or within in _flat():
        return rest, ""
    known = [str(key) for key in node] if isinstance(node, dict) else []
    fitting = [key for key in known if rest == key or rest.startswith(f"{key}.")]
    if fitting:
        key = max(fitting, key=len)
        return key, rest[len(key) + 1 :]
    if within in _BY_TABLE:
        there = ", ".join(known) or "none"
        raise ConfigError(
            [f"property {name}: {within} has no table of this name, but {there}; put a new one in double quotes"]
        )
    key, _, left = rest.partition(".")
    return key, left


@cache
def _flat() -> frozenset[str]:
    """Parts of the pipeline file whose settings' names have dots themselves; `flink` is another."""
    return frozenset(_dotted(Pipeline, ""))


def _dotted(section: type[BaseModel], within: str) -> Iterator[str]:
    for name, inner in kinds(section, BaseModel).items():
        named = [field.alias or "" for field in inner.model_fields.values()]
        if any("." in each for each in named):
            yield f"{within}{name}"
        else:
            yield from _dotted(inner, f"{within}{name}.")


def _set(raw: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    node = raw
    for key in place[:-1]:
        inner = node.get(key)
        if isinstance(inner, str):
            # `format: debezium` is short for `format: {debezium: {}}`
            inner = {inner: {}}
        node[key] = inner if isinstance(inner, dict) else {}
        node = node[key]
    node[place[-1]] = value


def _value(text: str) -> Any:
    try:
        value = json.loads(text) if text.startswith("[") else text
    except ValueError:
        return text
    return value if isinstance(value, list) else text
