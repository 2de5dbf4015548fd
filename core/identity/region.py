"""A region of clusters linked anew: as small a one as gives what linking all would give.

Clusters are what `core.identity.greedy` makes of all groups. That is never computed as a whole, by two laws of it:

- A link between two clusters was cut, and one within a cluster was not. So a cluster's history, link by link, is that
  of its own links alone.
- Hence, if a region of clusters is linked anew together with the clusters around it (those to which links were cut),
  and the ones around come out as they were, then all others do too. Where one of them doesn't, it joins the region.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from core.identity.greedy import Link, Partition, counted, partition
from core.identity.identifiers import Identifier
from core.identity.ids import all_of, split
from core.identity.rules import identifier_id
from core.identity.state import Cluster, Graph, Group, Node


@dataclass(slots=True)
class Relinked:
    """What changed, in the ids of the state.

    before, after  a group's profile, where it is another; None: the group isn't there
    touched        profiles that aren't what they were, or were made
    lived, made    profiles that were there before, and that came to be since
    cut, healed    links, with the type whose limit a cut one broke
    shared         identifiers that link nothing any longer (True), or link again
    """

    before: dict[bytes, bytes | None] = field(default_factory=dict)
    after: dict[bytes, bytes | None] = field(default_factory=dict)
    touched: set[bytes] = field(default_factory=set)
    lived: set[bytes] = field(default_factory=set)
    made: set[bytes] = field(default_factory=set)
    cut: dict[Link, str] = field(default_factory=dict)
    healed: set[Link] = field(default_factory=set)
    shared: dict[Identifier, bool] = field(default_factory=dict)

    def moves(self, gid: bytes, before: bytes | None, after: bytes | None) -> None:
        """Note that a group goes from one profile to another."""
        self.before.setdefault(gid, before)
        self.after[gid] = after

    def saw(self, name: bytes) -> None:
        """Note a profile that was there before, unless it was made since."""
        if name not in self.made:
            self.lived.add(name)

    def makes(self, name: bytes) -> None:
        """Note a profile that is made, or changed."""
        self.touched.add(name)
        if name not in self.lived:
            self.made.add(name)


def is_shared(graph: Graph, node: Node) -> bool:
    """Whether an identifier stands on so many groups that it links none."""
    return node.groups.count > graph.rules.by_type[node.identifier.type].shared


def groups_of(graph: Graph, iid: bytes, node: Node) -> list[bytes]:
    """The groups that have an identifier."""
    return all_of(graph.pages, f"i{iid.hex()}", node.groups)


@dataclass(frozen=True, slots=True)
class _Region:
    """Clusters by number, and groups and identifiers beside them that are in none."""

    handles: frozenset[int]
    gids: frozenset[bytes] = frozenset()
    iids: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class _Part:
    """The groups of a region, and those of its identifiers that link."""

    groups: dict[bytes, Group]
    nodes: dict[bytes, Node]


def relink(graph: Graph, handles: set[int], gids: set[bytes], iids: set[bytes], log: Relinked) -> None:
    """Link a region anew: clusters by number, and groups and identifiers that are in none."""
    region = _Region(frozenset(handles), frozenset(gids), frozenset(iids))
    while True:
        inner = _part(graph, region)
        rim = _around(graph, inner)
        outer = _part(graph, rim)
        groups, nodes = {**inner.groups, **outer.groups}, {**inner.nodes, **outer.nodes}
        links = {
            gid: [iid for iid in map(identifier_id, group.identifiers) if iid in nodes] for gid, group in groups.items()
        }
        found = partition(groups, links, graph.rules, {iid: node.identifier for iid, node in nodes.items()})
        other = _other(graph, rim, found)
        if other == _NOTHING:
            _write(graph, region, inner, links, found, log)
            return
        region = _Region(region.handles | other.handles, region.gids, region.iids | other.iids)


_NOTHING = _Region(frozenset())


def _part(graph: Graph, region: _Region) -> _Part:
    clusters = [graph.clusters[handle] for handle in region.handles]
    gids = [*region.gids, *(gid for cluster in clusters for gid in split(cluster.groups))]
    iids = [*region.iids, *(iid for cluster in clusters for iid in split(cluster.identifiers))]
    groups = {gid: group for gid in gids if (group := graph.groups.get(gid)) is not None}
    nodes = {iid: node for iid in iids if (node := graph.nodes.get(iid)) is not None and not is_shared(graph, node)}
    return _Part(groups, nodes)


def _around(graph: Graph, inner: _Part) -> _Region:
    """What links from the region lead to: they all were cut."""
    handles: set[int] = set()
    iids: set[bytes] = set()
    for group in inner.groups.values():
        for iid in map(identifier_id, group.identifiers):
            node = graph.nodes[iid]
            if iid in inner.nodes or is_shared(graph, node):
                continue
            if node.cluster:
                handles.add(node.cluster)
            else:
                iids.add(iid)
    for iid, node in inner.nodes.items():
        outside = (gid for gid in groups_of(graph, iid, node) if gid not in inner.groups)
        handles.update(graph.groups[gid].cluster for gid in outside)
    return _Region(frozenset(handles), frozenset(), frozenset(iids))


def _other(graph: Graph, rim: _Region, found: Partition) -> _Region:
    """What of the rim didn't come out as it was."""
    sizes = Counter(found.roots.values())
    handles = set()
    for handle in rim.handles:
        cluster = graph.clusters[handle]
        members = split(cluster.groups) + split(cluster.identifiers)
        roots = {found.roots[each] for each in members}
        if len(roots) > 1 or sizes[roots.pop()] != len(members):
            handles.add(handle)
    iids = frozenset(iid for iid in rim.iids if sizes[found.roots[iid]] > 1)
    return _Region(frozenset(handles), frozenset(), iids)


