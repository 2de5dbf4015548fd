"""`freshet check`: is the pipeline file right, and is every server it names there?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rich.console import Console
from rich.markup import escape

from cli.column_types import told_or_named
from cli.owning import refused
from cli.run import reach, stores
from connectors import kafka, kafka_letters_topic
from connectors.opening import profile_stores
from core.config import Pipeline
from core.errors import ConfigError, FreshetError
from core.msf import refused as refused_by_msf
from deploy.msf.bundle import misfits
from udfs.embedding import embedder
from udfs.languages import languages
from udfs.tokenizing import document_chunker, tokenizer_of


def check(pipeline: Pipeline, console: Console) -> int:
    """Try each part, say what was seen of it, and return the command's exit code: 1 where any failed."""
    steps: dict[str, Callable[[], str]] = {
        f"source.{pipeline.source.name}": lambda: (
            _topics(pipeline) if pipeline.source.kafka is not None else reach(pipeline)
        ),
        "dead_letters.kafka": lambda: _letters(pipeline),
        "embedding": lambda: _model(pipeline),
    }
    for name in pipeline.store.names:
        steps[f"store.{name}"] = partial(_store, pipeline, name)
    if pipeline.profiles is not None:
        for name in pipeline.store.of_profiles:
            steps[f"store.{name}"] = partial(_profiles, pipeline, name)
    failed = False
    for name, attempt in steps.items():
        try:
            console.print(f"[green]✓[/] {name}: {attempt()}")
        except FreshetError as error:
            failed = True
            console.print(f"[red]✗[/] {name}: {error}")
    try:
        lines = told_or_named(pipeline)[1]
    except FreshetError as error:
        # where a step has told, once is enough
        lines, failed = ([] if failed else [str(error)]), True
    for line in lines:
        console.print(f"[yellow]{escape(line)}[/]", soft_wrap=True)
    return 1 if failed else 0


def check_msf(pipeline: Pipeline, console: Console) -> int:
    """Say what of a pipeline Managed Service for Apache Flink would refuse, with 1 as exit code where there is any.

    Reaches no server: the service has other ways to them than this machine.
    """
    told = [f"flink.{option}: {instead}" for option, instead in refused_by_msf(pipeline.flink_options).items()]
    try:
        told += misfits(pipeline)
    except ConfigError as error:
        told += error.problems
    for each in told:
        console.print(f"[red]✗[/] {each}", soft_wrap=True)
    if not told:
        console.print("[green]✓[/] the service takes all of it")
    return 1 if told else 0


def _topics(pipeline: Pipeline) -> str:
    source = pipeline.kafka
    there = kafka.check(source)
    wanted = source.topic or source.topic_pattern
    return f"{source.bootstrap_servers} has " + (", ".join(there) if there else f"no topic {wanted} yet")


def _letters(pipeline: Pipeline) -> str:
    topic = pipeline.dead_letters.kafka.topic
    return f"{topic} takes letters of {kafka_letters_topic.room(pipeline.letters, topic):,} bytes"


def _model(pipeline: Pipeline) -> str:
    embedding = pipeline.embedding
    for document in pipeline.documents.values():
        document_chunker(embedding, document.chunk)
    model = embedder(embedding)
    model.embed(["freshet"])
    counts = f"; {tokenizer_of(embedding).name} counts a chunk's tokens" if embedding.remote else ""
    return "; ".join(filter(None, (model.describe() + counts, "" if embedding.remote else languages(embedding.model))))


def _store(pipeline: Pipeline, name: str) -> str:
    target = stores(pipeline)[name]
    try:
        target.prepare()
    finally:
        target.close()
    if would := refused(pipeline, name):
        raise ConfigError(would)
    return f"{pipeline.store.place(name)} is ready"


def _profiles(pipeline: Pipeline, name: str) -> str:
    target = profile_stores(pipeline)[name]
    try:
        target.prepare()
    finally:
        target.close()
    table = pipeline.store.dynamodb.table if name == "dynamodb" and pipeline.store.dynamodb else ""
    return f"table {table} is ready" if table else f"tables {pipeline.name}_… are ready"
