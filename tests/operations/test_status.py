"""What `freshet status` makes of looks at a job; the real job is in tests/flink_jobs/test_metrics.py."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import boto3
import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli.main import commands
from core.config.file import load
from core.errors import Unavailable
from core.metrics.figures import Figure
from flink_jobs.running.failures import root_cause
from flink_jobs.running.jobs import Progress
from flink_jobs.running.rest import Checkpoints, Failure, Report, report
from operations.events import Events, events
from operations.folder_lock import locked
from operations.job_file import JobFile, forget, recall, remember
from operations.reporting import Line
from operations.resuming import Beginning
from operations.run import run
from operations.status.listing import seen, standings
from operations.status.looks import Look, Rates, as_dict, caught_up, rates, waiting
from terminal.status import one_line, page, sparkline
from tests.aws import moto_server

PIPELINE = """
name: documents
source: {kafka: {topic: changes, properties.bootstrap.servers: "127.0.0.1:1"}}
format: debezium
documents: {public.documents: {text: "{title}"}}
embedding: {model: hash}
store: {pgvector: {dsn: "postgresql://freshet@127.0.0.1:1/x", table: documents}}
dead_letters: {kafka: {topic: letters}}
"""

PLACE = JobFile("http://127.0.0.1:8081", "0a", "http://127.0.0.1:9249/metrics")


def look(at: float, upserts: int, **changes: object) -> Look:
    figures = (
        Figure("changes", upserts, {"feed": "debezium", "operation": "upsert"}),
        Figure("applied", upserts / 2, {"store": "pgvector"}),
        Figure("tokens", 75),
        Figure("padding", 25),
        Figure("chunks_embedded", upserts),
        Figure("chunks_kept", 1200),
        Figure("dead_letters", 2, {"stage": "decode", "reason": "DecodeError"}),
        Figure("dead_letters", 0, {"stage": "write", "reason": "StoreRejected"}),
        Figure("retries", 3, {"of": "pgvector"}),
        Figure("source_lag_ms", 40),
        Figure("commit_to_searchable_p50_ms", 12),
        Figure("commit_to_searchable_p99_ms", 2400),
    )
    checkpoints = Checkpoints(7, 1, 180, 16_480)
    seen = Report(
        "RUNNING", 7_200_000, figures, 5, 1, checkpoints, Failure("java.net.ConnectException: no one there", 1)
    )
    return Look(at, replace(seen, **changes))  # type: ignore[arg-type]


def test_rates_are_of_the_time_between_two_looks() -> None:
    found = rates(look(10.0, 100), look(12.0, 300))
    assert (found.changes, found.applied, found.embedded) == ({"upsert": 100.0}, 50.0, 100.0)


def test_counters_that_began_anew_are_no_negative_rate() -> None:
    assert rates(look(10.0, 100), look(12.0, 20)).changes == {"upsert": 0.0}


def test_json_has_all_of_it() -> None:
    now = look(12.0, 300)
    shown = json.loads(json.dumps(as_dict("documents", PLACE, now, rates(look(10.0, 100), now))))
    assert shown["changes_per_second"] == {"upsert": 100.0}
    assert shown["padding_ratio"] == 0.25
    assert shown["commit_to_searchable_ms"] == {"p50": 12, "p99": 2400}
    assert shown["dead_letters"] == {"decode: DecodeError": 2}
    assert shown["retries"] == {"pgvector": 3}
    assert shown["checkpoints"] == {"completed": 7, "failed": 1, "duration_ms": 180, "size": 16_480, "failure": None}
    assert (shown["restarts"], shown["failure"]) == (1, "java.net.ConnectException: no one there")
    bare = as_dict("documents", PLACE, Look(0.0, replace(now.report, figures=(), pending=None)), rates(now, now))
    assert bare["padding_ratio"] is None and bare["lag_ms"] is None and bare["pending_events"] is None


def test_the_page_has_a_line_each() -> None:
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(page("documents", PLACE, [look(10.0, 100), look(12.0, 100), look(14.0, 300)]))
    lines = [" ".join(line.split()) for line in captured.get().splitlines()]
    assert lines == [
        "documents: running for 2.0 h",
        "changes/s 100 ▁█ 100 upsert",
        "applied/s 50 ▁█",
        "embedded/s 100 ▁█",
        "lag 40 ms 5 events not read yet",
        "commit → searchable 12 ms ███ p99 2.4 s",
        "chunks embedded 300 1,200 saved",
        "stale 0",
        "dead letters 2 2 decode: DecodeError",
        "retries 3 3 pgvector",
        "checkpoints 7 last 180 ms, 16 kB, 1 failed",
        "restarts 1 java.net.ConnectException: no one there",
        "http://127.0.0.1:8081 · http://127.0.0.1:9249/metrics",
    ]


def test_a_flood_of_stale_snapshot_rows_is_an_alarm_on_the_page_and_in_json() -> None:
    figures = (Figure("stale_snapshot_rows", 90), Figure("stale_snapshot_surplus", 80))
    now = look(12.0, 300, figures=figures)
    shown = as_dict("documents", PLACE, now, rates(now, now))
    assert shown["stale_snapshot_rows"] == 90 and shown["alarm"].startswith("most rows of a snapshot (80 more")
    assert as_dict("documents", PLACE, look(12.0, 300), rates(now, now))["alarm"] is None
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(page("documents", PLACE, [now]))
    assert "alarm most rows of a snapshot (80 more than not)" in " ".join(captured.get().split())


def test_files_that_a_store_refused_are_an_alarm() -> None:
    now = look(12.0, 300, figures=(Figure("refused_by_time", 3), Figure("files_left_out", 2)))
    shown = as_dict("documents", PLACE, now, rates(now, now))
    assert shown["files_left_out"] == 2
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(page("documents", PLACE, [now]))
    assert "left out 2 of the folder: freshet check names them" in " ".join(captured.get().split())
    assert shown["refused_by_time"] == 3 and shown["alarm"].startswith("3 changes of files or objects were refused")


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([0.0, 0.0], "▁▁"), ([1.0, 8.0], "▂█"), ([0.0, 4.0, 8.0], "▁▅█")],
)
def test_sparklines(values: list[float], bars: str) -> None:
    assert sparkline(values) == bars


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    return tmp_path


def test_a_job_is_remembered_until_it_is_forgotten(folder: Path) -> None:
    pipeline = load(folder / "pipeline.yaml")
    assert recall(pipeline) is None
    for rest in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        remember(pipeline, JobFile(rest, "0a"))
        assert recall(pipeline) == JobFile(rest, "0a")
    (folder / ".freshet/pipelines/documents/job.json").write_text("{", encoding="utf-8")
    assert recall(pipeline) is None
    forget(pipeline)
    forget(pipeline)
    assert list((folder / ".freshet/pipelines/documents").iterdir()) == []


@pytest.mark.parametrize("options", [[], ["--once"]])
def test_no_job_is_a_message_and_code_1(folder: Path, options: list[str]) -> None:
    never = CliRunner().invoke(commands, ["status", "pipeline.yaml", *options])
    starts = "freshet run pipeline.yaml starts it"
    assert never.exit_code == 1
    assert never.output.strip() == f"documents isn't running: it never ran in this folder. {starts}"
    events(load(folder / "pipeline.yaml")).tell("stop")
    stopped = CliRunner().invoke(commands, ["status", "pipeline.yaml", *options])
    assert stopped.output.startswith("documents isn't running: stopped, 20") and starts in stopped.output
    remember(load(folder / "pipeline.yaml"), JobFile("http://127.0.0.1:1", "0a"))
    gone = CliRunner().invoke(commands, ["status", "pipeline.yaml", *options])
    assert gone.exit_code == 1 and "its last job, at http://127.0.0.1:1, is gone (stopped, 20" in gone.output


@pytest.mark.parametrize("options", [["--json"], ["--once", "--json"]])
def test_no_job_is_one_object_of_json_as_in_the_list(folder: Path, options: list[str]) -> None:
    pipeline = load(folder / "pipeline.yaml")
    remember(pipeline, JobFile("http://127.0.0.1:1", "0a"))
    for entry, more in (
        ("dead-letters", "killed, or its machine stopped; its log ends with dead"),
        ("stop", "stopped, 2"),
    ):
        events(pipeline).tell(entry)
        ran = CliRunner().invoke(commands, ["status", "pipeline.yaml", *options])
        (shown,) = map(json.loads, ran.stdout.splitlines())
        (listed,) = map(json.loads, CliRunner().invoke(commands, ["status", "--json"]).stdout.splitlines())
        assert ran.exit_code == 1 and shown == listed
        assert (shown["pipeline"], shown["state"], shown["pid"]) == ("documents", "not running", None)
        assert shown["more"].startswith(more)
    assert as_dict("documents", PLACE, look(1.0, 1), Rates({}, 0.0, 0.0))["state"] == "running"


def test_a_run_that_takes_the_folder_forgets_the_address_of_one_that_was_killed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    pipeline, seen = load(folder / "pipeline.yaml"), []
    remember(pipeline, JobFile("http://127.0.0.1:1", "0a"))
    log = events(pipeline)
    log.tell("start")

    def hear(_: Line) -> None:
        seen.append(CliRunner().invoke(commands, ["status", "pipeline.yaml"]).output)

    with pytest.raises(Unavailable, match="Connection refused"):
        run(pipeline, hear, Beginning())
    assert "documents is starting or ending, as pid" in seen[0]
    assert str(log.last()).startswith("start, 20"), "what is refused has not run"


def test_a_run_that_fails_as_it_starts_says_its_end(folder: Path) -> None:
    log = events(load(folder / "pipeline.yaml"))
    before = log.last()
    log.close("refused", before)
    assert log.last() is None
    log.tell("resume", state="chk-1")
    log.close("no room for Flink", before)
    assert str(log.last()).startswith("failed, 20") and str(log.last()).endswith("UTC: no room for Flink")


def test_a_file_that_refers_to_a_secret_is_read_with_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with moto_server() as aws:
        secrets = boto3.client("secretsmanager", region_name=aws.region, endpoint_url=aws.endpoint)
        secrets.create_secret(Name="shop/database", SecretString="postgresql://127.0.0.1/x")
        monkeypatch.setenv("AWS_ENDPOINT_URL", str(aws.endpoint))
        file = folder / "pipeline.yaml"
        file.write_text(PIPELINE.replace("postgresql://freshet@127.0.0.1:1/x", "${secretsmanager:shop/database}"))
        ran = CliRunner().invoke(commands, ["status", "pipeline.yaml"])
    assert (ran.exit_code, ran.output.split(":")[0]) == (1, "documents isn't running")


def flink(state: str, pending: int | None) -> httpx.Client:
    """A client that hears what Flink's REST interface says of a job."""
    names = [] if pending is None else [{"id": "0.Source.pendingRecords", "sum": pending, "max": pending}]
    answers: dict[str, object] = {
        "/jobs/0a": {"state": state, "duration": 7_200_000, "vertices": [{"id": "v"}]},
        "/jobs/0a/vertices/v/subtasks/metrics": names,
        "/jobs/0a/metrics": [],
        "/jobs/0a/checkpoints": {},
        "/jobs/0a/exceptions": {"exceptionHistory": {"entries": []}},
    }
    return httpx.Client(transport=httpx.MockTransport(lambda asked: httpx.Response(200, json=answers[asked.url.path])))


