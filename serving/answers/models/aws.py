"""What answering models of AWS have in common: calls and streams of boto3's, in threads, and what their errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event
from typing import Any, TypeVar

from botocore.eventstream import ParserError
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError, ReadTimeoutError
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as StreamTimeoutError

from core.errors import brief
from serving.answers.models.contract import ModelFailed

ERRORS = (BotoCoreError, ClientError, ParserError, HTTPError, RecursionError)
"""What boto3 raises where a call, or a stream, fails: of a stream that is cut off, what urllib3 and its parser do; of
an answer that is nested too deep, what reads JSON does."""

_CALLS = 64
_BUSY = ("ThrottlingException", "TooManyRequestsException", "Throttling", "ServiceQuotaExceededException")
_REFUSALS = ("ValidationException", "ValidationError")
_SLOW = ("ModelTimeoutException",)

Item = TypeVar("Item")


def threads() -> ThreadPoolExecutor:
    """The threads of a model's calls: each of a stream's holds one until its end."""
    return ThreadPoolExecutor(_CALLS, "answers")


def failure(error: Exception, where: str) -> ModelFailed:
    """What an error of boto3's means to who asked; what it says of the account goes to the log alone."""
    log = f"{where}: {brief(str(error))}"
    if isinstance(error, ReadTimeoutError | StreamTimeoutError):
        return ModelFailed(504, "the answering model doesn't answer in time", log)
    if isinstance(error, ParamValidationError):
        return ModelFailed(400, f"the answering model refuses the request: {brief(str(error))}", log)
    if isinstance(error, RecursionError):
        return ModelFailed(502, "the answering model answers no message", log)
    if isinstance(error, ParserError | HTTPError):
        return ModelFailed(502, "the answering model's answer was cut off", log)
    if not isinstance(error, ClientError):
        return ModelFailed(503, "the answering model can't be reached", log)
    details: dict[str, Any] = dict(error.response.get("Error", {}))
    code = str(details.get("Code", ""))
    if code in _BUSY:
        return ModelFailed(429, "the answering model is busy: ask again", log)
    status = error.response.get("OriginalStatusCode", 400 if code in _REFUSALS else 500)
    if code in _REFUSALS or (code == "ModelError" and status in (400, 413, 422)):
        return ModelFailed(400, f"the answering model refuses the request: {brief(details.get('Message', ''))}", log)
    return ModelFailed(504 if code in _SLOW else 503, "the answering model fails: ask again", log)


async def in_thread(pool: Executor, call: Callable[[], Item], where: str) -> Item:
    """What a call of boto3's answers. Raises ModelFailed."""
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, call)
    except ERRORS as error:
        raise failure(error, where) from None


async def streamed(pool: Executor, begin: Callable[[], Iterable[Item]], where: str) -> AsyncGenerator[Item, None]:
    """What a stream of boto3's brings, as it comes. Raises ModelFailed; whoever stops stops the stream too."""
    loop, items, over = asyncio.get_running_loop(), asyncio.Queue[Any](), Event()
    end = object()

    def read() -> None:
        for each in begin():
            if over.is_set():
                return
            loop.call_soon_threadsafe(items.put_nowait, each)

    def ended(reading: Any) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(items.put_nowait, end)

    reading = pool.submit(read)
    reading.add_done_callback(ended)
    try:
        while (item := await items.get()) is not end:
            yield item
        reading.result()
    except ERRORS as error:
        raise failure(error, where) from None
    finally:
        over.set()
        # one that waits for a thread begins no more
        reading.cancel()


def lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a text that comes in parts, of which one may end anywhere."""
    held = b""
    for part in parts:
        *whole, held = (held + part).split(b"\n")
        yield from whole
    yield held
