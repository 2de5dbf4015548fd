"""Questions to the identity graph: who is this, and what makes a profile?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.identity.identifiers import Identifier
from core.identity.ids import all_of, split
from core.identity.rules import identifier_id
from core.identity.state import Graph, Group, Record


def resolve(graph: Graph, profile_id: str) -> str | None:
    """The profile that is there under an id or under an alias; None where there is none."""
    while not is_there(graph, bytes.fromhex(profile_id)):
        alias = graph.aliases.get(profile_id)
        if alias is None:
            return None
        profile_id = alias.into
    return profile_id


def find(graph: Graph, identifier: Identifier) -> str | None:
    """The profile that an identifier is of; None where it links nothing or isn't there."""
    node = graph.nodes.get(identifier_id(identifier))
    return graph.clusters[node.cluster].canonical.hex() if node is not None and node.cluster else None


@dataclass(frozen=True, slots=True)
class Person:
    """A profile's groups by id, and its identifiers, strongest first."""

    groups: dict[str, Group]
    identifiers: tuple[Identifier, ...]


def person(graph: Graph, profile_id: str) -> Person | None:
    """What makes a profile; None where there is none of this id."""
    name = bytes.fromhex(profile_id)
    handle = cluster_of(graph, name)
    if not handle or graph.clusters[handle].canonical != name:
        return None
    cluster = graph.clusters[handle]
    groups = {gid.hex(): graph.groups[gid] for gid in split(cluster.groups)}
    identified = (graph.nodes[iid].identifier for iid in split(cluster.identifiers))
    return Person(groups, tuple(sorted(identified, key=graph.rules.order)))


def records_of(graph: Graph, group: str) -> Iterator[Record]:
    """The records of a group."""
    for rid in all_of(graph.pages, f"g{group}", graph.groups[bytes.fromhex(group)].records):
        yield graph.records[rid]


def profile_of(graph: Graph, gid: bytes) -> bytes | None:
    """The profile that a group is of; None for the group b"", which is none."""
    return graph.clusters[graph.groups[gid].cluster].canonical if gid else None


def cluster_of(graph: Graph, name: bytes) -> int:
    """The cluster of the identifier or group that a profile is called by; 0 where it is in none."""
    node = graph.nodes.get(name)
    if node is not None:
        return node.cluster
    group = graph.groups.get(name)
    return group.cluster if group is not None else 0


def is_there(graph: Graph, name: bytes) -> bool:
    """Whether there is a profile of this name."""
    handle = cluster_of(graph, name)
    return handle != 0 and graph.clusters[handle].canonical == name
