"""A connector of Debezium's on a feed's tables: made, struck, mended, removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import httpx
import psycopg
import tenacity

from chaos.feed import Place
from chaos.kafka import PARTITIONS, grown, remake_topics
from chaos.strikes import Fault, Strike
from connectors.kafka import clients as kafka_clients
from connectors.kafka.producer import ensure_topics
from core.errors import FreshetError
from stack.connect import register_postgres, remove_postgres

_DROP_SLOTS = """
    SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"""

Deleting = Callable[["psycopg.Connection[Any]", int], object]
"""Deletes some rows: of a remainder from 0 to 8."""


class Connector:
    """It has a topic a table, of PARTITIONS each to begin with."""

    def __init__(self, place: Place, tables: Sequence[str], deleting: Deleting) -> None:
        """Make topics and connector. `deleting` is done while the connector knows nothing of it."""
        self._place = place
        self._dsn = place.dsn
        self._tables = tuple(tables)
        self._deleting = deleting
        self._url = f"{place.stack.connect.url}/connectors/{place.name}"
        self.topics = {table: f"{place.name}.{table}" for table in tables}
        self._partitions = PARTITIONS
        ensure_topics(place.stack.kafka.bootstrap_servers, dict.fromkeys(self.topics.values(), PARTITIONS))
        self._register()

    def _register(self) -> None:
        of = self._place
        register_postgres(of.stack.connect.url, of.name, self._dsn, of.name, self._tables, PARTITIONS)

    def strike(self, strike: Strike, choices: Random) -> None:
        """Restart the connector, give its topics more partitions, have it forget where it was, or its topics too."""
        if strike.fault is Fault.CONNECTOR:
            self._connect("POST", "/restart", {"includeTasks": "true"})
        elif strike.fault is Fault.PARTITIONS:
            servers = self._place.stack.kafka.bootstrap_servers
            self._partitions = grown(servers, list(self.topics.values()), self._partitions, choices)
            # a producer learns of it in five minutes by itself
            self._connect("POST", "/restart", {"includeTasks": "true"})
        elif strike.fault is Fault.TOPIC:
            with self._forgotten():
                self._partitions = PARTITIONS
                # the connector writes all rows into the new ones again
                of = self._place.stack.kafka
                remake_topics(of.bootstrap_servers, dict.fromkeys(self.topics.values(), PARTITIONS))
        elif strike.fault is Fault.SNAPSHOT:
            with self._forgotten() as connection:
                # what is deleted meanwhile, it never tells: these rows at least, and what the writers delete
                self._deleting(connection, choices.randrange(9))
                time.sleep(strike.lasts_s)

    def move(self, dsn: str) -> None:
        """Tell of another database from now on, from a snapshot on, in the same topics."""
        with self._forgotten():
            remove_postgres(self._place.stack.connect.url, self._place.name, self._dsn)
            self._dsn = dsn
            self._register()

    @contextmanager
    def _forgotten(self) -> Iterator[psycopg.Connection[Any]]:
        """Within, the connector stands still and knows nothing of where it was; then it snapshots anew."""
        self._connect("PUT", "/stop")
        self._until("STOPPED")
        # the offsets first: without its slot a connector that knows where it was would go on after a gap
        self._connect("DELETE", "/offsets")
        with psycopg.connect(self._dsn, autocommit=True, connect_timeout=5) as connection:
            again = tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(psycopg.errors.ObjectInUse),
                stop=tenacity.stop_after_delay(20),
                wait=tenacity.wait_fixed(0.1),
                reraise=True,
            )
            again(lambda: connection.execute(_DROP_SLOTS))
            yield connection
        self._connect("PUT", "/resume")

    def mend(self) -> None:
        """Let a connector go on that a fault met while its offsets were being forgotten."""
        if self._status()["connector"]["state"] == "STOPPED":
            self._connect("PUT", "/resume")

    def end(self) -> None:
        """Remove the connector and the topics."""
        remove_postgres(self._place.stack.connect.url, self._place.name, self._dsn)
        admin = kafka_clients.admin({"bootstrap.servers": self._place.stack.kafka.bootstrap_servers})
        for deleted in admin.delete_topics(list(self.topics.values())).values():
            deleted.result()

    def _status(self) -> dict[str, Any]:
        found: dict[str, Any] = self._connect("GET", "/status").json()
        return found

    def _until(self, state: str) -> None:
        for _ in range(200):
            status = self._status()
            if status["connector"]["state"] == state and not status["tasks"]:
                return
            time.sleep(0.1)
        raise FreshetError(f"connector {self._place.name} is not {state} after 20 s")

    def _connect(self, method: str, path: str, parameters: dict[str, str] | None = None) -> httpx.Response:
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(httpx.HTTPError),
            stop=tenacity.stop_after_delay(30),
            wait=tenacity.wait_fixed(0.5),
            reraise=True,
        )
        return again(lambda: httpx.request(method, self._url + path, params=parameters, timeout=30).raise_for_status())
