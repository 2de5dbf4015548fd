"""`freshet produce`: changes into Kafka, Kinesis, DynamoDB or S3, from a recording or made up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors.kafka.producer import Sent
from core.errors import not_installed
from operations.produce.generate import Amount, conversations_to_topic, customers_to_topics, to_topic
from operations.produce.recording import replay
from terminal.bars import counted
from workloads.articles import Article, truth_csv
from workloads.conversations import Truth as Thought
from workloads.conversations import truth_csv as thought_csv
from workloads.customers import Truth
from workloads.customers import truth_csv as people_csv
from workloads.feeds import FEEDS, FEEDS_WITHOUT_NULLS

app = typer.Typer(add_completion=False)

_USUAL = "debezium"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

_GENERATED = frozenset({"--events", "--duration", "--rate", "--seed", "--truth"})
_AWS = frozenset({"--aws-endpoint", "--aws-region"})
_GOES_WITH = {
    "--recording": frozenset({"--bootstrap-servers"}),
    "--topic": _GENERATED | {"--bootstrap-servers", "--format"},
    "--scenario": _GENERATED | {"--bootstrap-servers", "--prefix"},
    "--stream": _GENERATED | _AWS | {"--format"},
    "--table": _GENERATED | _AWS,
    "--bucket": _GENERATED | _AWS | {"--prefix", "--topic", "--bootstrap-servers"},
}
"""Where to write, and the other options that have a meaning there."""


class Scenario(Enum):
    """What several tables tell together."""

    CUSTOMERS = "customers"
    CONVERSATIONS = "conversations"


def seconds_of(duration: str) -> float:
    """The seconds of a duration such as 500ms, 30s, 5m or 1h. Raises typer.BadParameter where it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", duration.strip())
    if not match or not float(match[1]):
        raise typer.BadParameter(f"{duration!r} is no duration: write 500ms, 30s, 5m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def format_of(name: str) -> str:
    """A format in which changes can be generated. Raises typer.BadParameter where it is none."""
    if name not in FEEDS:
        raise typer.BadParameter(f"{name!r} is no format of changes: it must be one of {', '.join(FEEDS)}")
    return name


@app.command()
def produce(
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="Kafka servers to write to, HOST:PORT[,HOST:PORT].")
    ] = None,
    recording: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A recording to replay: .jsonl or .jsonl.gz.")
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(help="Generate events for this topic, named prefix.schema.table; or tell it of --bucket's."),
    ] = None,
    stream: Annotated[str | None, typer.Option(help="Generate records of this Kinesis stream.")] = None,
    table: Annotated[str | None, typer.Option(help="Write items of this DynamoDB table.")] = None,
    bucket: Annotated[str | None, typer.Option(help="Write Markdown files to this S3 bucket.")] = None,
    scenario: Annotated[
        Scenario | None,
        typer.Option(help="Generate what several topics of --prefix tell: of people, or conversations."),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="The folder in the bucket; what a scenario's topics begin with.")
    ] = None,
    written: Annotated[
        str | None,
        typer.Option(
            "--format",
            parser=format_of,
            metavar="NAME",
            help=f"How events are written: {', '.join(FEEDS)}.",
            show_default=_USUAL,
        ),
    ] = None,
    events: Annotated[int | None, typer.Option(min=1, help="How many changes to generate.")] = None,
    duration: Annotated[
        float | None, typer.Option(parser=seconds_of, metavar="TIME", help="How long to generate: 500ms, 30s, 5m, 1h.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Changes a second to generate; 0: as fast as possible.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed makes the same changes.")] = 0,
    truth: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Where to write the generated table's final rows, as CSV.")
    ] = None,
    aws_endpoint: Annotated[str | None, typer.Option(help="The address of what plays AWS.")] = None,
    aws_region: Annotated[str | None, typer.Option(help="The AWS region; else AWS_REGION or the profile's.")] = None,
) -> None:
    """Write changes: a recording to Kafka as it was, or generated inserts, edits and deletes of real texts."""
    given: dict[str, Any] = {
        "--recording": recording, "--topic": topic, "--stream": stream, "--table": table, "--bucket": bucket,
        "--scenario": scenario, "--bootstrap-servers": bootstrap_servers, "--prefix": prefix, "--format": written,
        "--events": events, "--duration": duration, "--rate": rate or None, "--seed": seed or None, "--truth": truth,
        "--aws-endpoint": aws_endpoint, "--aws-region": aws_region,
    }  # fmt: skip
    target = _target({option: value for option, value in given.items() if value is not None})
    amount = Amount(events, duration, rate, seed)
    if target == "--recording":
        typer.echo(_summary(replay(given["--bootstrap-servers"], given[target], counted)))
    elif given[target] is Scenario.CONVERSATIONS:
        thought: Thought = {}
        sent = conversations_to_topic(given["--bootstrap-servers"], given["--prefix"], amount, thought, counted)
        _write_truth(truth, thought_csv(thought), len(thought))
        typer.echo(_summary(sent))
    elif target == "--scenario":
        people: Truth = {}
        summary = customers_to_topics(given["--bootstrap-servers"], given["--prefix"], amount, people, counted)
        _write_truth(truth, people_csv(people), len(people))
        typer.echo(_summary(summary))
    else:
        rows: dict[int, Article] = {}
        printed = _rows_to(target, given, amount, rows)
        _write_truth(truth, truth_csv(rows), len(rows))
        typer.echo(printed)


