"""PostgreSQL as a profile store: profiles, their identifiers, records, aliases and history, one transaction a batch."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import psycopg

from connectors.postgres.faults import ROW_FAULTS, TOO_SLOW, reason
from connectors.postgres.login import AS_WRITTEN, Login
from connectors.postgres.profiles import sql as statements
from connectors.postgres.session import Session, identifiers
from connectors.postgres.values import as_json, columns_of
from core.errors import ConfigError
from core.identity.audit import Audit, Cause, Kind, Why
from core.identity.identifiers import Identifier
from core.plans import Outcome, Status, rejected
from core.profiles.delivery import Delivery, Folded, Noted, Opening, folded, runs
from core.profiles.merging import Profile
from core.profiles.step import Placed, Touched
from core.stores.batches import halving
from core.stores.fitting import without_nul

_SETTING = "store.postgres"
_FORGET_EVERY_S = 3600.0
_LONGEST_NAME = 45  # of the 63 that PostgreSQL takes, before `_identifiers_index`


class PostgresProfiles:
    """A `ProfileStore` in the tables `<name>_profiles`, `<name>_identifiers` and so on of one database.

    One store holds one connection, made when first needed and made again when lost; it is not for several threads.
    """

    def __init__(
        self,
        dsn: str,
        name: str,
        patience_s: float = 30.0,
        remember_s: float = 7 * 86_400.0,
        login: Login = AS_WRITTEN,
    ) -> None:
        """`patience_s`: how long to wait for a server that is away; `remember_s`: how long what is gone is remembered.

        Raises ConfigError where the connection string can't be read, or the name is too long. Connects to nothing.
        """
        self._session = Session(dsn, _SETTING, login=login)
        self._patience_s = patience_s
        self._remember_s = remember_s
        self._forget_at = 0.0
        if len(name.encode()) > _LONGEST_NAME:
            raise ConfigError([f"name is {name!r}: tables are named after it, so it may have {_LONGEST_NAME} bytes"])
        tables = (*statements.TABLES, "records")
        indexes = [f"{table}_index" for table in (*statements.TABLES, "others")]
        self._names = identifiers(**{each: (f"{name}_{each}",) for each in (*tables, *indexes)})
        self._sql = {
            each: statement.format(**self._names).as_bytes(None) for each, statement in statements.STATEMENTS.items()
        }

    def prepare(self) -> None:
        """Make what is missing of the tables. Can be repeated, also by many at once.

        Doesn't wait for a server that is away. Raises Unavailable where it doesn't answer, ConfigError where the user
        may not make what is missing.
        """
        self._session.once(self._prepare)

    def look(self) -> bool:
        """Whether the tables are there; see `ProfileStore.look`. Else making them is tried, and rolled back."""
        return self._session.once(self._look)

    def _look(self) -> bool:
        connection = self._session.connection()
        (there,) = connection.execute(statements.IS_THERE.format(**self._names)).fetchall()
        if not there[0]:
            with connection.transaction(force_rollback=True):
                self._prepare()
        return bool(there[0])

    def _prepare(self) -> None:
        connection = self._session.connection()
        with connection.transaction():
            connection.execute(statements.ONE_AT_A_TIME)
            for statement in statements.CREATE:
                connection.execute(statement.format(**self._names))

    def begin(self, version: int, least: int = 0) -> Opening:
        """Begin an epoch; see `ProfileStore.begin`."""
        return self._session.patiently(lambda: self._begin(version, least), self._patience_s)

    def _begin(self, version: int, least: int) -> Opening:
        with self._session.transaction():
            (epoch,) = self._execute("begin", [least, version]).fetchall()[0]
            if not version:  # the first delivery forgets all there is
                return Opening(epoch)
            profiles = tuple(each for (each,) in self._execute("later_profiles", [version, version]).fetchall())
            groups = tuple(each for (each,) in self._execute("later_groups", [version]).fetchall())
            return Opening(
                epoch, Touched(profiles, groups, tuple(self._execute("later_records", [version]).fetchall()))
            )

    def apply(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Follow deliveries, in one transaction unless one can't be stored; see `ProfileStore.apply`.

        Raises Unavailable where the server is away for longer than the store's patience, ConfigError where its tables
        or rights are gone.
        """
        outcomes = halving(deliveries, self._attempt, _rejected, (*ROW_FAULTS, *TOO_SLOW))
        self._forget()
        return outcomes

    def _attempt(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        seen: list[tuple[int, int]] = []
        halved = TOO_SLOW if len(deliveries) > 1 else ()
        return self._session.patiently(lambda: self._transact(deliveries, seen), self._patience_s, halved)

    def _transact(self, deliveries: Sequence[Delivery], seen: list[tuple[int, int]]) -> list[Outcome]:
        """`seen`: the writer's epoch and version at each attempt, the first being what stood before them all."""
        with self._session.transaction() as connection:
            found = self._execute("writer", []).fetchall()
            epoch, version = found[0] if found else (0, 0)
            seen.append((epoch, version))
            fresh = [each for each in deliveries if each.epoch == epoch and each.version > seen[0][1]]
            if fresh and version != seen[0][1]:  # an attempt was committed, and its answer lost
                return _outcomes(deliveries, fresh)
            with connection.pipeline():
                for run in runs(fresh):
                    self._undo(run[0])
                    self._write(folded(run))
                if fresh:
                    self._execute("written", [fresh[-1].version])
        return _outcomes(deliveries, fresh)

    def _undo(self, first: Delivery) -> None:
        if first.undone is None:
            return
        self._execute("forget_audit", [first.undone])
        if not first.undone:
            for name in statements.EMPTYING:
                self._execute(name, [])

    def _write(self, changes: Folded) -> None:
        touched = [*changes.profiles, *changes.retired]
        if touched:
            self._execute("retire", [list(changes.retired)])
            self._execute("unlead", [list(changes.profiles)])
            held = _identifiers(changes)
            self._execute("unidentify", [touched, *(held[:3])])
            self._execute("identify", held)
        if changes.retired:
            self._execute(
                "lead", columns_of([(name, into, version) for name, (version, into) in changes.retired.items()])
            )
        if changes.profiles:
            self._execute("upsert", columns_of([_row(*each) for each in changes.profiles.values()]))
        if changes.groups:
            self._execute(
                "group", columns_of([(name, into, version) for name, (version, into) in changes.groups.items()])
            )
        if changes.records:
            rows = [(*_member(placed), version) for version, placed in changes.records.values()]
            self._execute("place", columns_of(rows))
        for each in changes.audit:
            self._execute("note", _note(each))

    def _forget(self) -> None:
        if time.monotonic() < self._forget_at:
            return
        for nth in range(3):
            self._session.patiently(
                lambda nth=nth: self._session.rows(self._sql[f"forget_{nth}"], [self._remember_s]),  # type: ignore[misc]
                self._patience_s,
            )
        self._forget_at = time.monotonic() + _FORGET_EVERY_S

    def get(self, profile_id: str) -> Profile | None:
        """The profile of this id or alias. Doesn't wait for a server that is away."""
        found = self._asked("profile", [profile_id])
        if not found:
            return None
        name, values, records, held = found[0]
        return Profile(name, _of_pairs(held), values, records)

    def find(self, identifier: Identifier) -> Profile | None:
        """The profile that an identifier is of. Doesn't wait for a server that is away."""
        found = self._asked("holder", [identifier.type, identifier.value])
        return self.get(found[0][0]) if found else None

    def of_record(self, record: str) -> Profile | None:
        """The profile that a record is part of. Doesn't wait for a server that is away."""
        found = self._asked("part_of", [record])
        return self.get(found[0][0]) if found and found[0][0] is not None else None

    def is_erased(self, profile_id: str) -> bool:
        """See `ProfileStore.is_erased`. Doesn't wait for a server that is away."""
        return bool(self._asked("erased", [profile_id])[0][0])

    def members(self, profile_id: str, most: int) -> list[Placed]:
        """At most so many of the records that make a profile. Doesn't wait for a server that is away."""
        rows = self._asked("members", [profile_id, most])
        return [Placed(record, table, group, _of_pairs(held)) for record, table, group, held in rows]

    def history(self, profile_id: str, most: int) -> list[Audit]:
        """At most so many audit records that name a profile, newest first. Doesn't wait for a server that is away."""
        rows = self._asked("history", [profile_id, profile_id, most])
        return [
            Audit(Kind(kind), name, tuple(others), _of_pairs(held), reason, Cause(record, position, time_ms, Why(why)))
            for kind, name, others, held, reason, record, position, time_ms, why in rows
        ]

    def everything(self) -> tuple[dict[str, Profile], dict[str, str]]:
        """See `ProfileStore.everything`; here as of one moment. Doesn't wait for a server that is away."""
        rows, records = self._session.once(self._everything)
        return {name: Profile(name, _of_pairs(held), values, of) for name, values, of, held in rows}, dict(records)

    def _everything(self) -> tuple[list[Any], list[Any]]:
        with self._session.connection().transaction():
            self._execute("frozen", [])
            return self._execute("all_profiles", []).fetchall(), self._execute("all_records", []).fetchall()

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()

    def _asked(self, name: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._session.once(lambda: self._session.rows(self._sql[name], parameters))

    def _execute(self, name: str, parameters: Sequence[Any]) -> psycopg.Cursor[Any]:
        return self._session.connection().execute(self._sql[name], parameters)


def _outcomes(deliveries: Sequence[Delivery], fresh: Sequence[Delivery]) -> list[Outcome]:
    applied = {id(each) for each in fresh}
    return [Outcome(each.record, Status.APPLIED if id(each) in applied else Status.STALE) for each in deliveries]


def _identifiers(changes: Folded) -> tuple[list[Any], ...]:
    """Columns: type, value, profile and how many stronger ones the profile has."""
    rows = {
        (each.type, without_nul(each.value)): (name, nth)
        for name, (_, profile, _) in changes.profiles.items()
        for nth, each in enumerate(profile.identifiers)
    }
    return columns_of([(*key, *held) for key, held in rows.items()]) if rows else ([], [], [], [])


def _row(version: int, profile: Profile, text: str) -> tuple[Any, ...]:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return profile.profile_id, as_json(profile.values), json.dumps(dict(profile.records)), digest, version


def _note(noted: Noted) -> list[Any]:
    version, nth, audit = noted
    held = _as_pairs(audit.identifiers)
    cause = audit.cause
    said = [audit.reason, cause.record, cause.why.value, cause.position, float(cause.time_ms)]
    return [version, nth, audit.kind.value, audit.profile_id, list(audit.others), held, *map(without_nul, said)]


def _member(placed: Placed) -> tuple[str, str, str | None, str]:
    return placed.record, placed.table, placed.group, _as_pairs(placed.identifiers)


def _as_pairs(held: Sequence[Identifier]) -> str:
    return json.dumps([[each.type, without_nul(each.value)] for each in held])


def _of_pairs(pairs: Sequence[Sequence[str]]) -> tuple[Identifier, ...]:
    return tuple(Identifier(*each) for each in pairs)


def _rejected(delivery: Delivery, error: Exception) -> Outcome:
    return rejected(delivery.record, error, reason(error))
