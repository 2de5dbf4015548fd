"""`freshet model`: the embedder as a server, for many jobs, or for jobs on machines without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from core.config.embedding import Embedding, EngineName, Precision
from core.errors import ConfigError, not_installed
from serving.bodies import HERE
from udfs.embedding.prompts import prompts_described
from udfs.embedding.tokenizing import DEFAULT, HASH

app = typer.Typer(name="model", help="The embedding model as a server.", no_args_is_help=True)

_ON_GPU = 65_536
_ON_CPU = 8_192


@app.callback()
def model() -> None:
    """The embedding model as a server."""


@app.command()
def serve(
    model: Annotated[str, typer.Option(help="A sentence-transformers name, a folder, or hash.")] = DEFAULT,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0: every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: one that is free.")] = 8080,
    api_key_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Keys that let in, one a line; without it everyone is."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cuda, cuda:1, mps or cpu; else the best there is.")] = None,
    engine: Annotated[EngineName, typer.Option(help="What computes the model; auto: the fastest that fits.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="Of its arithmetic; auto: as the device is made for.")] = "auto",
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens gathered into a call; else 65536 on a GPU, 8192 without.")
    ] = None,
) -> None:
    """Serve embeddings over OpenAI's protocol: many clients, one model. Ends on SIGTERM or Ctrl-C."""
    try:
        from serving import embeddings as serving
        from serving import server as http_server
    except ImportError as error:
        raise not_installed("freshet model serve", error.name or "starlette", "serve") from error
    from terminal.bars import loading
    from udfs.embedding.embedder import unsided

    keys = _keys(api_key_file)
    embedding = _embedding(model, engine, precision)
    with loading(model):
        opened = unsided(embedding, device)
    tokens = batch_tokens or (_ON_GPU if _has_gpu(embedding, device) else _ON_CPU)
    started = serving.application(opened, tokens, keys, serving.sides_of(embedding, device))
    typer.echo("; ".join(filter(None, (opened.describe(), prompts_described(embedding)))))
    # without keys, to stand on this machine is what lets in: pages that its browsers show must not pass for that
    limits = http_server.Limits(names=HERE if host in HERE and not keys else None)
    without = "" if keys else ", without keys"
    http_server.serve(started, host, port, lambda url: typer.echo(f"serving at {url}/v1{without}"), limits)


def _keys(file: Path | None) -> list[str]:
    if file is None:
        return []
    keys = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not keys:
        raise ConfigError([f"--api-key-file {file} has no key: write one a line"])
    return keys


def _embedding(model: str, engine: EngineName, precision: Precision) -> Embedding:
    try:
        return Embedding(model=model, engine=engine, precision=precision)
    except ValidationError as error:
        raise ConfigError([f"--model {model}: {each['msg']}" for each in error.errors()]) from None


def _has_gpu(embedding: Embedding, device: str | None) -> bool:
    from udfs.embedding.engines import has_gpu

    if embedding.model == HASH or embedding.engine == "openvino":
        return False
    return has_gpu() if device is None else device.startswith("cuda")
