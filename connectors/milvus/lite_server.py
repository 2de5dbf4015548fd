"""Milvus Lite as a server: `python -P lite_server.py FILE ADDRESS_FILE [PORT]`, on a port of 127.0.0.1, or a free one.

Lite's own command serves ten requests at once, and its collections bear one writer: so here it is one after the other.
It writes its address and its process down, and locks that file while it lives. At a free port it ends when nobody has
asked for long: who asks next starts it again.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from milvus_lite.db import MilvusLite
from pymilvus.grpc_gen import milvus_pb2_grpc

IDLE_SECONDS = 600.0
_LARGEST_MESSAGE = 256 * 2**20
_LOOK_EVERY_S = 1.0


class _Noted:
    """The methods of a servicer; notes when one was asked for last."""

    def __init__(self, servicer: Any) -> None:
        self._servicer = servicer
        self.last = time.monotonic()

    def __getattr__(self, name: str) -> Callable[[Any, Any], Any]:
        method = getattr(self._servicer, name)

        def asked(request: Any, context: Any) -> Any:
            self.last = time.monotonic()
            return method(request, context)

        return asked


def main(file: Path, address_file: Path, port: int = 0) -> None:
    """Serve a file until a signal ends it or, where it has chosen its port itself, nobody asks."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    database = MilvusLite(str(file))
    asked = _Noted(MilvusServicer(database))
    limits = [("grpc.max_receive_message_length", _LARGEST_MESSAGE), ("grpc.max_send_message_length", _LARGEST_MESSAGE)]
    server = grpc.server(ThreadPoolExecutor(1), options=limits)
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(asked, server)
    idle_s = math.inf if port else IDLE_SECONDS
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    # the lock goes last: who gets it starts another server on the file
    with address_file.open("a+b") as kept:
        kept.truncate(0)
        kept.write(json.dumps({"url": f"http://127.0.0.1:{port}", "pid": os.getpid()}).encode())
        kept.flush()
        # last: who can't lock it reads it
        fcntl.flock(kept, fcntl.LOCK_EX)
        while not ended.wait(_LOOK_EVERY_S) and time.monotonic() - asked.last < idle_s:
            pass
        server.stop(grace=5).wait()
        database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
