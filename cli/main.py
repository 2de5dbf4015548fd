"""The command line: commands parse their arguments here, or in a module of their own; `operations` does the work."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bench.figures import Measurement, Size
from cli.groups import Main, version
from core.errors import FreshetError, Unavailable
from core.stores.ranking import Mode
from demo.feed import DemoFeed
from operations.extras import remedy
from operations.own_stack import stopped
from terminal.plain import shown

commands = typer.Typer(
    cls=Main,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Vector stores as fresh as the databases they come from.",
)
commands.callback()(version)
console = Console()

if TYPE_CHECKING:
    from core.config.pipeline import Pipeline

PipelineFile = Annotated[Path, typer.Argument(metavar="PIPELINE.YAML", help="The pipeline file.")]


def app() -> None:
    """Run a command; errors of ours end it with their message and exit code 2, without a traceback."""
    try:
        commands()
    except FreshetError as error:
        console = Console(stderr=True)
        console.print(f"[red]{shown(str(error))}[/]", soft_wrap=True)
        if isinstance(error, Unavailable) and (hint := stopped(str(error))):
            console.print(f"[yellow]{shown(hint)}[/]", soft_wrap=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if not (missing := remedy(error)):
            raise
        Console(stderr=True).print(f"[red]{shown(missing)}[/]", soft_wrap=True)
        sys.exit(2)


@commands.command()
def run(
    pipeline: PipelineFile,
    without_state: Annotated[
        bool, typer.Option("--without-state", help="Read from the start, as if there were no checkpoint or savepoint.")
    ] = False,
    mixed: Annotated[
        bool,
        typer.Option("--mixed", help="Go on though what is there was made otherwise."),
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Make all anew, from the source's beginning."),
    ] = False,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="HOST:PORT", help="Run it on the Flink cluster whose REST API is there."),
    ] = None,
    same_log: Annotated[
        bool,
        typer.Option("--same-log", help="Resume though topic or database seem others: its positions and offsets hold."),
    ] = False,
) -> None:
    """Run the pipeline's job until it ends, or until Ctrl-C stops it with a savepoint."""
    from operations.reporting import Line
    from terminal.lines import printer

    loaded, say = _loaded(pipeline), printer(console)
    say(Line(f"{loaded.name}: loading Flink's client …"))  # a second, and a minute on a machine that is busy
    from operations import run as running
    from operations.owning import how_of
    from operations.resuming import Beginning

    command = shlex.join(["freshet", "run", str(pipeline)])
    beginning = Beginning(without_state, same_log, how_of(mixed, rebuild), command)
    raise typer.Exit(running.run(loaded, say, beginning, target))


@commands.command()
def check(
    pipeline: PipelineFile,
    msf: Annotated[
        bool, typer.Option("--msf", help="Name what Managed Service for Apache Flink would refuse; reaches no server.")
    ] = False,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Make the stores' tables and the topic of dead letters too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What was found as JSON, for programs.")] = False,
) -> None:
    """Validate the pipeline file, reach every server it names, and look for its tables and columns in the source."""
    from cli.bundle import described
    from terminal import checking

    if msf:
        raise typer.Exit(checking.check_msf(described(pipeline), console))
    raise typer.Exit(checking.check_file(pipeline, console, prepare, as_json))


@commands.command()
def verify(
    pipeline: PipelineFile,
    sample: Annotated[
        str, typer.Option(metavar="N|all", help="How many documents to embed again, to compare their vectors.")
    ] = "200",
    repair: Annotated[bool, typer.Option("--repair", help="Send events that mend what differs.")] = False,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for the stream.")] = 60,
    json_file: Annotated[
        Path | None, typer.Option("--json", dir_okay=False, metavar="FILE", help="Write what was found here too.")
    ] = None,
) -> None:
    """Compare the source's tables with each store, row by row and chunk by chunk; code 0 only where all are equal."""
    from operations.verify.whole import Options, sample_of
    from terminal import verification as verifying

    options = Options(sample_of(sample), repair, wait, json_file)
    raise typer.Exit(verifying.verify(_loaded(pipeline), options, console))


@commands.command()
def backfill(
    pipeline: PipelineFile,
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PLACE …]", help="schema.table or s3://BUCKET/PREFIX; none: all that the file names."),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Send at most so many rows or objects a second.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, not where an unfinished one has stopped.")
    ] = False,
) -> None:
    """Tell the pipeline of the rows or objects that its source holds already, where it reads their changes."""
    from operations.backfill.progress import Options
    from terminal import backfilling

    raise typer.Exit(backfilling.backfill(_loaded(pipeline), places or [], Options(restart, rate), console))