@pytest.mark.parametrize(
    ("state", "pending", "line", "code"),
    [
        ("RUNNING", 0, "documents: running, caught up", True),
        ("RUNNING", 1200, "documents: running, 1,200 events not read yet", True),
        ("RUNNING", None, "documents: running", True),
        ("RESTARTING", 0, "documents: restarting", False),
    ],
)
def test_a_probe_says_in_a_line_whether_the_job_runs(state: str, pending: int | None, line: str, code: bool) -> None:
    with flink(state, pending) as http:
        assert one_line("documents", report(http, "http://x", "0a")) == (line, code)


def test_without_a_file_all_pipelines_of_the_folder_are_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none = CliRunner().invoke(commands, ["status"])
    assert none.exit_code == 1 and "no pipeline has run in this folder" in none.output
    place = JobFile("http://x", "0a")
    for name in ("b.running", "a-stopped", "c-never"):
        text = PIPELINE.replace("name: documents", f"name: {name}")
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        (folder / ".freshet/pipelines" / name).mkdir(parents=True)
    remember(load(folder / "b.running.yaml"), place)
    events(load(folder / "a-stopped.yaml")).tell("fail", cause="the disk is full")
    with flink("RUNNING", 0) as http, locked(load(folder / "b.running.yaml")):
        found = standings(http)
        assert [(each.pipeline, each.state, each.waiting, each.pid) for each in found] == [
            ("a-stopped", "not running", "", None),
            ("b.running", "running", "caught up", os.getpid()),
            ("c-never", "not running", "", None),
        ]
        assert found[0].more.startswith("failed, 20") and found[0].more.endswith("UTC: the disk is full")
        assert found[1].more == "for 2.0 h"
    listed = CliRunner().invoke(commands, ["status", "--json", "--exit-code"])
    assert listed.exit_code == 1
    assert [json.loads(line)["state"] for line in listed.output.splitlines()] == ["not running"] * 3
    assert CliRunner().invoke(commands, ["status"]).exit_code == 0


