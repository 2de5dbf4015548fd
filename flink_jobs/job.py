"""The Flink job of a pipeline, of documents or of profiles."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pyflink.datastream import StreamExecutionEnvironment

from core.config.pipeline import Pipeline
from core.stores.fingerprint import Owner
from flink_jobs import profiles, vectorize


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
    (vectorize if pipeline.profiles is None else profiles).build(pipeline, environment, sources, owner)
