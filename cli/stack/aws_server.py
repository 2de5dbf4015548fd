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
from moto.dynamodb.models.table import Table
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

_THREADS = 32  # some hold a request until there is something to tell


def copy_tables_lightly() -> None:
    """Have a transaction keep what there was before it as references to the items, not as copies of them all.

    For each transaction moto copies the table, item by item, to put it back where a condition fails. Items that are put
    or deleted are other objects then; one that is updated may stay so.
    """

    def copied(table: Table, memo: dict[int, Any]) -> Table:
        found = copy.copy(table)
        found.items = defaultdict(dict)
        for key, items in table.items.items():
            found.items[key] = dict(items) if isinstance(items, dict) else items
        return found

    Table.__deepcopy__ = copied  # type: ignore[attr-defined]


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
        environ["RAW_URI"] = environ["REQUEST_URI"]  # moto knows the path of an object, %2F and all, by this name alone
        if environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB_"):
            with one_at_a_time:  # a transaction of moto's is seen half done by whoever asks meanwhile
                return moto(environ, start_response)
        return moto(environ, start_response)

    waitress.serve(application, host=host, port=int(port), threads=_THREADS)


if __name__ == "__main__":
    main()
