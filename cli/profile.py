"""`freshet profile`: who is behind an identifier, what made them so, and who is like them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from operations.pipeline_file import load
from operations.profiles import as_json as shown_as_json
from operations.profiles import asked, explained, neighbours
from terminal.profiles import alike, page, tree

app = typer.Typer(name="profile", no_args_is_help=True, help="Ask who is who, of a pipeline of profiles.")

PipelineFile = Annotated[Path, typer.Argument(metavar="PIPELINE.YAML", help="The pipeline file.")]
Who = Annotated[
    str, typer.Argument(metavar="WHO", help="A profile's id, one that it had before, or an identifier: [TYPE=]VALUE.")
]


@app.command()
def get(
    pipeline: PipelineFile,
    who: Who,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with all it holds.")] = False,
) -> None:
    """A profile: its identifiers, what its records say together, and how many there are."""
    with asked(load(pipeline), who) as (_, _, profile):
        if as_json:
            typer.echo(json.dumps(shown_as_json(profile), ensure_ascii=False))
        else:
            Console().print(page(profile))


@app.command()
def explain(
    pipeline: PipelineFile,
    who: Who,
    records: Annotated[int, typer.Option(min=1, max=100_000, help="Show at most so many records.")] = 50,
    events: Annotated[int, typer.Option(min=0, max=100_000, help="Show at most so many events, the newest.")] = 20,
) -> None:
    """Why a profile is one: its records with what links them, the rules behind its values, and its history."""
    with asked(load(pipeline), who) as (rules, store, profile):
        Console().print(tree(rules, explained(store, profile, records, events)), soft_wrap=True)


@app.command("neighbours")
def nearest(
    pipeline: PipelineFile,
    who: Who,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many profiles to answer with.")] = 5,
) -> None:
    """The profiles whose texts are nearest to this one's, by their vectors."""
    Console().print(alike(neighbours(load(pipeline), who, k)))
