"""A pipeline's bundle for Managed Service for Apache Flink: made, and written."""

from __future__ import annotations

from pathlib import Path

from core.config.msf import refused
from core.config.pipeline import Pipeline
from deploy.msf.bundle import RUN_OPTIONS, Bundle, build
from deploy.msf.wheels import PYTHON, vendored
from operations.reporting import Line, Say, Tone
from stack.jars import OF_JOBS, fetch
from udfs.pinned import cache

MORE_JARS = Path(__file__).parents[1] / "deploy" / "msf" / "jars.lock"


def made(pipeline: Pipeline, file: Path, say: Say, python: str = PYTHON) -> Bundle:
    """The pipeline's bundle; what is left out of it is named. Raises FreshetError where it can't be made."""
    for option, instead in refused(pipeline.flink_options).items():
        say(Line(f"flink.{option} is left out on the service", f": {instead}", Tone.WARNING))
    return build(pipeline, file, [*fetch(OF_JOBS), *fetch(MORE_JARS)], vendored(cache("packages"), python))


def write(built: Bundle, output: Path, say: Say) -> None:
    """The zip as a file, in one step, and the option to set on the service for it."""
    temporary = output.with_name(f".{output.name}.new")
    temporary.write_bytes(built.content)
    temporary.replace(output)
    options = ", ".join(f"{name}: {value}" for name, value in RUN_OPTIONS.items())
    what = f" is the application's code, with kinesis.analytics.flink.run.options {options}"
    say(Line(str(output), what, Tone.GOOD))
