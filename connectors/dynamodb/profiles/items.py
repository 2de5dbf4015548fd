"""How profiles lie in one DynamoDB table: which items, under which keys, and what a delivery makes of them.

The key is `pk`, which names the pipeline, the generation and the thing, and `sk`:

    people#G#p#ID           -        a profile, or `into` where its id leads now
    people#G#i#TYPE=VALUE   -        whose an identifier is
    people#G#g#ID           -        a group of records; `owner` is its profile
    people#G#r#RECORD       -        a record of a source; `owner` is its group
    people#G#h#PROFILE      v.n      what happened to a profile
    people#G#log            v.e.n    what each version changed: what a job that goes back has to send again
    people                  writer   epoch and version, the generation, and the delivery that is being written

Each of the first four may have a second item beside it, whose `sk` is `next`: what it is to be once the delivery that
`of` names is committed. A generation that is forgotten as a whole is left behind, and deleted later.
Sources of the rules: DynamoDB's developer guide, "Quotas" (items of 400 KB, names and values counted; keys of 2,048 and
1,024 bytes; 100 items and 4 MB a transaction).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from core.change import Position
from core.identity.audit import Audit, Cause, Kind, Why
from core.identity.identifiers import Identifier
from core.profiles.delivery import Delivery, Folded, Noted, folded
from core.profiles.merging import Profile
from core.profiles.step import Placed, Touched
from core.stores.batches import sized
from core.stores.fitting import without_nul

Key = tuple[str, str]
"""`pk` and `sk`."""

Item = dict[str, Any]
"""Typed attributes, without those of the key."""

Entry = list[str]
"""Of the log: a kind of thing and its name."""

LARGEST = 400_000
"""Bytes of an item; DynamoDB takes 409,600, keys included."""

_LONGEST_KEY = 900
_LOG_BYTES = 200_000


class Unfit(Exception):
    """An item that DynamoDB doesn't take."""


@dataclass(frozen=True, slots=True)
class Space:
    """Where a pipeline's items of one generation are."""

    name: str
    generation: int

    def pk(self, kind: str, name: str = "") -> str:
        """The key of a thing; of a long name, its hash stands in it. Raises Unfit for half a surrogate pair."""
        whole = f"{self.name}#{self.generation:016d}#{kind}#{name}"
        try:
            raw = whole.encode()
        except UnicodeEncodeError:
            raise Unfit(f"{name[:40]!a} has half a surrogate pair, which no database can hold") from None
        if len(raw) <= _LONGEST_KEY:
            return whole
        return f"{self.name}#{self.generation:016d}#{kind}##{blake2b(raw, digest_size=32).hexdigest()}"


@dataclass(slots=True)
class Writes:
    """What deliveries make of the table.

    items    by `pk`, those that readers see as of one moment; None: it goes
    history  audit records, by key; None: it goes
    log      what was changed
    freed    identifiers that profiles had and have no longer: gone, unless another has taken them
    """

    items: dict[str, Item | None] = field(default_factory=dict)
    history: dict[Key, Item | None] = field(default_factory=dict)
    log: list[Entry] = field(default_factory=list)
    freed: tuple[Identifier, ...] = ()


Held = Mapping[str, tuple[Identifier, ...]]
"""By profile, the identifiers that the store has of it."""


def text(value: str) -> dict[str, str]:
    """A typed text."""
    return {"S": value}


def number(value: int) -> dict[str, str]:
    """A typed number."""
    return {"N": str(value)}


def touched_by(run: Iterable[Delivery]) -> set[str]:
    """The profiles that deliveries tell of."""
    return {
        name
        for each in run
        for name in (
            *(profile.profile_id for profile in each.changes.profiles),
            *(gone.profile_id for gone in each.changes.retired),
        )
    }


def writes_of(space: Space, run: Sequence[Delivery], held: Held, expires: int) -> Writes:
    """What deliveries, taken together, make of the table. `expires`: when dead ends may go, in seconds since 1970."""
    changes = folded(run)
    made = Writes()
    mine = {each: name for name, (_, profile, _) in changes.profiles.items() for each in plain(profile.identifiers)}
    had = {each for name in (*changes.profiles, *changes.retired) for each in held.get(name, ())}
    made.freed = tuple(sorted(had - mine.keys()))
    _profiles(space, changes, expires, made)
    for each, name in mine.items():
        if each not in held.get(name, ()):
            made.items[space.pk("i", f"{each.type}={each.value}")] = {
                "type": text(each.type),
                "value": text(each.value),
                "profile_id": text(name),
            }
    for name, (version, of) in changes.groups.items():
        made.items[space.pk("g", name)] = {"group_id": text(name), **_owned(space, of, version, expires)}
        made.log.append(["g", name])
    for record, (version, placed) in changes.records.items():
        made.items[space.pk("r", record)] = {
            "record": text(record),
            "source_table": text(placed.table),
            "identifiers": text(_pairs(placed.identifiers)),
            **_owned(space, placed.group, version, expires),
        }
        made.log.append(["r", record, placed.table])
    for noted in changes.audit:
        for name in dict.fromkeys((noted.audit.profile_id, *noted.audit.others)):
            place = f"{noted.version:016d}.{noted.nth:06d}"
            made.history[space.pk("h", name), place] = _note(noted)
            made.log.append(["h", name, place])
    return made


