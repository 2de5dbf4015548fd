"""The program that Managed Service for Apache Flink runs: the job of the pipeline file in the bundle.

The service starts it as `flink run --python main.py --pyFiles python --jarfile lib/freshet.jar` would, with nothing
else installed than apache-flink. Source of the form of the properties: its developer guide, "Runtime properties".
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment

import core
from connectors.opening.stores import prepare, stores_of
from connectors.postgres.column_types import typed
from connectors.rotation import ask
from core.config.file import load
from core.config.msf import properties_file, refused
from core.config.pipeline import Pipeline
from core.errors import ConfigError, Unavailable
from core.stores.fingerprint import Owner
from core.stores.owning import How
from flink_jobs.engine.environment import service_options
from flink_jobs.running.owning import in_log, taken
from flink_jobs.running.topics import of_topics
from udfs.embedding.embedder import dimension

SETTINGS = "freshet"
"""The group of properties that stand in place of what the pipeline file says."""
VARIABLES = "freshet.variables"
"""The group of what `${NAME}` in the pipeline file means."""
RUN = "freshet.run"
"""The group that stands for options of `freshet run`: `changed` is refuse, mixed or rebuild; `log` a log's mark."""
_THIS_LOG = f"with the property log of the group {RUN} set to {{mark}}"
REHEARSAL = "rehearsal"
"""The property of that group by which the job writes to its stores without making them its own."""

_PIPELINE = Path(core.__file__).parents[1] / "pipeline.yaml"
_log = logging.getLogger("freshet")


def main() -> None:
    """Read the pipeline file, make its stores' tables and indexes, and run its job. Raises FreshetError."""
    groups = property_groups(Path(properties_file(os.environ)))
    variables = {**os.environ, **groups.get(VARIABLES, {})}
    pipeline = load(_PIPELINE, variables, groups.get(SETTINGS, {}), ask)
    for option, instead in refused(pipeline.flink_options).items():
        _log.warning("flink.%s is not set: the service takes it from no program; %s", option, instead)
    configuration = Configuration()
    for name, value in service_options(pipeline).items():
        configuration.set_string(name, value)
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    # The application's own setting: with autoscaling it changes.
    pipeline = pipeline.model_copy(update={"parallelism": environment.get_parallelism()})
    prepare(stores_of(pipeline), partial(dimension, pipeline.embedding))
    run = groups.get(RUN, {})
    owner = owned(pipeline, run)
    pipeline = with_types(pipeline)
    # Imported late: what is wrong with the settings is logged before.
    from flink_jobs.job import build

    # A rehearsal must not stop the run whose stores it writes to.
    build(pipeline, environment, owner=None if REHEARSAL in run else owner)
    environment.execute(pipeline.name)


def with_types(pipeline: Pipeline) -> Pipeline:
    """The pipeline with the types of columns that the source's database tells, where it is set and answers."""
    try:
        found, missing = typed(pipeline)
    except Unavailable as error:
        _log.warning("%s: the types of columns weren't asked", error)
        return pipeline
    for each in missing:
        _log.warning("%s", each)
    return found


def owned(pipeline: Pipeline, run: Mapping[str, str]) -> Owner:
    """The owner that the job makes of itself when it first writes: not here, as a new JobManager comes by too.

    `run`: the properties of the group RUN. Raises ConfigError where it would mix what was made in two ways, or take a
    store from another pipeline; OtherLog where the source's log isn't the one that the stores' documents came from.
    """
    changed = run.get("changed", How.REFUSE.value)
    if changed not in [*How]:
        raise ConfigError([f"property changed of {RUN} is {changed!r}: it must be one of {', '.join(How)}"])
    way = (
        f"Here the property changed of the group {RUN} stands for these options: mixed, or rebuild, with an "
        "application that starts without a snapshot"
    )
    found = in_log(pipeline, taken(pipeline, How(changed), way), run.get("log", ""), _THIS_LOG, of_topics)
    for each in found.notes:
        _log.warning("%s", each)
    return found.owner


def property_groups(file: Path) -> dict[str, dict[str, str]]:
    """The application's properties by their groups; none where there is no such file.

    Raises ConfigError where the file isn't of the service's form; its values are never quoted.
    """
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ConfigError([f"{file}: not JSON"]) from None
    try:
        return {
            str(group["PropertyGroupId"]): {str(name): str(value) for name, value in group["PropertyMap"].items()}
            for group in read
        }
    except (TypeError, KeyError, AttributeError):
        raise ConfigError([f"{file}: must be a list of objects with PropertyGroupId and PropertyMap"]) from None


if __name__ == "__main__":
    main()
