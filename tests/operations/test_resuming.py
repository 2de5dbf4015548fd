"""Before a job starts: the state it would go on from is held against the log that is there. No Flink is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from connectors.opening.log_identity import Asked
from core.change import Skip
from core.config.file import load
from core.config.log_identity import LogIdentity
from core.config.pipeline import Pipeline
from core.errors import ConfigError, OtherLog
from core.metrics.figures import Figure, counts
from operations import log_record, log_watch, resuming
from operations.log_watch import LogWatch
from operations.reporting import Line, unheard
from operations.resuming import goes_on_from, resumed
from tests.operations.test_status import PIPELINE

LOG = LogIdentity(
    "debezium", {"topic changes": "aaaa"}, {"PostgreSQL's timeline": "1"}, {"public.documents": "shop:app"}
)
ANEW = replace(LOG, logs={"topic changes": "bbbb"})
RESTORED = replace(LOG, databases={"PostgreSQL's timeline": "2"})
JOB = "0123456789abcdef0123456789abcdef"


class Bench:
    """A pipeline's folder, with servers that tell what the test says."""

    def __init__(self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pipeline = pipeline
        self.asked = Asked(LOG)
        monkeypatch.setattr(resuming, "ask", lambda _: self.asked)

    def begin(self, without_state: bool = False, same_log: bool = False) -> tuple[str | None, str]:
        """What a run would resume from, and what it prints."""
        lines: list[Line] = []
        begun = resumed(self.pipeline, lines.append, without_state, same_log)
        return begun.state, "".join(f"{line.head}{line.rest}\n" for line in lines)

    def ran(self, job: str, state: str) -> None:
        """A job was submitted, and left a state."""
        log_record.submitted(self.pipeline, job)
        left = Path(".freshet/pipelines/documents") / state
        left.mkdir(parents=True)
        (left / "_metadata").write_bytes(b"x")

    def tells(self, log: LogIdentity) -> None:
        self.asked = Asked(log)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    return Bench(load(tmp_path / "pipeline.yaml"), monkeypatch)


STATES = [f"checkpoints/{JOB}/chk-12", f"savepoints/savepoint-{JOB[:6]}-89abcdef0123"]


@pytest.mark.parametrize("state", STATES)
def test_the_same_log_is_gone_on_with(bench: Bench, state: str) -> None:
    assert bench.begin() == (None, "documents: starting without earlier state\n")
    bench.ran(JOB, state)
    began, printed = bench.begin()
    assert began is not None and began.endswith(state) and printed == f"documents: resuming from {Path(state).name}\n"


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("log", [ANEW, RESTORED, replace(LOG, order="rows by arrival")])
def test_another_log_is_refused_until_the_user_says_how_to_go_on(bench: Bench, state: str, log: LogIdentity) -> None:
    bench.begin()
    bench.ran(JOB, state)
    bench.tells(log)
    for _ in range(2):
        with pytest.raises(OtherLog, match=r"(?s)documents: .*Nothing was read.*--without-state.*--same-log"):
            bench.begin()
    began, _ = bench.begin(same_log=True)
    assert began is not None
    # it was said once: the next state is of the log as it is now
    bench.ran("fedcba98" * 4, f"checkpoints/{'fedcba98' * 4}/chk-1")
    assert bench.begin()[0] is not None
    bench.tells(LOG)
    with pytest.raises(OtherLog):
        bench.begin()


def test_check_says_what_a_run_would_do(bench: Bench) -> None:
    assert goes_on_from(bench.pipeline) == ""
    bench.begin()
    bench.ran(JOB, STATES[0])
    assert goes_on_from(bench.pipeline) == "chk-12"
    bench.tells(ANEW)
    with pytest.raises(OtherLog, match="topic changes was made anew since chk-12"):
        goes_on_from(bench.pipeline)
    assert log_record.log_of(bench.pipeline, Path(STATES[0])) == LOG, "and writes nothing down"


def test_a_run_without_state_that_left_none_does_not_vouch_for_an_older_state(bench: Bench) -> None:
    bench.begin()
    bench.ran(JOB, STATES[0])
    bench.tells(ANEW)
    assert bench.begin(without_state=True)[0] is None
    log_record.submitted(bench.pipeline, "f" * 32)
    with pytest.raises(OtherLog, match="topic changes was made anew since chk-12"):
        bench.begin()
    # killed before its job had an id
    bench.begin(without_state=True)
    with pytest.raises(OtherLog, match="topic changes was made anew since chk-12"):
        bench.begin()


def test_without_state_a_store_that_may_hold_old_positions_is_warned_of(bench: Bench) -> None:
    bench.begin()
    bench.ran(JOB, STATES[0])
    bench.tells(ANEW)
    assert "another table" not in bench.begin(without_state=True)[1]
    log_record.submitted(bench.pipeline, "a" * 32)
    bench.tells(replace(ANEW, databases={"PostgreSQL's timeline": "2"}))
    assert "PostgreSQL's timeline was 1 and is 2" in bench.begin(without_state=True)[1]


def test_the_state_of_a_release_that_wrote_nothing_down_is_gone_on_with(bench: Bench) -> None:
    left = Path(".freshet/pipelines/documents") / STATES[0]
    left.mkdir(parents=True)
    (left / "_metadata").write_bytes(b"x")
    assert bench.begin()[0] is not None
    # that run was killed before its job had an id, and its state is of the log that it saw
    bench.tells(ANEW)
    with pytest.raises(OtherLog):
        bench.begin()


def test_what_cannot_be_asked_stays_known_from_before(bench: Bench) -> None:
    bench.begin()
    bench.ran(JOB, STATES[0])
    bench.asked = Asked(LogIdentity("debezium"), unknown=("reselect.postgres doesn't answer: whether it is the same",))
    assert "whether it is the same isn't known" in bench.begin()[1]
    bench.ran("b" * 32, f"checkpoints/{'b' * 32}/chk-1")
    bench.tells(RESTORED)
    with pytest.raises(OtherLog):
        bench.begin()


def test_a_topic_that_is_gone_is_asked_for_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.begin()
    bench.ran(JOB, STATES[0])
    answers = [Asked(replace(LOG, logs={"topic changes": ""})), Asked(LOG)]
    monkeypatch.setattr(resuming, "_KNOWN_AFTER_S", 0.0)
    monkeypatch.setattr(resuming, "ask", lambda _: answers.pop(0) if len(answers) > 1 else answers[0])
    assert bench.begin()[0] is not None
    answers[0] = Asked(replace(LOG, logs={"topic changes": ""}))
    with pytest.raises(OtherLog, match="topic changes is gone since chk-12"):
        bench.begin()


def test_a_broken_record_knows_nothing(bench: Bench) -> None:
    bench.begin()
    bench.ran(JOB, STATES[0])
    Path(".freshet/pipelines/documents/log-identity.json").write_text("{", encoding="utf-8")
    assert bench.begin()[0] is not None


def test_records_of_states_that_are_gone_are_forgotten(bench: Bench) -> None:
    for number in range(5):
        bench.begin(without_state=True)
        log_record.submitted(bench.pipeline, f"{number}" * 32)
    record = Path(".freshet/pipelines/documents/log-identity.json").read_text(encoding="utf-8")
    assert "4" * 32 in record and "3" * 32 not in record


def test_two_databases_of_one_table_are_refused_before_any_is_read(bench: Bench) -> None:
    bench.asked = Asked(LOG, {"public.documents": {"tenantA:app", "tenantB:app"}, "public.others": {"x", "y"}})
    with pytest.raises(ConfigError, match=r"public.documents comes from tenantA:app and tenantB:app"):
        bench.begin()


def test_more_partitions_than_the_state_knows_are_named_once(bench: Bench) -> None:
    for count, job, lines in [(1, JOB, 0), (3, "f" + JOB[1:], 1), (3, JOB, 0)]:
        bench.tells(replace(LOG, partitions={"topic changes": count}))
        _, printed = bench.begin()
        bench.ran(job, f"checkpoints/{job}/chk-{count}{job[0]}")
        assert printed.count("topic changes has 3 partitions since chk-10, was 1: ") == lines, printed
    bench.tells(replace(ANEW, partitions={"topic changes": 9}))
    assert "has 9 partitions" not in bench.begin(same_log=True)[1]


def test_the_first_events_say_whose_a_table_is(bench: Bench) -> None:
    bench.asked = Asked(
        replace(LOG, sources={"public.documents": "tenantB:app"}), {"public.documents": {"tenantA:app"}}
    )
    assert resumed(bench.pipeline, unheard, without_state=True).log.sources == {"public.documents": "tenantA:app"}


def test_a_repair_in_another_log_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_watch, "ask", lambda _: bench.asked)
    log_watch.refuse_in_another_log(bench.pipeline, "it would mend nothing")
    bench.begin()
    log_record.submitted(bench.pipeline, JOB)
    bench.tells(ANEW)
    log_watch.refuse_in_another_log(bench.pipeline, "it would mend nothing")
    bench.tells(RESTORED)
    with pytest.raises(OtherLog, match=r"(?s)timeline was 1 and is 2.*it would mend nothing"):
        log_watch.refuse_in_another_log(bench.pipeline, "it would mend nothing")


def test_an_alarm_is_shown_once(bench: Bench) -> None:
    watch = LogWatch(bench.pipeline)
    assert [watch.news(alarm) for alarm in ("", "a flood", "a flood", "", "a flood")] == [
        "",
        "a flood",
        "",
        "",
        "a flood",
    ]


def test_many_events_of_what_seem_partitions_are_an_alarm_once(bench: Bench) -> None:
    watch = LogWatch(bench.pipeline)
    figures = [[Figure("skipped", many, {"reason": Skip.KIN})] for many in (3, 140, 200)]
    few, many, more = (watch.skipped(counts(each)) for each in figures)
    assert (few, more) == ("", "")
    assert many.startswith("140 events were skipped of tables that look like partitions of a named one")
