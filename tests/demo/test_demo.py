"""The demo as a user starts it, on servers of its own; and that another one can follow it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from rich.console import Console

from core.errors import ConfigError
from demo import debezium, profiles, screen, world
from demo import showing as demo
from demo.aws import REGION
from demo.chat import claims as chat
from demo.feed import DemoFeed
from demo.feedback import claims as feedback
from demo.stage import Evidence, NotSeen
from stack import local as local_stack
from stack.connect import remove_postgres
from tests import aws, resident
from tests.answering_model import answering_model
from workloads.texts import texts

COMMAND = [sys.executable, "-m", "cli", "demo"]
ENVIRONMENT = resident.plain()
APART = (DemoFeed.PROFILES, DemoFeed.CHAT, DemoFeed.FEEDBACK)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder without servers; what the first demo starts the next ones use."""
    folder = tmp_path_factory.mktemp("machine")
    yield folder
    local_stack.down(folder, wipe=True)


def played(machine: Path, *arguments: str) -> str:
    """What a demo printed that went well, in a process that has played others: see `tests.resident`."""
    output = machine / "demo.log"
    # the demos of AWS give themselves credentials, and a JVM that is there has those of its start, of the same region
    assert aws.CREDENTIALS["AWS_REGION"] == REGION
    code = resident.start("jobs", ["demo", *arguments, "--exit"], machine, output, ENVIRONMENT).wait(1180)
    printed = output.read_text(encoding="utf-8")
    assert code == 0, printed
    return printed


def played_alone(machine: Path, *arguments: str) -> str:
    """The same in a process of its own."""
    ran = subprocess.run(
        [*COMMAND, *arguments, "--exit"], cwd=machine, env=ENVIRONMENT, capture_output=True, text=True, timeout=1180
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("feed", [feed for feed in DemoFeed if feed not in APART])
def test_every_claim_holds(machine: Path, feed: DemoFeed) -> None:
    # the first one is what who names none gets
    named = [] if feed is DemoFeed.DEBEZIUM else [feed.value]
    printed = (played_alone if feed is DemoFeed.S3 else played)(machine, *named)
    summary = printed.partition("Every claim held")[2]
    for title, _ in demo.show_of(feed).claims:
        assert f"✓  {title}" in summary
    # how many sections there are depends on the release of Python
    assert f"{len(world.articles()) + 1} documents" in printed
    assert "stopped with savepoint-" in printed
    assert local_stack.status(machine).running, "the servers go on after the demo"


@pytest.mark.timeout(1200)
def test_every_claim_about_people_holds(machine: Path) -> None:
    printed = played(machine, "profiles")
    summary = printed.partition("Every claim held")[2]
    for title, _ in profiles.CLAIMS:
        assert f"✓  {title}" in summary
    assert "merged with" in printed
    assert "stopped with savepoint-" in printed


@pytest.mark.timeout(1200)
def test_every_claim_about_feedback_holds(machine: Path) -> None:
    printed = played(machine, "feedback")
    summary = printed.partition("Every claim held")[2]
    for title, _ in feedback.CLAIMS:
        assert f"✓  {title}" in summary
    assert re.search(r"rating → row: \d+ ms \(median of 5\)", summary)
    assert "stopped with savepoint-" in printed


@pytest.mark.timeout(1200)
def test_every_claim_about_answers_holds(machine: Path) -> None:
    with answering_model() as model:
        # claims are checked on passages and prompts: what the model says of them is no matter
        printed = played(machine, "chat", "--answering-model", f"{model.address}/v1")
    summary = printed.partition("Every claim held")[2]
    for title, _ in chat.CLAIMS:
        assert f"✓  {title}" in summary
    assert re.search(r"commit → in the prompt: \d+ ms \(median of 5\)", summary)
    prompts = [each.body["messages"][-1]["content"] for each in model.asked]
    assert prompts[0] == chat.QUESTION, "the model alone"
    assert "30 days" in prompts[1] and "120 days" in prompts[2] and "camping stove" in prompts[3]
    assert "14 days" in prompts[4] and "120 days" not in prompts[4]
    assert len(prompts) == 5


def test_a_model_s_address_is_for_the_chat_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--answering-model is for freshet demo chat, not for s3"):
        demo.demo(Console(), DemoFeed.S3, leave=True, answering_model="http://127.0.0.1:1/v1")


def test_a_claim_that_is_not_seen_is_reported_and_does_not_hold() -> None:
    def unseen(_: None) -> Evidence:
        raise NotSeen("an answer: not seen within 30 s")

    console = Console(record=True, width=200)
    found = screen.claim(console, "1. A claim", unseen, None, "checking")
    assert not found.holds
    assert "✗" in console.export_text()


def test_an_article_is_as_it_stands_in_the_reference() -> None:
    whole = {text.id: text.body for text in texts()}
    articles = world.articles()
    assert 290 < len(articles) <= 300
    assert all(whole[article.id].startswith(article.body) for article in articles)
    titles = {article.title for article in articles}
    assert titles.issuperset({world.DELETED, *(title for title, _, _ in world.EDITED)})


@pytest.mark.timeout(180)
def test_a_second_demo_begins_anew(stack: local_stack.Stack, tmp_path: Path) -> None:
    first = _snapshot(stack, tmp_path)
    with psycopg.connect(stack.postgres.dsn) as connection:
        connection.execute("DELETE FROM demo.articles WHERE id = 1")
    second = _snapshot(stack, tmp_path)
    topics = AdminClient({"bootstrap.servers": second.world.bootstrap_servers}).list_topics(timeout=10).topics
    assert second.topic in topics
    assert first.topic not in topics
    with psycopg.connect(stack.postgres.dsn) as connection:
        slots = connection.execute("SELECT 1 FROM pg_replication_slots WHERE slot_name LIKE '%demo'").fetchall()
    assert len(slots) == 1
    remove_postgres(stack.connect.url, debezium.NAME, stack.postgres.dsn)


def _snapshot(stack: local_stack.Stack, folder: Path) -> debezium.Tables:
    """The tables of a new demo, when their topic has every article."""
    made = debezium.make(stack, folder)
    made.begin()
    deadline = time.monotonic() + 60
    while len(found := world.events(made.world, made.topic)) < len(world.articles()):
        assert time.monotonic() < deadline, f"{len(found)} events of the snapshot after 60 s"
        time.sleep(0.2)
    keys = {json.loads(message.key() or b"")["payload"]["id"] for message in found}
    assert keys == {article.id for article in world.articles()}
    made.close()
    return made