def test_a_job_whose_kafka_is_gone_is_not_caught_up() -> None:
    """Flink tells what waited as of Kafka's last answer."""
    with flink("RUNNING", 0) as http:
        report = seen(http, JobFile("http://x", "0a", bootstrap="127.0.0.1:1"))
    away = "Kafka at 127.0.0.1:1 doesn't answer: Connection refused"
    assert (waiting(report), caught_up(report)) == (away, None)
    assert one_line("documents", report) == (f"documents: running, {away}", True)
    shown = as_dict("documents", PLACE, Look(1.0, report), Rates({}, 0.0, 0.0))
    assert (shown["source_away"], shown["pending_events"], shown["caught_up"]) == (away, None, None)


@pytest.mark.parametrize(
    "job", ['{"rest": "http://[::1", "job": "a"}', '{"rest": "\\u001b[2Jx", "job": "a"}', "[]", '{"rest": 1}', "{"]
)
def test_a_job_file_that_someone_spoiled_hides_no_pipeline(folder: Path, job: str) -> None:
    home = folder / ".freshet/pipelines/documents"
    (home / "log").mkdir(parents=True)
    (home / "job.json").write_text(job, encoding="utf-8")
    for line in ("[]", '{"event": 1, "time": 3}', "[" * 100_000):
        (home / "log" / "events.jsonl").write_text(line, encoding="utf-8")
        listed = CliRunner().invoke(commands, ["status"])
        assert listed.exception is None and "documents" in listed.output and "\x1b" not in listed.output
    (home / "job.json").unlink()
    (home / "job.json").mkdir()
    assert CliRunner().invoke(commands, ["status"]).exception is None