@commands.command()
def search(
    pipeline: PipelineFile,
    question: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many chunks to answer with.")] = 5,
    where: Annotated[list[str], typer.Option("--where", metavar="COLUMN=VALUE", help="Metadata that must hold.")] = [],  # noqa: B006
    passing: Annotated[
        list[str], typer.Option("--filter", metavar="JSON", help="What metadata must pass; see docs/filters.md.")
    ] = [],  # noqa: B006
    store: Annotated[
        str | None, typer.Option("--store", help="Of several stores, the one to ask; else the first is.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="By vectors, by words, or by both.")] = Mode.VECTOR,
    as_json: Annotated[bool, typer.Option("--json", help="The answers as JSON, for programs.")] = False,
) -> None:
    """Answer a question from the pipeline's store: score, document, chunk and text."""
    from operations.search import answered
    from terminal import hits
    from terminal.bars import loading

    show = hits.show_json if as_json else hits.show
    show(*answered(_loaded(pipeline), question, k, where, store, passing, loading, mode), console)


@commands.command()
def demo(
    feed: Annotated[DemoFeed, typer.Argument(help="What the pipeline reads.")] = DemoFeed.DEBEZIUM,
    leave: Annotated[
        bool, typer.Option("--exit", help="End with a summary instead of a prompt; code 0 only if each claim held.")
    ] = False,
    answering_model: Annotated[
        str | None,
        typer.Option(metavar="URL", help="For chat: OpenAI's protocol, up to /v1, in place of a model of its own."),
    ] = None,
) -> None:
    """Show the main job on real servers and texts: what is there first, edits, deletes, late changes, poison."""
    from demo import showing as demonstrating

    raise typer.Exit(demonstrating.demo(console, feed, leave, answering_model))


@commands.command()
def bench(
    only: Annotated[list[Measurement], typer.Option(help="Measure this alone; can be given again.")] = [],  # noqa: B006
    json_file: Annotated[
        Path | None, typer.Option("--json", dir_okay=False, metavar="FILE", help="Write the figures here too.")
    ] = None,
    changes: Annotated[int, typer.Option(min=200, help="Changes in the backlog.")] = 20_000,
    seconds: Annotated[float, typer.Option(min=1, help="How long each latency is measured.")] = 25,
    documents: Annotated[int, typer.Option(min=8, max=300, help="Articles to embed against the bare model.")] = 300,
    rounds: Annotated[int, typer.Option(min=1, help="How often the bare model takes turns with ours.")] = 2,
) -> None:
    """Measure throughput, latencies and embeddings saved, with the real job on the local stack of this folder."""
    from bench import showing as benching

    benching.bench(only or list(Measurement), Size(changes, seconds, documents, rounds), json_file, console)


@commands.command()
def chaos(
    seed: Annotated[int, typer.Option(help="Chooses what writers do and what fails when.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds to play.")] = 10,
    first: Annotated[int, typer.Option("--from", min=1, metavar="ROUND", help="The number of the first one.")] = 1,
    feed: Annotated[
        str,
        typer.Option(help="What tells of the changes: debezium, dynamodb, dms, s3, kinesis, rows, feedback, profiles…"),
    ] = "debezium",
    stores: Annotated[
        str | None,
        typer.Option(help="The stores to keep equal, with commas; else those that are usual for the feed."),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", file_okay=False, help="Keep all of it here; else a temporary folder, kept on failure."),
    ] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Go on after a difference.")] = False,
    fault: Annotated[str | None, typer.Option(help="What happens, with commas; else all that can.")] = None,
) -> None:
    """Kill the servers and the job again and again under concurrent writers, and compare; code 0 if all stays equal."""
    from chaos import playing as chaotic

    names = chaotic.chaos_stores(stores, chaotic.chaos_feed(feed))
    faults = chaotic.chaos_faults(fault, feed, names)
    options = chaotic.Options(seed, rounds, feed, first, names, directory, keep_going, faults)
    raise typer.Exit(chaotic.chaos(options, console))


def _loaded(file: Path) -> Pipeline:
    from operations.pipeline_file import load

    return load(file)
