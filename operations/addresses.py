"""Where a pipeline's servers are, as `host:port`, and whether anybody listens there, before a client tries for long."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from connectors.reaching import unreachable
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from operations.own_stack import started_by


def of_store(pipeline: Pipeline, name: str) -> tuple[str, ...]:
    """The addresses of a store's servers; none where they are a service's, or their setting can't be read."""
    target = pipeline.store.targets[name]
    if not target.at:
        return ()
    where = getattr(target, target.at.rpartition(".")[2])
    if target.at == "dsn":
        return of_dsn(where, f"store.{name}")
    return of_servers((where,) if isinstance(where, str) else where or ())


def setting_of_store(pipeline: Pipeline, name: str) -> str:
    """The setting that says where a store is."""
    return f"store.{name}.{pipeline.store.targets[name].at}"


def of_source(pipeline: Pipeline) -> tuple[str, tuple[str, ...]]:
    """The setting that names a source's servers, and their addresses; none where it is a service, or files."""
    source = pipeline.source.chosen
    return f"source.{pipeline.source.name}.{source.at}", of_servers(source.servers)


def of_outcomes(pipeline: Pipeline) -> tuple[str, tuple[str, ...]]:
    """The setting that says where a pipeline's outcomes go, and the addresses."""
    cluster, _ = pipeline.outcomes_topic
    own = pipeline.outcomes is not None and pipeline.outcomes.kafka.cluster is not None
    return f"{'outcomes' if own else 'source'}.kafka.{cluster.at}", of_servers(cluster.servers)


def of_dsn(dsn: str, setting: str) -> tuple[str, ...]:
    """The servers of a connection string; none where it can't be read, or names none: its client knows better."""
    # imported late: who keeps vectors elsewhere needs no client of PostgreSQL's
    from connectors.postgres.session import names_server, server_of

    try:
        return tuple(server_of(dsn, setting).split(",")) if names_server(dsn) else ()
    except ConfigError:
        return ()


def of_servers(servers: Sequence[str]) -> tuple[str, ...]:
    """Of servers that settings name by URLs, or by `host:port` as it is."""
    return tuple(of_url(each) if "://" in each else each for each in servers)


def of_url(url: str) -> str:
    """A URL's server; "" where it can't be read, which is never quoted: its port may be part of a password."""
    parts = urlsplit(url)
    try:
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    except ValueError:
        return ""


def nobody_at(addresses: Sequence[str], setting: str) -> str:
    """What to do where nobody listens at any address that a setting gives; "" where somebody does."""
    why = unreachable(addresses)
    return f"{setting}: nobody answers at {', '.join(addresses)} ({why}): {started_by(addresses)}" if why else ""