def test_what_a_server_says_of_a_job_acts_on_no_terminal() -> None:
    console = Console(width=200, force_terminal=False)
    spoiled = replace(look(1.0, 1).report, state="RUN\x1b]0;x\x07", away="[/x]\x1b[2J")
    with console.capture() as captured:
        console.print(page("documents", PLACE, [Look(1.0, spoiled)]))
    assert "\x1b" not in captured.get() and "\x1b" not in one_line("documents", spoiled)[0]


def test_a_probe_of_no_job_is_code_1(folder: Path) -> None:
    assert CliRunner().invoke(commands, ["status", "pipeline.yaml", "--exit-code"]).exit_code == 1


def test_what_waits_is_known_of_shards_by_time_and_of_nothing_that_is_not_known() -> None:
    now = look(0.0, 1).report
    assert waiting(replace(now, pending=None)) == ""
    shards = replace(now, pending=None, figures=(Figure("behind_ms", 90_000),))
    assert (waiting(shards), caught_up(shards)) == ("90.0 s behind", False)
    assert waiting(replace(shards, figures=(Figure("behind_ms", 0),))) == "caught up"
    assert waiting(replace(now, pending=0, state="RESTARTING")) == ""


def test_why_a_checkpoint_failed_last_is_shown() -> None:
    console = Console(width=200, color_system=None)
    failed = Checkpoints(7, 2, 180, 16_480, "it took over 10 min")
    with console.capture() as captured:
        console.print(page("documents", PLACE, [look(1.0, 1, checkpoints=failed)]))
    assert "checkpoints 7 last 180 ms, 16 kB, 2 failed, the last: it took over 10 min" in " ".join(
        captured.get().split()
    )


