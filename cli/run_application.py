"""The program of a Flink application cluster: `python -m cli.run_application PIPELINE.YAML`, as its JobManager runs it.

Flink's own program for Python, `org.apache.flink.client.python.PythonDriver`, starts it by `-pym cli.run_application`
("Application Mode", in Flink's documentation). The cluster has one job, this one, and ends with it. Where checkpoints
lie, how many slots there are and what the job resumes from is the cluster's configuration.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment

from connectors.opening.stores import prepare, stores_of
from core.config.pipeline import Pipeline
from core.errors import FreshetError
from core.stores.owning import How
from deploy.msf.job_jars import job_jars
from deploy.msf.main import with_types
from flink_jobs.engine.environment import application_options
from flink_jobs.running.owning import in_log, taken
from operations.pipeline_file import load
from udfs.embedding.embedder import dimension

_WAY = "Here they are arguments of the program: `job.args` of a FlinkDeployment"
_THIS_LOG = "with --log={mark} among the arguments of the program"
_log = logging.getLogger("freshet")


def main(
    pipeline: Annotated[Path, typer.Argument(metavar="PIPELINE.YAML")],
    mixed: Annotated[bool, typer.Option("--mixed", help="As of `freshet run`.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="As of `freshet run`.")] = False,
    log: Annotated[str, typer.Option(help="The mark of the log that is meant, where it is another one.")] = "",
) -> None:
    """Make the stores' tables and indexes, and run the pipeline's job."""
    how = How.MIXED if mixed else How.REBUILD if rebuild else How.REFUSE
    try:
        run(load(pipeline), how, log)
    except FreshetError as error:
        _log.error("%s", error)
        sys.exit(2)


def run(pipeline: Pipeline, how: How, log: str = "") -> None:
    """Submit the job to the cluster that this program is of, and wait for its end. Raises FreshetError."""
    configuration = Configuration()
    for name, value in application_options(pipeline, job_jars(pipeline)).items():
        configuration.set_string(name, value)
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    prepare(stores_of(pipeline), partial(dimension, pipeline.embedding))
    found = in_log(pipeline, taken(pipeline, how, _WAY), log, _THIS_LOG)
    for each in found.notes:
        _log.warning("%s", each)
    pipeline = with_types(pipeline)
    # imported late: what is wrong with the pipeline is logged before
    from flink_jobs.job import build

    build(pipeline, environment, owner=found.owner)
    environment.execute(pipeline.name)


if __name__ == "__main__":
    typer.run(main)