def _write(
    graph: Graph,
    region: _Region,
    inner: _Part,
    links: Mapping[bytes, list[bytes]],
    found: Partition,
    log: Relinked,
) -> None:
    old = {handle: graph.clusters[handle] for handle in region.handles}
    for cluster in old.values():
        log.saw(cluster.canonical)
    cutting = _note_cuts(graph, region, inner, links, found, log)
    members: dict[bytes, tuple[list[bytes], list[bytes]]] = defaultdict(lambda: ([], []))
    for gid in inner.groups:
        members[found.roots[gid]][0].append(gid)
    for iid in inner.nodes:
        members[found.roots[iid]][1].append(iid)
    taken: set[int] = set()
    for root, (gids, iids) in sorted(members.items(), key=lambda each: (-len(each[1][0]), each[0])):
        if not gids:
            repoint(graph, [], iids, 0)
            continue
        votes = Counter(inner.groups[gid].cluster for gid in gids)
        handle = next((each for each, _ in votes.most_common() if each and each not in taken), 0) or graph.new_cluster()
        taken.add(handle)
        known = {iid: inner.nodes[iid].identifier for iid in iids}
        canonical = min(iids, key=lambda each: place(graph, each)) if iids else gids[0]
        for gid in gids:
            before = old.get(inner.groups[gid].cluster)
            if before is None or before.canonical != canonical:
                log.moves(gid, before.canonical if before else None, canonical)
        repoint(graph, gids, iids, handle)
        stood = old.get(handle)
        if stood is None or {*split(stood.groups)} != {*gids} or {*split(stood.identifiers)} != {*iids}:
            log.makes(canonical)
        counts = tuple(counted(iids, known, graph.rules))
        graph.clusters[handle] = Cluster(b"".join(gids), b"".join(iids), counts, canonical, root in cutting)
    for handle in region.handles - taken:
        graph.clusters[handle] = None


def _note_cuts(
    graph: Graph,
    region: _Region,
    inner: _Part,
    links: Mapping[bytes, list[bytes]],
    found: Partition,
    log: Relinked,
) -> set[bytes]:
    """Tell which links are cut now and weren't, or the other way; the roots of clusters that have cut links."""
    cutting = set()
    for gid, iids in links.items():
        for iid in iids:
            node = graph.nodes[iid]
            is_cut = found.roots[gid] != found.roots[iid]
            if is_cut:
                cutting |= {found.roots[gid], found.roots[iid]}
                _mark(graph, region, (graph.groups[gid].cluster, node.cluster))
            if gid not in inner.groups:
                continue
            is_new = gid in region.gids or log.shared.get(node.identifier) is False
            was_cut = not is_new and inner.groups[gid].cluster != node.cluster
            if is_cut and not was_cut:
                log.cut[gid, iid] = found.cut[gid, iid]
                log.healed.discard((gid, iid))
            elif was_cut and not is_cut:
                log.healed.add((gid, iid))
                log.cut.pop((gid, iid), None)
    return cutting


def _mark(graph: Graph, region: _Region, handles: Iterable[int]) -> None:
    """Note that clusters around have links that were cut; of the region's own it is noted as they are written."""
    for handle in handles:
        if handle and handle not in region.handles and not graph.clusters[handle].cuts:
            graph.clusters[handle] = replace(graph.clusters[handle], cuts=True)


def place(graph: Graph, iid: bytes) -> tuple[int, tuple[bool, int, str]]:
    """Where an identifier stands among others: `Rules.order`."""
    return graph.rules.order(graph.nodes[iid].identifier)


def repoint(graph: Graph, gids: Iterable[bytes], iids: Iterable[bytes], handle: int) -> None:
    """Write their cluster into groups and identifiers."""
    for gid in gids:
        if graph.groups[gid].cluster != handle:
            graph.groups[gid] = replace(graph.groups[gid], cluster=handle)
    for iid in iids:
        if graph.nodes[iid].cluster != handle:
            graph.nodes[iid] = replace(graph.nodes[iid], cluster=handle)