def test_a_log_of_events_that_grows_goes_on_in_another_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operations.events.LARGEST", 1000)
    log = Events("documents", folder / "events.jsonl")
    for number in range(40):
        log.tell("stop", number=number)
    kept = [
        json.loads(line)["number"] for name in ("events.jsonl.1", "events.jsonl") for line in (folder / name).open()
    ]
    assert kept == list(range(kept[0], 40)) and len(kept) < 40
    assert sum(file.stat().st_size for file in folder.glob("events.jsonl*")) < 2500


def logged(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def test_what_is_new_is_logged_once(folder: Path) -> None:
    log = Events("documents", folder / "events.jsonl")
    looks = [
        Progress("RUNNING", {"changes": 3}, None),
        Progress("RUNNING", {"changes": 4, "decode_dead_letters": 1}, None),
        Progress("RUNNING", {"changes": 5, "decode_dead_letters": 1}, None),
        Progress("RESTARTING", {}, Failure("store away", 1)),
        Progress("RESTARTING", {}, Failure("store away", 1)),
        Progress("RUNNING", {"decode_dead_letters": 1}, Failure("store away", 2)),
        Progress("RUNNING", {"decode_dead_letters": 1}, Failure("worker died", 3, "org.X: raw")),
        Progress("RUNNING", {"decode_dead_letters": 1}, Failure("worker died", 3, "org.X: raw", "chk-110")),
        Progress("FAILED", {}, Failure("out of patience", 4)),
    ]
    last = None
    for now in looks:
        log.progress(now, last)
        last = now
    assert [
        {name: value for name, value in each.items() if name not in ("time", "pipeline")} for each in logged(folder)
    ] == [
        {"event": "dead-letters", "decode": 1},
        {"event": "restart", "cause": "store away", "state": "RESTARTING"},
        {"event": "restart", "cause": "store away", "state": "RUNNING"},
        {"event": "dead-letters", "decode": 1},
        {"event": "restart", "cause": "worker died", "state": "RUNNING", "raw": "org.X: raw"},
        {"event": "restored", "state": "chk-110"},
    ]


def test_an_address_with_a_password_loses_it_in_the_log(folder: Path) -> None:
    log = Events("documents", folder / "events.jsonl")
    log.tell("fail", cause="no postgresql://freshet:hunter2@127.0.0.1/x, nor https://u:p%40q@host:9200 answers")
    assert logged(folder)[0]["cause"] == "no postgresql://freshet:…@127.0.0.1/x, nor https://u:…@host:9200 answers"


def test_the_root_cause_is_the_last_that_a_stack_trace_names() -> None:
    assert root_cause("a: b\n\tat x\nCaused by: c: d\n\tat y\nCaused by: e: f\n\tat z") == "e: f"
    assert root_cause("a: b\n\tat x") == "a: b"
