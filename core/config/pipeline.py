"""The pipeline file, as typed models; `core.config.file.load` reads it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from core.config.dead_letters import DeadLetters, DeadLetterTopic
from core.config.documents import Document
from core.config.embedding import Embedding
from core.config.events import Events
from core.config.feedback import Feedback
from core.config.format import FORMATS, OF_MANY, Format
from core.config.jobs import KINDS, FeedbackJob, Job, ProfilesJob
from core.config.outcomes import Outcomes
from core.config.postgres import PostgresServer
from core.config.profiles import Profiles, milliseconds
from core.config.source import (
    AwsClient,
    Kafka,
    Model,
    Name,
    Source,
    option,
)
from core.config.store import Store
from core.config.variants import kinds, named, one
from core.errors import ConfigError

_OURS_IN_FLINK = ("python.execution-mode", "pipeline.max-parallelism", "parallelism.default")


class Database(Model):
    """Settings of a database that rows are read again from."""


class SourceDatabase(PostgresServer, Database):
    """The PostgreSQL database that the changes come from. Its user needs no more than SELECT on the tables."""


class SourceTables(AwsClient, Database):
    """The account's tables of DynamoDB in a region. Their changes are whole, so only `freshet verify` reads them."""


class Reselect(Model):
    """Where rows are read again: values that did not travel with a change, and what `freshet verify` compares with."""

    postgres: SourceDatabase | None = None
    dynamodb: SourceTables | None = None

    @model_validator(mode="after")
    def _one(self) -> Reselect:
        if len(named(self, Database)) != 1:
            there = " or ".join(kinds(type(self), Database))
            raise ValueError(f"either {there} must be set, and only one of them")
        return self

    @property
    def database(self) -> Database:
        """The one that is set."""
        return one(self, Database)[1]


def _fitting(table: str, info: ValidationInfo) -> str:
    format_ = info.data.get("format")
    if format_ is not None and (wrong := format_.misnamed(table)):
        raise ValueError(wrong)
    return table


Table = Annotated[str, AfterValidator(_fitting)]
"""A table's name, as the format of the same pipeline has them."""


def _under(where: Callable[[tuple[str, ...]], str], above: tuple[str, ...], place: tuple[str, ...]) -> str:
    return where((*above, *place))


