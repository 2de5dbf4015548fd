"""A first run that makes nothing but dead letters stops, and says why."""

from __future__ import annotations

import re

from connectors.kafka.producer import ensure_topics, produce
from core.formats.recordings import Record
from tests.flink_jobs.conftest import Workshop
from tests.flink_jobs.events import envelope, key, row


def test_a_misspelt_column_stops_the_first_run_with_its_reason(workshop: Workshop) -> None:
    ensure_topics(workshop.bootstrap_servers, {workshop.topic: 1})
    rows = (Record(workshop.topic, key(at), envelope(at, row(at, "text"))) for at in range(1, 1201))
    # one of the last events has the column: a run looks at those before it starts
    late = Record(workshop.topic, key(1201), envelope(1201, {**row(1201, "text"), "titel": "t"}))
    produce(workshop.bootstrap_servers, (*rows, late))
    pipeline = workshop.pipeline(bounded=False, documents={"public.documents": {"text": "{titel} {body}"}})
    printed = workshop.freshet("run", pipeline, ok=False)
    assert re.search(r"documents: stopped: [\d,]+ of its first 1,\d+ changes became dead letters", printed)
    assert "titel" in printed and " --rebuild" in printed
