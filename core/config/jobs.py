"""What a pipeline makes: documents, profiles, or KPIs. Each is a kind of job, with what the file says of it.

A kind that is added has its class here and an entry of `KINDS`, its part of the file as a field of `Pipeline`; what
builds it stands in `flink_jobs.job`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

from core.change import Change
from core.config.documents import Chunk, Document
from core.config.embedding import Embedding
from core.config.feedback import Feedback
from core.config.format import Format
from core.config.profiles import Profiles, Record
from core.config.store import Store
from core.documents.step import DocumentSpec, document_id
from core.profiles.delivery import TABLE
from core.profiles.records import read_as, record_id


class Pipeline(Protocol):
    """As much of a pipeline file as a kind of job reads."""

    @property
    def documents(self) -> Mapping[str, Document]:
        """Those of the file; none where it is of profiles."""
        ...

    @property
    def profiles(self) -> Profiles | None:
        """Those of the file."""
        ...

    @property
    def feedback(self) -> Feedback | None:
        """KPIs of conversations."""
        ...

    @property
    def embedding(self) -> Embedding:
        """What makes vectors."""
        ...


class Job(Protocol):
    """A kind of job, as a pipeline file has it.

    setting  where the file has its tables, as in `profiles.records`
    """

    setting: ClassVar[str]

    @property
    def tables(self) -> Mapping[str, Document | Record]:
        """What the file says of each table."""
        ...

    @property
    def used(self) -> dict[str, frozenset[str]]:
        """Table to the columns whose values are shown."""
        ...

    @property
    def of_one_source(self) -> frozenset[str]:
        """The tables that may come from one database alone: all whose rows' ids don't say which it is."""
        ...

    @property
    def keyed(self) -> dict[str, Callable[[Change], str]]:
        """Table to what its changes are keyed by. The functions raise ChangeError for rows that have no key."""
        ...

    @property
    def texts(self) -> dict[str, DocumentSpec]:
        """How the texts that get vectors are made, by the first part of their documents' ids."""
        ...

    @property
    def chunks(self) -> dict[str, Chunk]:
        """How texts are cut, by the first part of their documents' ids."""
        ...

    @property
    def rules(self) -> dict[str, str]:
        """What state of the job is of no use without, by the setting that says it; in words, as JSON."""
        ...

    def read_as(self, table: str) -> DocumentSpec:
        """What `core.stores.source` reads of a table's rows in the source itself: the columns used, and the key."""
        ...

    def misfit(self, format_: Format, embedding: Embedding, store: Store) -> str:
        """What other parts of the file, or its own, don't fit it; "" where all do."""
        ...

    def typed(self, types: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """The pipeline's fields that are others where its tables' columns have these SQL types."""
        ...


@dataclass(frozen=True, slots=True)
class DocumentsJob:
    """Rows become documents, and vectors of their texts."""

    setting: ClassVar[str] = "documents"

    tables: Mapping[str, Document]

    @property
    def used(self) -> dict[str, frozenset[str]]:
        """See `Job.used`."""
        return {table: each.used for table, each in self.tables.items()}

    @property
    def of_one_source(self) -> frozenset[str]:
        """See `Job.of_one_source`."""
        return frozenset(table for table, each in self.tables.items() if not each.id_from_source)

    @property
    def keyed(self) -> dict[str, Callable[[Change], str]]:
        """See `Job.keyed`: by document."""
        return {table: partial(document_id, each.spec(table)) for table, each in self.tables.items()}

    @property
    def texts(self) -> dict[str, DocumentSpec]:
        """See `Job.texts`."""
        return {table: each.spec(table) for table, each in self.tables.items()}

    @property
    def chunks(self) -> dict[str, Chunk]:
        """See `Job.chunks`."""
        return {table: each.chunk for table, each in self.tables.items()}

    @property
    def rules(self) -> dict[str, str]:
        """See `Job.rules`: none, as each document is made of one row."""
        return {}

    def read_as(self, table: str) -> DocumentSpec:
        """See `Job.read_as`."""
        return self.tables[table].spec(table)

    def misfit(self, format_: Format, embedding: Embedding, store: Store) -> str:
        """See `Job.misfit`."""
        if embedding.text is not None:
            return "embedding.text is the text of profiles; documents have theirs in documents.….text"
        if store.of_profiles:
            some = store.some("vectors")
            return f"store.{store.of_profiles[0]} is for profiles; documents go to {some}"
        return _without_rows(format_) or _without_key(self, format_)

    def typed(self, types: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """See `Job.typed`."""
        found = {table: each.model_copy(update={"types": types[table]}) for table, each in self.tables.items()}
        return {"documents": found}


@dataclass(frozen=True, slots=True)
class ProfilesJob:
    """Records become profiles of persons, and vectors of the profiles' texts. `text` is their template."""

    setting: ClassVar[str] = "profiles.records"

    profiles: Profiles
    text: str

    @property
    def tables(self) -> Mapping[str, Record]:
        """See `Job.tables`."""
        return self.profiles.records

    @property
    def used(self) -> dict[str, frozenset[str]]:
        """See `Job.used`."""
        return {table: each.shown for table, each in self.tables.items()}

    @property
    def of_one_source(self) -> frozenset[str]:
        """See `Job.of_one_source`: all of them."""
        return frozenset(self.tables)

    @property
    def keyed(self) -> dict[str, Callable[[Change], str]]:
        """See `Job.keyed`: by record."""
        return {table: partial(record_id, self.profiles.spec(table)) for table in self.tables}

    @property
    def texts(self) -> dict[str, DocumentSpec]:
        """See `Job.texts`: of profiles, whatever their records' tables."""
        return {TABLE: DocumentSpec(TABLE, self.text)}

    @property
    def chunks(self) -> dict[str, Chunk]:
        """See `Job.chunks`: of profiles, whatever their records' tables."""
        return {TABLE: Chunk()}

    @property
    def rules(self) -> dict[str, str]:
        """See `Job.rules`: who is whom."""
        return self.profiles.rules

    def read_as(self, table: str) -> DocumentSpec:
        """See `Job.read_as`."""
        return read_as(self.profiles.spec(table))

    def misfit(self, format_: Format, embedding: Embedding, store: Store) -> str:
        """See `Job.misfit`."""
        if not store.of_profiles:
            there = " and ".join(f"store.{name}" for name in store.holding("profiles"))
            return f"{there} are missing: profiles are kept there, their vectors in the others"
        if format_.objects is not None:
            return "format is of objects; profiles are made of tables' rows"
        for table in self.tables:
            if wrong := format_.misnamed(table):
                return f"{self.setting}.{table} {wrong}"
        if wrong := _without_rows(format_):
            return wrong
        if wrong := _without_key(self, format_):
            return wrong
        wrong = self.profiles.misfit(embedding.text)
        return f"embedding.text {wrong}" if wrong else ""

    def typed(self, types: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """See `Job.typed`."""
        found = {table: each.model_copy(update={"types": types[table]}) for table, each in self.tables.items()}
        return {"profiles": self.profiles.model_copy(update={"records": found})}


@dataclass(frozen=True, slots=True)
class FeedbackJob:
    """Conversations become KPIs: rows of a time and a group, each kept up to date by a query in Flink SQL."""

    setting: ClassVar[str] = "feedback.kpis"

    feedback: Feedback

    @property
    def tables(self) -> Mapping[str, Document | Record]:
        """See `Job.tables`: none, as conversations aren't rows of one."""
        return {}

    @property
    def used(self) -> dict[str, frozenset[str]]:
        """See `Job.used`."""
        return {}

    @property
    def of_one_source(self) -> frozenset[str]:
        """See `Job.of_one_source`."""
        return frozenset()

    @property
    def keyed(self) -> dict[str, Callable[[Change], str]]:
        """See `Job.keyed`."""
        return {}

    @property
    def texts(self) -> dict[str, DocumentSpec]:
        """See `Job.texts`: none that gets a vector."""
        return {}

    @property
    def chunks(self) -> dict[str, Chunk]:
        """See `Job.chunks`."""
        return {}

    @property
    def rules(self) -> dict[str, str]:
        """See `Job.rules`: what the rows were counted by."""
        said = {"feedback.late": self.feedback.late, "feedback.sentiment": self.feedback.sentiment.name}
        for name in sorted(self.feedback.kpis):
            query = self.feedback.query(name)
            lines = (line for line in query.sql.splitlines() if not line.lstrip().startswith("--"))
            said[f"{self.setting}.{name}"] = f"{' '.join(' '.join(lines).split())} BY {', '.join(query.key)}"
        return said

    def read_as(self, table: str) -> DocumentSpec:
        """See `Job.read_as`. Raises KeyError: there is no table."""
        raise KeyError(table)

    def misfit(self, format_: Format, embedding: Embedding, store: Store) -> str:
        """See `Job.misfit`."""
        if format_.chosen.of_rows:
            return f"format is {format_.name}; feedback is made of conversations"
        if embedding != Embedding():
            return "embedding makes vectors, and feedback has none: leave it out"
        places = {place for kpi in self.feedback.kpis.values() for place in kpi.to}
        for place in sorted(places - store.targets.keys()):
            return f"store.{place} is missing: KPIs go to it"
        for name, target in store.targets.items():
            if name not in places:
                return f"store.{name} is set, and no KPI goes to it"
            for setting in sorted(target.of_vectors & target.model_fields_set):
                return f"store.{name}.{setting} is of vectors, and KPIs have none: leave it out"
        return ""

    def typed(self, types: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """See `Job.typed`."""
        return {}


def _without_rows(format_: Format) -> str:
    return "" if format_.chosen.of_rows else f"format is {format_.name}, which feedback alone is made of"


def _without_key(job: Job, format_: Format) -> str:
    why = format_.chosen.no_keys
    table = next((table for table, each in job.tables.items() if why and not each.key), None)
    return "" if table is None else f"{job.setting}.{table}.key is missing: {why}"


def _of_documents(pipeline: Pipeline) -> DocumentsJob | None:
    return DocumentsJob(pipeline.documents) if pipeline.documents else None


def _of_profiles(pipeline: Pipeline) -> ProfilesJob | None:
    return None if pipeline.profiles is None else ProfilesJob(pipeline.profiles, pipeline.embedding.text or "")


def _of_feedback(pipeline: Pipeline) -> FeedbackJob | None:
    return None if pipeline.feedback is None else FeedbackJob(pipeline.feedback)


KINDS: Mapping[str, Callable[[Pipeline], Job | None]] = {
    "documents": _of_documents,
    "profiles": _of_profiles,
    "feedback": _of_feedback,
}
"""By the names of the pipeline file's parts: the job that a file asks for there; None where it doesn't."""
