"""moto's services in one process: `python -P aws_server.py HOST PORT`.

moto's own command serves them with werkzeug's server for development, which ends each connection after one answer, and
looks for its modules on the disk at each request: a small object took 5 ms of both sides' processors, and takes 2.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
import threading
from collections import defaultdict
from functools import cache
from typing import Any

import waitress
from moto import backends
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

_THREADS = 32  # some hold a request until there is something to tell
_HERE = ("127.0.0.1", "localhost", "[::1]")
_ELSEWHERE = ("cross-site", "same-site")


def copy_tables_lightly() -> None:
    """Have a transaction keep what it may change as references to the items, not as copies of all that there are.

    For each write of a transaction moto copies the table, item by item, to put it back where a condition fails. Items
    that are put or deleted are other objects then; one that is updated may stay so. One transaction at a time.
    """
    writes: list[dict[str, Any]] = []
    copies: dict[str, Table] = {}
    transact = DynamoDBBackend.transact_write_items

    def copied(table: Table, memo: dict[int, Any]) -> Table:
        if table.name in copies:
            return copies[table.name]
        found = copies[table.name] = copy.copy(table)
        # as a whole: the hash of a key, which adding it alone would ask for, takes longer than all else
        found.items = defaultdict(dict, table.items)
        for write in writes:
            if write["TableName"] == table.name and (key := _partition(write, table)) in table.items:
                items = table.items[key]
                found.items[key] = dict(items) if isinstance(items, dict) else items
        return found

    def transacted(backend: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        writes[:] = [write for each in transact_items for write in each.values()]
        copies.clear()
        transact(backend, transact_items)

    Table.__deepcopy__ = copied  # type: ignore[attr-defined]
    DynamoDBBackend.transact_write_items = transacted  # type: ignore[method-assign, assignment]


def _partition(write: dict[str, Any], table: Table) -> DynamoType:
    return DynamoType((write.get("Key") or write["Item"])[table.hash_key_attr])


def is_of_a_page(environ: dict[str, Any], is_local: bool) -> bool:
    """Whether a page of another site asks, in a browser of this machine: moto lets each one read and change all.

    A browser says so by `Origin`, or by `Sec-Fetch-Site` (W3C, Fetch Metadata); where a site's own name is made to
    lead here, it is in `Host`, by which a server for this machine alone, `is_local`, knows it.
    """
    host = environ.get("HTTP_HOST", "").lower()
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    origin = environ.get("HTTP_ORIGIN")
    is_strange = is_local and bool(name) and name not in _HERE and not name.endswith(".localhost")
    is_others = origin is not None and origin.lower() != f"http://{host}"
    return is_strange or is_others or environ.get("HTTP_SEC_FETCH_SITE") in _ELSEWHERE


def _refuse(start_response: Any) -> list[bytes]:
    start_response("403 Forbidden", [("Content-Type", "text/plain")])
    return [b"pages of other sites aren't answered"]


def main() -> None:
    """Serves until the process is ended."""
    host, port = sys.argv[1:]
    os.environ["MOTO_PORT"] = port  # for the addresses in its answers
    named = cache(lambda modules=backends.list_of_moto_modules: tuple(modules()))
    backends.list_of_moto_modules = named
    copy_tables_lightly()
    one_at_a_time = threading.Lock()
    # It warns where requests have to wait for a thread.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    moto = DomainDispatcherApplication(create_backend_app)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if is_of_a_page(environ, host in _HERE):
            return _refuse(start_response)
        environ["RAW_URI"] = environ["REQUEST_URI"]  # moto knows the path of an object, %2F and all, by this name alone
        if environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB_"):
            with one_at_a_time:  # a transaction of moto's is seen half done by whoever asks meanwhile
                return moto(environ, start_response)
        return moto(environ, start_response)

    waitress.serve(application, host=host, port=int(port), threads=_THREADS)


if __name__ == "__main__":
    main()
