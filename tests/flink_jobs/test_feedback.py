"""KPIs equal what all events at once come to, to the row: shuffled, late and repeated, and through a kill."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from connectors.kafka.producer import ensure_topics
from core.formats.recordings import Record
from tests.connectors.servers import Server
from tests.flink_jobs.conftest import Workshop, eventually, kill
from tests.flink_jobs.feedback import KPIS, Rows, as_row, changelog, events, expected, indexed, pipeline, stores, turns
from tests.topics import delivering

SECOND_NS = 1_000_000_000
FAST = {"execution.checkpointing.interval": "500 ms"}
NOBODY = (
    b'{"event": "feedback", "id": "nobody", "conversation": null, "at": "%s", "tenant": "acme", "rating": 1,'
    b' "scale": "thumbs", "comment": null}'
)
BAD = {
    b"{": "no turn and no feedback",
    b'{"event": "feedback", "id": "x", "conversation": null, "at": "1970-01-01T00:00:00Z", "tenant": "acme",'
    b' "rating": 1, "scale": "thumbs", "comment": null}': "a clock is wrong",
}


def send(workshop: Workshop, records: list[tuple[int, bytes]]) -> None:
    """Values with the times at which they were written, in ms, to two partitions in turn."""
    topic = f"{workshop.prefix}.public.conversations"
    ensure_topics(workshop.bootstrap_servers, {topic: 2})
    with delivering(workshop.bootstrap_servers) as producer:
        for at, (written_ms, value) in enumerate(records):
            producer.produce(topic, value=value, partition=at % 2, timestamp=written_ms)


def written(records: list[Record], begin_ns: int, apart_ns: int, chance: random.Random) -> list[tuple[int, bytes]]:
    """Records as they may come: a tenth are repeated, of ratings a tenth come at the end, neighbours are swapped."""
    values = [each.value or b"" for each in records]
    late = [value for value in values if b'"feedback"' in value and chance.random() < 0.1]
    in_time = [value for value in values if value not in late]
    for at in range(0, len(in_time), 10):
        part = in_time[at : at + 10]
        chance.shuffle(part)
        in_time[at : at + 10] = part
    again = [value for value in values if chance.random() < 0.1]
    ends_ms = (begin_ns + apart_ns * len(values)) // 1_000_000
    behind = [*late, *again]
    chance.shuffle(behind)
    step_ms = apart_ns // 1_000_000
    # behind its time by as much as it was moved
    first = [(begin_ns // 1_000_000 + step_ms * (at + 20), value) for at, value in enumerate(in_time)]
    return [*first, *((ends_ms + 60_000 + at, value) for at, value in enumerate(behind))]


def near(found: object, wanted: object) -> bool:
    """Whether they are equal, but for the digits that a DECIMAL(9, 6) hasn't."""
    if isinstance(found, float | Decimal) and isinstance(wanted, float | int):
        return abs(float(found) - wanted) < 1e-5
    return found == wanted


def differences(workshop: Workshop, wanted: Rows) -> list[object]:
    """What of the KPIs' rows is otherwise than it should be."""
    wrong: list[object] = []
    for kpi, rows in wanted.items():
        key = len(next(iter(rows)))
        found = {tuple(row[:key]): tuple(row[key:]) for row in workshop.rows(f"TABLE feedback_{kpi}")}
        wrong += [(kpi, name) for name in found.keys() ^ rows.keys()]
        wrong += [
            (kpi, name, found[name], rows[name])
            for name in found.keys() & rows.keys()
            if not all(map(near, found[name], rows[name]))
        ]
    return wrong


def test_kpis_equal_what_all_events_at_once_come_to(workshop: Workshop, opensearch_server: Server) -> None:
    apart_ns = 150_000_000
    begin_ns = time.time_ns() - 20 * 60 * SECOND_NS
    made = events(1_500, 5, begin_ns, apart_ns)
    wanted = expected(turns([each.value or b"" for each in made]))
    assert set(wanted) == set(KPIS)
    sent = written(made, begin_ns, apart_ns, random.Random(5))
    an_hour_ago = datetime.fromtimestamp(begin_ns / 1e9, UTC) - timedelta(hours=1)
    nobody = NOBODY % an_hour_ago.isoformat().encode()
    early_ms = int(an_hour_ago.timestamp() * 1000)
    half = len(sent) // 2
    send(workshop, [(early_ms, nobody), *sent[:half], *((sent[half][0], value) for value in BAD)])

    file = pipeline(workshop, bounded=False, flink=FAST, store=stores(workshop, opensearch_server))
    with workshop.running(file) as job:
        eventually(lambda: job.poll() is not None or kept(workshop), "rows, and a checkpoint behind them")
        assert job.poll() is None, workshop.printed()
        send(workshop, sent[half : half + half // 2])
        kill(job)
    with workshop.running(file) as job:
        send(workshop, sent[half + half // 2 :])
        eventually(lambda: job.poll() is not None or not differences(workshop, wanted), "the KPIs")
        assert job.poll() is None, workshop.printed()
        eventually(lambda: len(workshop.letters()) == len(BAD) + 1, "the dead letters")
    assert "resuming from chk-" in workshop.printed()
    assert differences(workshop, wanted) == []
    rows = {(*row[:4], float(row[4] or 0), *row[5:]) for row in workshop.rows("TABLE feedback_by_model")}
    for others in (changelog(workshop, "by_model"), indexed(workshop, opensearch_server, "by_model")):
        assert {(*row[:4], float(row[4] or 0), *row[5:]) for row in map(as_row, others)} == rows
    reasons = {value: headers["freshet.reason"].decode() for _, value, headers in workshop.letters()}
    assert reasons.keys() == {*BAD, nobody}
    assert all(reason in reasons[value] for value, reason in BAD.items())
    assert "no turn of this tenant and id came within 1 h" in reasons[nobody]


def kept(workshop: Workshop) -> bool:
    """Whether a checkpoint has been completed since there were rows."""
    if not workshop.rows("SELECT to_regclass('feedback_satisfaction') IS NOT NULL")[0][0]:
        return False
    if not workshop.rows("SELECT count(*) FROM feedback_satisfaction")[0][0]:
        return False
    taken = workshop.folder.glob(".freshet/pipelines/feedback/checkpoints/*/chk-*/_metadata")
    return any(int(each.parent.name.removeprefix("chk-")) > 3 for each in taken)
