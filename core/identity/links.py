"""Groups of records come and go, and the clusters around them change.

Two cases need no linking anew (`core.identity.region`). What is added is within the limits together with all that it
touches: then each of its links is kept, and the cut ones between it and others stay cut, as nothing has become less.
Or what goes hangs by one identifier only, in a cluster without links that were cut.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from core.identity.greedy import counted
from core.identity.identifiers import Identifier
from core.identity.ids import add, remove, split, without
from core.identity.region import Relinked, groups_of, is_shared, place, relink, repoint
from core.identity.rules import identifier_id
from core.identity.state import Cluster, Graph, Group, Node


def add_group(graph: Graph, gid: bytes, group: Group, log: Relinked) -> None:
    """Link a group that is new."""
    graph.groups[gid] = group
    active: dict[bytes, Node] = {}
    became_shared = []
    for identifier in group.identifiers:
        iid = identifier_id(identifier)
        node = graph.nodes.get(iid) or Node(identifier)
        was = is_shared(graph, node)
        node = replace(node, groups=add(graph.pages, f"i{iid.hex()}", node.groups, gid))
        graph.nodes[iid] = node
        if not is_shared(graph, node):
            active[iid] = node
        elif not was:
            became_shared.append(iid)
    handles = {node.cluster for node in active.values()} - {0}
    if became_shared:
        for iid in became_shared:
            handles |= _retire_shared(graph, iid, log)
        relink(graph, handles, {gid}, set(), log)
    elif not _join(graph, gid, active, handles, log):
        # what it touches is around it at first, and joins the region only if it comes out otherwise
        relink(graph, set(), {gid}, {iid for iid, node in active.items() if not node.cluster}, log)


def remove_group(graph: Graph, gid: bytes, log: Relinked) -> None:
    """Take a group away that has no records any longer."""
    group = graph.groups[gid]
    cluster = graph.clusters[group.cluster]
    graph.groups[gid] = None
    log.saw(cluster.canonical)
    log.moves(gid, cluster.canonical, None)
    staying: list[bytes] = []
    again: list[bytes] = []
    gone: dict[bytes, Identifier] = {}
    for identifier in group.identifiers:
        iid = identifier_id(identifier)
        node = graph.nodes[iid]
        was = is_shared(graph, node)
        node = replace(node, groups=remove(graph.pages, f"i{iid.hex()}", node.groups, gid))
        graph.nodes[iid] = node if node.groups.count else None
        if was:
            again += [] if is_shared(graph, node) else [iid]
        elif node.groups.count:
            staying.append(iid)
        elif node.cluster == group.cluster:
            gone[iid] = identifier
    handles = {group.cluster}
    for iid in again:
        log.shared[graph.nodes[iid].identifier] = False
        handles |= {graph.groups[each].cluster for each in groups_of(graph, iid, graph.nodes[iid])}
    if again or cluster.cuts or len(staying) > 1:
        relink(graph, handles, set(), set(again), log)
    else:
        _shrink(graph, group.cluster, cluster, gid, gone, log)


def _retire_shared(graph: Graph, iid: bytes, log: Relinked) -> set[int]:
    """The clusters that an identifier linked which does so no longer."""
    node = graph.nodes[iid]
    log.shared[node.identifier] = True
    handles = {graph.groups[gid].cluster for gid in groups_of(graph, iid, node)}
    graph.nodes[iid] = replace(node, cluster=0)
    return (handles | {node.cluster}) - {0}


def _join(graph: Graph, gid: bytes, active: Mapping[bytes, Node], handles: set[int], log: Relinked) -> bool:
    """Whether all that a new group touches is within the limits together: then it is one cluster now."""
    alone = {iid: node.identifier for iid, node in active.items() if not node.cluster}
    counts = counted(list(alone), alone, graph.rules)
    clusters = {handle: graph.clusters[handle] for handle in handles}
    for cluster in clusters.values():
        counts = [a + b for a, b in zip(counts, cluster.counts, strict=True)]
    if any(count > limit for count, limit in zip(counts, graph.rules.limits, strict=True)):
        return False
    handle = max(clusters, key=lambda each: (len(clusters[each].groups), each), default=0) or graph.new_cluster()
    identified = [node.identifier for node in active.values()]
    names = [*alone, *(each.canonical for each in clusters.values())] if identified else [gid]
    canonical = min(names, key=lambda each: place(graph, each)) if identified else gid
    for other in clusters.keys() - {handle}:
        repoint(graph, split(clusters[other].groups), split(clusters[other].identifiers), handle)
        graph.clusters[other] = None
    repoint(graph, [gid], list(alone), handle)
    for each in clusters.values():
        log.saw(each.canonical)
    log.makes(canonical)
    log.moves(gid, None, canonical)
    for each in clusters.values():
        if each.canonical != canonical:
            for moved in split(each.groups):
                log.moves(moved, each.canonical, canonical)
    ordered = [clusters[handle]] if handle in clusters else []
    ordered += [clusters[each] for each in sorted(clusters.keys() - {handle})]
    graph.clusters[handle] = Cluster(
        b"".join([*(each.groups for each in ordered), gid]),
        b"".join([*(each.identifiers for each in ordered), *alone]),
        tuple(counts),
        canonical,
        any(each.cuts for each in ordered) or any(active[iid].groups.count > 1 for iid in alone),
    )
    return True


def _shrink(
    graph: Graph, handle: int, cluster: Cluster, gid: bytes, gone: Mapping[bytes, Identifier], log: Relinked
) -> None:
    """Less a group, and the identifiers that only it had; what stays hangs together still."""
    groups, identifiers = without(cluster.groups, gid), cluster.identifiers
    if not groups:
        graph.clusters[handle] = None
        return
    for iid in gone:
        identifiers = without(identifiers, iid)
    lost = counted(list(gone), gone, graph.rules)
    counts = tuple(had - less for had, less in zip(cluster.counts, lost, strict=True))
    canonical = cluster.canonical
    if canonical in gone:
        canonical = min(split(identifiers), key=lambda each: place(graph, each))
        for moved in split(groups):
            log.moves(moved, cluster.canonical, canonical)
    graph.clusters[handle] = replace(
        cluster, groups=groups, identifiers=identifiers, counts=counts, canonical=canonical
    )
    log.makes(canonical)