def _profiles(space: Space, changes: Folded, expires: int, made: Writes) -> None:
    for name, (version, profile, said) in changes.profiles.items():
        made.items[space.pk("p", name)] = {
            "profile_id": text(name),
            "values": text(json.dumps(profile.values, ensure_ascii=False)),
            "records": text(json.dumps(dict(profile.records), ensure_ascii=False)),
            "identifiers": text(_pairs(profile.identifiers)),
            "text_hash": {"B": blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()},
            "version": number(version),
        }
        made.log.append(["p", name])
    for name, (version, into) in changes.retired.items():
        ends = {"expires": number(expires)} if into is None else {"into": text(into)}
        made.items[space.pk("p", name)] = {"profile_id": text(name), **ends, "version": number(version)}
        made.log.append(["p", name])


def _owned(space: Space, owner: str | None, version: int, expires: int) -> Item:
    of = {"expires": number(expires)} if owner is None else {"owner": text(owner_of(space, owner))}
    return {**of, "version": number(version)}


def owner_of(space: Space, name: str) -> str:
    """How the index has the owner of a group or record."""
    return f"{space.name}#{space.generation:016d}#{name}"


def log_items(space: Space, first: int, last: int, epoch: int, entries: Sequence[Entry]) -> dict[Key, Item]:
    """The log of deliveries, in as many items as it takes."""
    parts = list(sized(entries, lambda entry: sum(len(part.encode()) + 4 for part in entry), _LOG_BYTES))
    return {
        (space.pk("log"), f"{last:016d}.{epoch:016d}.{nth:06d}"): {
            "first": number(first),
            "told": text(json.dumps(part, ensure_ascii=False)),
        }
        for nth, part in enumerate(parts or [[]])
    }


def entries_of(items: Iterable[Item]) -> Iterator[Entry]:
    """What log items tell of."""
    for item in items:
        yield from json.loads(item["told"]["S"])


def touched_in(entries: Iterable[Entry]) -> Touched:
    """The profiles, groups and records of the log's entries, each once."""
    found: dict[str, dict[tuple[str, ...], None]] = {"p": {}, "g": {}, "r": {}}
    for kind, *name in entries:
        if kind in found:
            found[kind][tuple(name)] = None
    # "", the table of one that was deleted, sorts first
    records = {name[0]: name[1] for name in sorted(found["r"])}
    return Touched(tuple(name for (name,) in found["p"]), tuple(name for (name,) in found["g"]), tuple(records.items()))


def size_of(item: Mapping[str, Any]) -> int:
    """About the bytes that DynamoDB counts."""
    found = 0
    for name, typed in item.items():
        (value,) = typed.values()
        found += len(name) + (len(value.encode()) if isinstance(value, str) else len(bytes(value)))
    return found


def refuse_unfit(made: Writes) -> None:
    """Raises Unfit where an item is more than DynamoDB takes."""
    for name, item in made.items.items():
        if (reason := unfit(name, item)) is not None:
            raise Unfit(reason)
    for (name, _), item in made.history.items():
        if (reason := unfit(name, item)) is not None:
            raise Unfit(reason)


def unfit(name: str, item: Item | None) -> str | None:
    """Why DynamoDB doesn't take an item; None where it does."""
    try:
        size = 0 if item is None else size_of(item)
    except UnicodeEncodeError:
        return f"{name[:80]!a} has half a surrogate pair in a text, which no database can hold"
    if size > LARGEST:
        return f"{name[:80]} has {size:,} bytes; items of DynamoDB have {LARGEST:,} at most"
    return None


def beside(item: Item | None, token: str) -> Item:
    """What an item is to be, to lie beside it. Its names are others, so that index and expiry go by what stands."""
    if item is None:
        return {"of": text(token)}
    return {f"{name}_next": value for name, value in item.items()} | {"of": text(token)}


def ahead(item: Item) -> Item | None:
    """The item that `beside` put next to what stands; None: it goes."""
    found = {name.removesuffix("_next"): value for name, value in item.items() if name.endswith("_next")}
    return found or None


def profile_of(item: Item) -> Profile:
    """The profile that its item tells."""
    held = identifiers_in(item)
    return Profile(item["profile_id"]["S"], held, json.loads(item["values"]["S"]), json.loads(item["records"]["S"]))


def identifiers_in(item: Item) -> tuple[Identifier, ...]:
    """Those of a profile or record."""
    return tuple(Identifier(*each) for each in json.loads(item["identifiers"]["S"]))


def placed_of(item: Item) -> Placed:
    """The record that its item tells."""
    group = item["owner"]["S"].rpartition("#")[2] if "owner" in item else None
    return Placed(item["record"]["S"], item["source_table"]["S"], group, identifiers_in(item))


def audit_of(item: Item) -> Audit:
    """The audit record that its item tells."""
    kind, name, others, held, reason, record, position, time_ms, why = json.loads(item["audit"]["S"])
    cause = Cause(record, Position(position), time_ms, Why(why))
    return Audit(Kind(kind), name, tuple(others), tuple(Identifier(*each) for each in held), reason, cause)


def _note(noted: Noted) -> Item:
    audit, cause = noted.audit, noted.audit.cause
    held = [list(each) for each in plain(audit.identifiers)]
    said: list[Any] = [audit.kind.value, audit.profile_id, audit.others, held, audit.reason]
    said += [cause.record, cause.position, cause.time_ms, cause.why.value]
    return {"audit": text(json.dumps(said, ensure_ascii=False)), "version": number(noted.version)}


def plain(held: Iterable[Identifier]) -> tuple[Identifier, ...]:
    """Identifiers as every store has them: NUL becomes U+FFFD."""
    return tuple(Identifier(each.type, without_nul(each.value)) for each in held)


def _pairs(held: Iterable[Identifier]) -> str:
    return json.dumps([list(each) for each in plain(held)], ensure_ascii=False)
