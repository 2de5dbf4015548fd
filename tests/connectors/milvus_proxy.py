"""A way to a real Milvus that lets in whoever has the token of now, as Milvus does: each call is asked for it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc


@dataclass
class Door:
    """`url`: where it is; `lets_in`: the token without which nothing reaches the server."""

    url: str
    lets_in: str


class _Calls:
    """Every call, as bytes."""

    def __init__(self, to: Any, lets_in: Callable[[], str]) -> None:
        self._to, self._lets_in = to, lets_in

    def service(self, details: Any) -> Any:
        sent = dict(details.invocation_metadata).get("authorization")

        def call(request: bytes, context: Any) -> Any:
            if sent != b64encode(self._lets_in().encode()).decode():
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure, please check api key is correct")
            return self._to.unary_unary(details.method)(request, timeout=30)

        return grpc.unary_unary_rpc_method_handler(call)


@contextmanager
def door(address: str, token: str) -> Iterator[Door]:
    """Before the server at an address, on a free port."""
    with grpc.insecure_channel(address) as channel:
        server = grpc.server(futures.ThreadPoolExecutor(2))
        made = Door(f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", token)
        server.add_generic_rpc_handlers((_Calls(channel, lambda: made.lets_in),))
        server.start()
        try:
            yield made
        finally:
            server.stop(0).wait()
