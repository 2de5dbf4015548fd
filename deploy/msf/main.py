"""The program that Managed Service for Apache Flink runs: the job of the pipeline file in the bundle.

The service starts it as `flink run --python main.py --pyFiles python --jarfile lib/freshet.jar` would, with nothing
else installed than apache-flink. Source of the form of the properties: its developer guide, "Runtime properties".
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment

import core
from connectors.aws import Aws
from connectors.aws_secrets import SecretsManager
from connectors.opening import prepare
from core.config_file import load
from core.errors import ConfigError
from core.msf import properties_file, refused
from flink_jobs.environment import service_options
from udfs.embedding import dimension

SETTINGS = "freshet"
"""The group of properties that stand in place of what the pipeline file says."""
VARIABLES = "freshet.variables"
"""The group of what `${NAME}` in the pipeline file means."""

_PIPELINE = Path(core.__file__).parents[1] / "pipeline.yaml"
_log = logging.getLogger("freshet")


def main() -> None:
    """Read the pipeline file, make its stores' tables and indexes, and run its job. Raises FreshetError."""
    groups = property_groups(Path(properties_file(os.environ)))
    variables = {**os.environ, **groups.get(VARIABLES, {})}
    pipeline = load(_PIPELINE, variables, groups.get(SETTINGS, {}), SecretsManager(Aws()).value)
    for option, instead in refused(pipeline.flink_options).items():
        _log.warning("flink.%s is not set: the service takes it from no program; %s", option, instead)
    configuration = Configuration()
    for name, value in service_options(pipeline).items():
        configuration.set_string(name, value)
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    # The application's own setting: with autoscaling it changes.
    pipeline = pipeline.model_copy(update={"parallelism": environment.get_parallelism()})
    prepare(pipeline, dimension(pipeline.embedding))
    # Imported late: what is wrong with the settings is told before.
    from flink_jobs.job import build

    build(pipeline, environment)
    environment.execute(pipeline.name)


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
