"""`freshet verify` of a pipeline of profiles: the sources' rows, linked and merged at once, against every store."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice

from connectors.opening.stores import profile_stores, stores_of
from core.config.documents import Chunk
from core.config.pipeline import Pipeline
from core.config.profiles import Profiles
from core.errors import ProfileError
from core.plans import Plan
from core.profiles.delivery import TABLE, Delivery, plans_of, texts_of
from core.profiles.merging import Profile
from core.profiles.records import read_as
from core.profiles.step import ProfileChanges
from core.stores.contract import ProfileStore, VectorStore
from core.stores.profile_verification import Said, Whole, changed, compared, document, said_by, whole
from core.stores.source import Source
from core.stores.verification import Difference, Kind, Sample, compare, compare_vectors, least_cosine
from operations.servers import stores
from operations.verify.one_pass import ROWS_AT_ONCE, Findings
from operations.verify.stream import Progress
from udfs.embedding.embedder import embed_each, embedder
from udfs.embedding.tokenizing import document_chunker

NO_REPAIR = (
    "--repair mends documents. Of profiles: write the rows again that the profile is made of, or start the job "
    "--without-state, which tells the stores all anew"
)

_LOOKS = 3
_AT_ONCE = 200

Found = list[tuple[str, Difference]]
"""Differences with their stores."""


@dataclass(slots=True)
class ProfilesPass:
    """The comparison at work. All that the rows say is in memory, as the job has it in its state.

    progress  as of `operations.verify.one_pass.Pass`
    """

    pipeline: Pipeline
    source: Source
    stream: Progress
    progress: Callable[[str, int, int], object]
    findings: Findings = field(default_factory=Findings)

    def run(self, sample: int | None) -> Findings:
        """Compare everything; `sample` profiles with their vectors, None: all of them."""
        with ExitStack() as opened:
            kept, vectors = profile_stores(stores_of(self.pipeline)), stores(self.pipeline)
            for of_profiles in kept.values():
                opened.enter_context(closing(of_profiles))
            for of_vectors in vectors.values():
                opened.enter_context(closing(of_vectors))
            self.findings.compared = [(TABLE, name) for name in (*kept, *vectors)]
            self.stream.passed()
            for look in range(1, _LOOKS + 1):
                found, moving = self._look(kept, vectors, sample)
                if not moving or look == _LOOKS:
                    break
        for name, difference in found:
            self.findings.add(name, difference)
        self.findings.moving = moving
        self.findings.lag = self.stream.lag
        return self.findings

    def _look(
        self, kept: Mapping[str, ProfileStore], vectors: Mapping[str, VectorStore], sample: int | None
    ) -> tuple[Found, int]:
        """What stands of what differs, and how many profiles changed meanwhile."""
        before = self._read()
        if not [*self._of_kept(before, kept), *self._of_vectors(kept, vectors, sample)]:
            return [], 0
        self.stream.passed()
        # the stores first: what they have then can't be newer than the rows
        held = {name: store.everything() for name, store in kept.items()}
        of_vectors = self._of_vectors(kept, vectors, sample)
        after = self._read()
        merging = self.pipeline.profiles_job.profiles.merging
        found = [(name, each) for name, there in held.items() for each in compared(after, *there, merging)]
        moving = {document(name) for name in changed(before, after)}
        found += of_vectors
        return (
            [(name, each) for name, each in found if each.document_id not in moving],
            len({each.document_id for _, each in found} & moving),
        )

    def _read(self) -> Whole:
        self.findings.barren = Counter()
        found = read_whole(self.pipeline, self.source, self._refuse, self.progress)
        self.findings.rows[TABLE] = len(found.profiles)
        return found

    def _refuse(self, table: str, error: ProfileError) -> None:
        self.findings.barren[table] += 1
        self.findings.reason = self.findings.reason or str(error)

    def _of_kept(self, true: Whole, kept: Mapping[str, ProfileStore]) -> Found:
        merging = self.pipeline.profiles_job.profiles.merging
        return [(name, each) for name, store in kept.items() for each in compared(true, *store.everything(), merging)]

    def _of_vectors(
        self, kept: Mapping[str, ProfileStore], vectors: Mapping[str, VectorStore], sample: int | None
    ) -> Found:
        """What of the documents `profiles/ID` isn't what the first profile store's profiles make."""
        if not vectors:
            return []
        profiles, _ = next(iter(kept.values())).everything()
        plans = {document(name): plan_of(self.pipeline, profile) for name, profile in profiles.items()}
        whole = [name for name, plan in plans.items() if plan.chunk_ids]
        chosen = Sample[str](len(whole) if sample is None else sample, 0)
        for name in whole:
            chosen.offer(name, name)
        with_vectors = frozenset(chosen.items())
        self.findings.sampled, self.findings.vectored = len(with_vectors), len(whole)
        return [(name, each) for name, store in vectors.items() for each in self._of_store(store, plans, with_vectors)]

    def _of_store(
        self, store: VectorStore, plans: Mapping[str, Plan], with_vectors: frozenset[str]
    ) -> Iterator[Difference]:
        names = iter(plans)
        while page := list(islice(names, _AT_ONCE)):
            there = store.read(page)
            for name in page:
                difference, stored = compare(plans[name], there.get(name)), there.get(name)
                if difference is None and stored is not None and name in with_vectors:
                    texts = [chunk.text for chunk in plans[name].write]
                    embedding = self.pipeline.embedding
                    made, errors = embed_each(embedder(embedding), texts)
                    least = least_cosine(embedding.rounded)
                    difference = None if errors else compare_vectors(plans[name], stored, made, least)
                if difference is not None:
                    yield difference
        for name in store.document_ids():
            if name not in plans:
                ours = name.startswith(f"{TABLE}/")
                what = "there is no such profile" if ours else "it is no profile"
                yield Difference(name, Kind.GHOST if ours else Kind.FOREIGN, what)


def plan_of(pipeline: Pipeline, profile: Profile) -> Plan:
    """The document that a profile is in the vector stores."""
    embedding = pipeline.embedding
    changes = ProfileChanges((profile,))
    delivery = Delivery(0, 0, "", changes, texts_of(changes, pipeline.profiles_job.text))
    (plan,) = plans_of(delivery, embedding.model, document_chunker(embedding, Chunk()))
    return plan


def read_whole(
    pipeline: Pipeline,
    source: Source,
    refused: Callable[[str, ProfileError], object],
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> Whole:
    """What the rows come to now, as one state of the source has them. `refused` hears of those that can't be used."""
    profiles, now_ms = pipeline.profiles_job.profiles, time.time_ns() // 1_000_000
    linking = profiles.linking(pipeline.delete_retention_ms)
    return whole(_rows(profiles, source, now_ms, refused, progress), linking, profiles.merging, now_ms)


def _rows(
    profiles: Profiles,
    source: Source,
    now_ms: int,
    refused: Callable[[str, ProfileError], object],
    progress: Callable[[str, int, int], object],
) -> Iterator[Said]:
    with source.snapshot() as state:
        for table in profiles.records:
            spec = profiles.spec(table)
            key, columns = source.key(table), source.columns(read_as(spec))
            total, read = state.count(table), 0
            for batch in state.rows(table, columns, ROWS_AT_ONCE):
                read += len(batch)
                for raw in batch:
                    try:
                        yield said_by(source.as_in_events(table, raw), key, spec, profiles.reading, now_ms)
                    except ProfileError as error:
                        refused(table, error)
                progress(table, read, total)
