"""The Flink job of a pipeline, of documents or of profiles."""

from __future__ import annotations

from pyflink.datastream import StreamExecutionEnvironment

from core.config import Pipeline
from core.fingerprint import Owner
from flink_jobs import profiles, vectorize


def build(pipeline: Pipeline, environment: StreamExecutionEnvironment, owner: Owner | None = None) -> None:
    """Put the whole job on the environment; `owner` is the run that the stores are to be of."""
    (vectorize if pipeline.profiles is None else profiles).build(pipeline, environment, owner)
