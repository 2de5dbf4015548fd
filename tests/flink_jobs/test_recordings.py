"""The recording of every kind of event, through the whole job: what is stored in the end is what the tables hold."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from tests.flink_jobs.conftest import Workshop
from tests.replay import FIXTURES, differences

DOCUMENTS = {
    "public.items": {
        "text": "{name}\n\n{body}\n\n{price} {d} {created} {extra|}",
        "metadata": ["price"],
        "types": {"price": "numeric(10,2)", "d": "date", "created": "timestamptz"},
    },
    "public.items_full": {
        "text": "{name}\n\n{body}\n\n{price}",
        "types": {"price": "numeric(10,2)"},
    },
    "public.compo": {"text": "{title|heading}"},
    "public.toast": {"text": "{t}\n\n{nn}"},
    "public.numpk": {"text": "{k2}", "types": {"id": "numeric(20,0)"}},
    "public.svs": {"text": "{name|up}"},
    "public.nopk": {"text": "{a} {b}", "types": {"a": "integer"}},
}


def recording(workshop: Workshop, partitions: int) -> Path:
    """The recorded events in topics of the workshop's, each with so many partitions; a key's events stay in order."""
    path = workshop.folder / "events.jsonl"
    with gzip.open(FIXTURES / "events.jsonl.gz", "rt", encoding="utf-8") as lines, path.open("w") as out:
        for line in lines:
            event = json.loads(line)
            event["topic"] = workshop.prefix + event["topic"].removeprefix("p")
            event["partition"] %= partitions
            out.write(json.dumps(event) + "\n")
    return path


def true_texts() -> dict[str, str]:
    texts = {
        "items": "{name}\n\n{body}\n\n{price} {d} {created} {extra}",
        "items_full": "{name}\n\n{body}\n\n{price}",
        "compo": "{heading}",
        "toast": "{t}\n\n{nn}",
        "svs": "{name}",
        "numpk": "{k2}",
    }
    keys = {"compo": ["tenant", "id"]}
    found = {}
    for table, text in texts.items():
        with gzip.open(FIXTURES / f"events_final_{table}.csv.gz", "rt", newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                key = "/".join(row[name] for name in keys.get(table, ["id"]))
                found[f"public.{table}/{key}"] = text.format(**row)
    return found


@pytest.mark.parametrize(("partitions", "parallelism"), [(1, 1), (2, 2), (3, 1), (3, 2)])
def test_every_kind_of_event_ends_in_the_true_tables(workshop: Workshop, partitions: int, parallelism: int) -> None:
    events = recording(workshop, partitions)
    workshop.freshet("produce", "--bootstrap-servers", workshop.bootstrap_servers, "--recording", events)
    pipeline = workshop.pipeline(parallelism=parallelism, documents=DOCUMENTS)
    print(workshop.freshet("run", pipeline))
    stored = workshop.rows()
    assert differences(stored, true_texts()) == []
    assert not any("unavailable_value" in text for document, _, text in stored if document != "public.toast/2")
    reasons = {headers["freshet.reason"].decode() for _, _, headers in workshop.letters()}
    assert all("public.nopk has no primary key" in reason for reason in reasons), reasons
    assert reasons