class Pipeline(Model):
    """A pipeline file."""

    name: Name
    source: Source
    format: Format
    documents: dict[Table, Document] = Field(default_factory=dict)
    profiles: Profiles | None = None
    feedback: Feedback | None = None
    embedding: Embedding = Embedding()
    store: Store
    dead_letters: DeadLetters
    outcomes: Outcomes | None = None
    reselect: Reselect | None = None
    delete_retention: str = Field("7 d", pattern=r"^[1-9][0-9]{0,5} ?(s|min|h|d)$")
    parallelism: int = Field(1, ge=1, le=128)
    flink: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @field_validator("format", mode="before")
    @classmethod
    def _by_name(cls, format_: Any) -> Any:
        if not isinstance(format_, str):
            return format_
        if format_ not in FORMATS:
            raise ValueError(f"must be one of {', '.join(FORMATS)}, or a mapping of one of them to its options")
        return {format_: {}}

    @model_validator(mode="after")
    def _one_job(self) -> Pipeline:
        asked = [name for name, of in KINDS.items() if of(self) is not None]
        if len(asked) != 1:
            both = "both " if len(asked) == 2 else ""
            named = f"{both}{' and '.join(asked)} are" if asked else f"neither {' nor '.join(KINDS)} is"
            raise ValueError(f"{named} set; a pipeline file has one of them")
        if misfit := self.job.misfit(self.format, self.embedding, self.store):
            raise ValueError(misfit)
        if isinstance(self.job, FeedbackJob) and self.reselect is not None:
            raise ValueError("reselect reads rows again, and conversations are none: leave it out")
        return self

    @model_validator(mode="after")
    def _sources_can_be_distinguished(self) -> Pipeline:
        for table, document in self.documents.items():
            if not document.id_from_source:
                continue
            if not self.format.chosen.of_many:
                raise ValueError(
                    f"documents.{table}.id_from_source is for format: {' or '.join(OF_MANY)}, whose events name theirs"
                )
            if self.reselect is not None:
                raise ValueError(
                    f"documents.{table}.id_from_source is set, and reselect names one database, in which rows of the "
                    "others would be looked up: leave one of them out"
                )
        return self

    @model_validator(mode="after")
    def _source_fits_the_format(self) -> Pipeline:
        if misfit := self.format.misfit(self.source):
            raise ValueError(misfit)
        name, whose = self.format.name, self.format.chosen.one
        if whose and len(self.documents) != 1:
            named = " and ".join(self.documents) or "nothing"
            raise ValueError(f"documents names {named}; with format: {name} it must have one name, {whose}")
        return self

    @model_validator(mode="after")
    def _letters_have_a_place(self) -> Pipeline:
        if misfit := self.dead_letters.chosen.misfit(self.source.chosen, self.documents):
            raise ValueError(misfit)
        return self

    @model_validator(mode="after")
    def _outcomes_have_a_topic(self) -> Pipeline:
        if self.outcomes is None:
            return self
        if misfit := self.outcomes.misfit(self.source.chosen, self.dead_letters.chosen, bool(self.documents)):
            raise ValueError(misfit)
        return self

    @field_validator("flink")
    @classmethod
    def _not_ours(cls, flink: dict[str, Any]) -> dict[str, Any]:
        taken = [name for name in flink if name in _OURS_IN_FLINK]
        if taken:
            raise ValueError(f"{', '.join(taken)} is set by Freshet, because kept state depends on it; leave it out")
        return flink

    def locate(self, where: Callable[[tuple[str, ...]], str]) -> None:
        """See `Model.locate`: of KPIs, whose SQL Flink's planner looks at."""
        for name, kpi in (self.feedback.kpis if self.feedback else {}).items():
            kpi.locate(partial(_under, where, ("feedback", "kpis", name)))

    def place(self, store: str) -> str:
        """Where this pipeline writes in a store, in the store's own words, as in `table chunks`."""
        return self.store.targets[store].place(self.name)

    @property
    def kafka(self) -> Kafka:
        """The source's Kafka cluster and topics. Raises ConfigError where the source isn't Kafka."""
        if not isinstance(self.source.chosen, Kafka):
            raise ConfigError(["source: this needs source.kafka; other sources have no topic to read or write"])
        return self.source.chosen

    @property
    def letters(self) -> Kafka:
        """The dead letters' Kafka cluster: their own, else the source's. Raises ConfigError where neither is."""
        target = self.dead_letters.chosen
        return (target.cluster if isinstance(target, DeadLetterTopic) else None) or self.kafka

    @property
    def outcomes_topic(self) -> tuple[Kafka, str]:
        """The cluster of the outcomes and their topic. Raises ConfigError where the file asks for none."""
        if self.outcomes is None:
            raise ConfigError([f"{self.name}: outcomes is missing: outcomes.kafka.topic names where they are written"])
        return self.outcomes.kafka.cluster or self.kafka, self.outcomes.kafka.topic

    @property
    def reads_kafka(self) -> bool:
        """Whether the source is Kafka."""
        return isinstance(self.source.chosen, Kafka)

    @property
    def database(self) -> Database | None:
        """The database that rows are read again from; None where the file names none."""
        return None if self.reselect is None else self.reselect.database

    @property
    def delete_retention_ms(self) -> int:
        """How long deleted documents are remembered, so that late changes stay refused."""
        return milliseconds(self.delete_retention)

    @property
    def events(self) -> Events:
        """How its events are written, where they come from, and which tables they tell of."""
        return Events(self.format, self.source, self.job)

    @property
    def job(self) -> Job:
        """What the pipeline makes, as the file says it."""
        return next(job for of in KINDS.values() if (job := of(self)) is not None)

    @property
    def kind(self) -> str:
        """Which kind of job that is, by the name of its part of the file."""
        return next(name for name, of in KINDS.items() if of(self) is not None)

    @property
    def profiles_job(self) -> ProfilesJob:
        """The job that makes profiles. Raises ConfigError where the file makes something else."""
        job = self.job
        if not isinstance(job, ProfilesJob):
            raise ConfigError([f"profiles is missing: this pipeline file makes {self.kind}"])
        return job

    @property
    def feedback_job(self) -> FeedbackJob:
        """The job that makes KPIs. Raises ConfigError where the file makes something else."""
        job = self.job
        if not isinstance(job, FeedbackJob):
            raise ConfigError([f"feedback is missing: this pipeline file makes {self.kind}"])
        return job

    @property
    def makes_feedback(self) -> bool:
        """Whether the pipeline makes KPIs of conversations."""
        return isinstance(self.job, FeedbackJob)

    @property
    def vector_stores(self) -> tuple[str, ...]:
        """The stores that it writes vectors to: of feedback none, though some of the same name hold its KPIs."""
        return () if self.makes_feedback else self.store.names

    @property
    def makes_profiles(self) -> bool:
        """Whether the pipeline makes profiles."""
        return isinstance(self.job, ProfilesJob)

    @property
    def flink_options(self) -> dict[str, str]:
        """Flink's own options, as text."""
        return {name: option(value) for name, value in self.flink.items()}
