"""A pipeline file, read for a command: as `core.config.file` does, and the secrets that it refers to are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connectors.rotation import ask
from core.config import file as config_file
from core.config.pipeline import Pipeline, SourceDatabase


def load(path: Path) -> Pipeline:
    """Read a pipeline file.

    Raises ConfigError where it is wrong, or a secret isn't there; Unavailable where nobody tells.
    """
    return _with_passfiles(config_file.load(path, secret=ask))


def with_passfiles(pipeline: Pipeline) -> dict[str, str]:
    """Of a pipeline of `load` the connection strings that name a passfile, by their settings' names."""
    dsns = {f"store.{name}.dsn": dsn for name, dsn in _dsns(pipeline).items()}
    if isinstance(pipeline.database, SourceDatabase):
        dsns["reselect.postgres.dsn"] = pipeline.database.dsn
    if not dsns:
        return {}
    # imported late: who keeps vectors elsewhere needs no client of PostgreSQL's
    from connectors.postgres.session import passfile_of

    return {setting: dsn for setting, dsn in dsns.items() if passfile_of(dsn)}


def _dsns(pipeline: Pipeline) -> dict[str, str]:
    """The stores' connection strings, by their names."""
    found = ((name, getattr(each, "dsn", "")) for name, each in pipeline.store.targets.items())
    return {name: dsn for name, dsn in found if dsn}


def _with_passfiles(pipeline: Pipeline) -> Pipeline:
    """A passfile's path holds for this folder, and the job's workers may be in another one."""
    dsns, source = _dsns(pipeline), pipeline.database
    if not dsns and not isinstance(source, SourceDatabase):
        return pipeline
    from connectors.postgres.session import with_whole_passfile  # as above

    targets = pipeline.store.targets
    changed = {name: targets[name].model_copy(update={"dsn": with_whole_passfile(dsn)}) for name, dsn in dsns.items()}
    update: dict[str, Any] = {"store": pipeline.store.model_copy(update=changed)}
    if pipeline.reselect is not None and isinstance(source, SourceDatabase):
        whole = source.model_copy(update={"dsn": with_whole_passfile(source.dsn)})
        update["reselect"] = pipeline.reselect.model_copy(update={"postgres": whole})
    return pipeline.model_copy(update=update)
