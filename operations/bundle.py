"""A pipeline's bundle for Managed Service for Apache Flink: made, and written."""

from __future__ import annotations

from pathlib import Path

from core.config.msf import refused
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from deploy.msf.archive import Entries
from deploy.msf.bundle import RUN_OPTIONS, Bundle, build, is_remote
from deploy.msf.job_jars import MORE_JARS
from deploy.msf.model import carried
from deploy.msf.wheels import OF_A_MODEL, PYTHON, vendored
from operations.reporting import Line, Say, Tone
from stack.jars import OF_JOBS, fetch
from udfs.embedding.engines import wants_package
from udfs.embedding.graphs import LOCK
from udfs.pinned import cache


def made(pipeline: Pipeline, file: Path, say: Say, python: str = PYTHON, with_model: bool = False) -> Bundle:
    """The pipeline's bundle, with its model where that is asked for; what is left out of it is named.

    Raises FreshetError where it can't be made.
    """
    for option, instead in refused(pipeline.flink_options).items():
        say(Line(f"flink.{option} is left out on the service", f": {instead}", Tone.WARNING))
    jars = [*fetch(OF_JOBS), *fetch(MORE_JARS)]
    model = _model(pipeline, python) if with_model else None
    return build(pipeline, file, jars, vendored(cache("packages"), python), model)


def _model(pipeline: Pipeline, python: str) -> Entries:
    """The pipeline's model, and what computes it. Raises ConfigError where it has none of its own."""
    if is_remote(pipeline):
        raise ConfigError([f"--with-model: embedding.model {pipeline.embedding.model} has none to carry: leave it out"])
    if wants_package(pipeline.embedding):
        fetch(LOCK)
    return {**carried(pipeline), **vendored(cache("packages"), python, OF_A_MODEL)}


def write(built: Bundle, output: Path, say: Say) -> None:
    """The zip as a file, in one step, and the option to set on the service for it."""
    _written(built.content, output)
    options = ", ".join(f"{name}: {value}" for name, value in RUN_OPTIONS.items())
    what = f" is the application's code, with kinesis.analytics.flink.run.options {options}"
    say(Line(str(output), what, Tone.GOOD))


def write_plugin(pipeline: Pipeline, providers: Path, folder: Path, say: Say) -> None:
    """MSK Connect's plugin for the source of a pipeline, under its own name in a folder.

    providers  AWS's msk-config-providers, the archive with dependencies

    Raises ConfigError where the pipeline doesn't read Debezium's events from Kafka, FreshetError as what makes it.
    """
    if not (pipeline.reads_kafka and pipeline.events.of_debezium):
        raise ConfigError(["--providers is for MSK Connect's plugin, and this pipeline reads no events of Debezium"])
    # imported late: it takes what the local stack needs, which a check of a file doesn't
    from deploy.msk_connect.plugin import debezium, plugin

    version, jars = debezium()
    made_ = plugin(jars, providers)
    _written(made_.content, folder / made_.name)
    what = f" is MSK Connect's plugin, sha256 {made_.sha256}: Debezium {version}, and {providers.name}, sha256 "
    say(Line(str(folder / made_.name), f"{what}{made_.providers_sha256}", Tone.GOOD))


def _written(content: bytes, file: Path) -> None:
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_bytes(content)
    temporary.replace(file)