def _write_truth(truth: Path | None, text: str, rows: int) -> None:
    if truth is not None:
        truth.write_text(text, encoding="utf-8", newline="")
        typer.echo(f"{rows:,} rows are the truth, in {truth}")


def _target(given: Mapping[str, Any]) -> str:
    """The option that says where to write. Raises typer.BadParameter where others don't go with it or are missing."""
    named = [option for option in _GOES_WITH if option in given]
    if "--bucket" in named and "--topic" in named:
        named.remove("--topic")
    if len(named) != 1:
        raise typer.BadParameter(
            "give either --recording FILE or --topic, --scenario, --stream, --table or --bucket, and a NAME"
        )
    target = named[0]
    unused = [option for option in given if option != target and option not in _GOES_WITH[target]]
    if unused:
        why = ": a recording says itself what it holds" if target == "--recording" else ""
        raise typer.BadParameter(
            f"{', '.join(unused)} {'does' if len(unused) == 1 else 'do'} not go with {target}{why}"
        )
    if target != "--recording" and "--events" not in given and "--duration" not in given:
        raise typer.BadParameter("say how much to generate: --events N, --duration TIME, or both")
    if target == "--scenario" and "--prefix" not in given:
        raise typer.BadParameter("--prefix is missing: what the topics' names begin with")
    to_kafka = target in ("--recording", "--topic", "--scenario") or "--topic" in given
    if to_kafka and "--bootstrap-servers" not in given:
        raise typer.BadParameter("--bootstrap-servers is missing: the Kafka servers to write to")
    if not to_kafka and "--bootstrap-servers" in given:
        raise typer.BadParameter("--topic is missing: the topic that notifications go to")
    return target


def _rows_to(target: str, given: Mapping[str, Any], amount: Amount, rows: dict[int, Article]) -> str:
    """Generate changes of rows into `target`, and fill `rows` with what they end as; what was written, in words."""
    written = given["--format"] or _USUAL
    if target == "--topic":
        servers, topic = given["--bootstrap-servers"], given["--topic"]
        return _summary(to_topic(servers, topic, FEEDS[written], amount, rows, counted))
    try:
        from connectors.aws.client import Aws
        from operations.produce import generate_aws
    except ImportError:
        raise not_installed(target, "boto3", "aws") from None
    aws, name = Aws(given["--aws-region"], given["--aws-endpoint"]), given[target]
    if target == "--stream":
        return generate_aws.to_stream(aws, name, FEEDS_WITHOUT_NULLS[written], amount, rows, counted)
    if target == "--table":
        return generate_aws.to_table(aws, name, amount, rows, counted)
    topic = given["--topic"]
    notify = None if topic is None else generate_aws.Notify(given["--bootstrap-servers"], topic)
    return generate_aws.to_bucket(aws, name, given["--prefix"] or "", amount, rows, notify, counted)


def _summary(sent: Sent) -> str:
    speed = sent.events / sent.seconds if sent.seconds else 0.0
    return (
        f"{sent.events:,} events into {sent.topics:,} {'topic' if sent.topics == 1 else 'topics'}, "
        f"{sent.bytes:,} bytes, {speed:,.0f} events/s"
    )
