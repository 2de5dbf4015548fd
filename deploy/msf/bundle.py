"""The zip that Managed Service for Apache Flink takes, from a pipeline file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from core.config.embedding import Embedding
from core.config.msf import LARGEST_ZIP
from core.config.pipeline import Pipeline
from core.config.source import Kinesis
from core.errors import ConfigError, FreshetError
from deploy.msf.archive import Entries, packed, packed_sizes
from deploy.msf.fat_jar import fat_jar
from flink_jobs.engine.modules import OURS
from udfs.embedding.tokenizing import HASH

JAR = "lib/freshet.jar"
PYTHON = "python"
RUN_OPTIONS = {"python": "main.py", "jarfile": JAR, "pyFiles": PYTHON}
"""The property group `kinesis.analytics.flink.run.options` of an application that has the bundle as its code."""

_ROOT = Path(__file__).parents[2]
_MAIN = Path(__file__).with_name("main.py")
_SUFFIXES = (".json", ".py", ".pem", ".lock", ".properties", ".sql")


@dataclass(frozen=True)
class Bundle:
    """A built zip. `parts` is what is in it: part to its size in bytes, as the zip has it."""

    content: bytes
    parts: Mapping[str, int]


def build(
    pipeline: Pipeline, file: Path, jars: Sequence[Path], packages: Entries, model: Entries | None = None
) -> Bundle:
    """The bundle of a pipeline.

    file      the pipeline file; goes in as it is, variables and references to secrets unresolved
    jars      those of every bundle; those that the file names in flink.pipeline.jars come to them
    packages  what the service's Python lacks
    model     the pipeline's own, with what computes it; None: it isn't in the bundle

    Raises ConfigError where the pipeline can't run there, FreshetError where JARs don't go together or the zip gets
    too large.
    """
    problems = misfits(pipeline, model is not None)
    if problems:
        raise ConfigError([f"{file.name}: {problem}" for problem in problems])
    parts: dict[str, Entries] = {
        JAR: {JAR: _jar((*jars, *named_jars(pipeline)))},
        f"{PYTHON}/ ours": {f"{PYTHON}/{name}": content for name, content in ours().items()},
        f"{PYTHON}/ packages": {f"{PYTHON}/{name}": content for name, content in packages.items()},
        "main.py, pipeline.yaml": {"main.py": _MAIN.read_bytes(), f"{PYTHON}/pipeline.yaml": file.read_bytes()},
    }
    if model is not None:
        parts[f"{PYTHON}/ model"] = {f"{PYTHON}/{name}": content for name, content in model.items()}
    content = packed({name: each for entries in parts.values() for name, each in entries.items()})
    if len(content) > LARGEST_ZIP:
        raise FreshetError(f"the bundle has {len(content):,} bytes; the service takes {LARGEST_ZIP:,} at most")
    sizes = packed_sizes(content)
    return Bundle(content, {part: sum(sizes[name] for name in entries) for part, entries in parts.items()})


@lru_cache(maxsize=1)
def _jar(jars: tuple[Path, ...]) -> bytes:
    """One JAR of all, kept: who makes several bundles makes them of the same."""
    return packed(fat_jar(jars))


def misfits(pipeline: Pipeline, with_model: bool = False) -> list[str]:
    """What of a pipeline can't run on the service, each with its setting; Flink's options apart: `refused`.

    with_model  whether its model goes along
    """
    problems = []
    source = pipeline.source.chosen
    if source.elsewhere:
        problems.append(f"{source.elsewhere}, which the service doesn't see; read s3 by source.sqs")
    if pipeline.store.milvus is not None:
        problems.append("store.milvus has a client that bundles lack: name store.pgvector or store.opensearch")
    if pipeline.store.kafka is not None:
        problems.append(
            "store.kafka writes by librdkafka, which the service hasn't; name another store, or run it here"
        )
    if not is_remote(pipeline):
        problems += _of_model(pipeline.embedding) if with_model else [_missing(pipeline.embedding)]
    if pipeline.embedding.tokenizer is not None:
        problems.append("embedding.tokenizer is a place on this machine, which the service doesn't see; leave it out")
    if isinstance(source, Kinesis) and source.connector is not None:
        from connectors.kinesis.streams import check_flink_jar  # needs the extra `aws`

        try:
            check_flink_jar([jar.name for jar in named_jars(pipeline)])
        except ConfigError as error:
            problems += error.problems
    return problems


def _missing(embedding: Embedding) -> str:
    return (
        f"embedding.model {embedding.model} runs in the job, and the service has neither a GPU nor torch: name an "
        "endpoint that embeds, as in embedding.openai.url, or have freshet bundle --with-model carry it, for its CPUs"
    )


def _of_model(embedding: Embedding) -> list[str]:
    problems = []
    if embedding.engine == "torch":
        problems.append("embedding.engine is torch, which the service lacks: leave it out, and openvino is taken")
    if Path(embedding.model).expanduser().is_dir():
        problems.append(
            f"embedding.model {embedding.model} is a folder of this machine, which the service doesn't see: name a "
            "model that is in a package or in the hub's cache"
        )
    return problems


def is_remote(pipeline: Pipeline) -> bool:
    """Whether the pipeline embeds without a model of its own."""
    return pipeline.embedding.remote or pipeline.embedding.model == HASH


def named_jars(pipeline: Pipeline) -> list[Path]:
    """The JARs that the file names for Flink. Raises ConfigError where one isn't a file here."""
    found = []
    for url in filter(None, pipeline.flink_options.get("pipeline.jars", "").split(";")):
        path = Path(unquote(urlsplit(url).path))
        if not path.is_file():
            raise ConfigError([f"flink.pipeline.jars names {url}, which is no file on this machine"])
        found.append(path)
    return found


def ours() -> Entries:
    """Freshet's own modules that run in a job, and the files that they read, by their paths below PYTHONPATH."""
    return {
        path.relative_to(_ROOT).as_posix(): path.read_bytes()
        for package in OURS
        for path in sorted((_ROOT / package).rglob("*"))
        if path.suffix in _SUFFIXES
    }
