"""The Flink job of a pipeline, by what it makes. A kind of job that is added has its entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pyflink.datastream import StreamExecutionEnvironment

from core.config.pipeline import Pipeline
from core.stores.fingerprint import Owner
from flink_jobs import feedback, profiles, vectorize


def build(
    pipeline: Pipeline,
    environment: StreamExecutionEnvironment,
    sources: Mapping[str, str] = MappingProxyType({}),
    owner: Owner | None = None,
) -> None:
    """Put the whole job on the environment.

    sources  table to the database that its rows are of, where that is known before: rows of another are refused
    owner    the run that the stores are to be of
    """
    BUILDERS[pipeline.kind](pipeline, environment, sources, owner)


BUILDERS: Mapping[str, Callable[[Pipeline, StreamExecutionEnvironment, Mapping[str, str], Owner | None], None]] = {
    "documents": vectorize.build,
    "profiles": profiles.build,
    "feedback": feedback.build,
}
"""By the names of the pipeline file's parts, as `core.config.jobs.KINDS`."""
