"""A real HTTP server that answers as models do, by the published protocols, and fails as a test asks.

What it says is what it was asked: so a test sees what reached it. Of AWS's protocols nothing else plays the answers.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from binascii import crc32
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What goes wrong: another status and body, a wait before all, each piece or byte, an end behind so many pieces."""

    status: int = 200
    body: Any = None
    before_s: float = 0
    between_s: float = 0
    drips_s: float = 0
    cut_after: int | None = None
    raw: bytes | None = None


@dataclass
class Model:
    """The server. `says`: the pieces that it answers with; `named`: the models that OpenAI's list of it has.

    `extra`: further fields of each of OpenAI's objects.
    """

    address: str
    named: list[str] = field(default_factory=lambda: ["small"])
    says: list[str] = field(default_factory=lambda: ["From", " the", " passages", " [1]."])
    asked: list[Asked] = field(default_factory=list)
    fault: Fault = Fault()
    extra: dict[str, Any] = field(default_factory=dict)
    sent: int = 0
    left: threading.Event = field(default_factory=threading.Event)

    @property
    def prompt(self) -> str:
        """What the last request asked, in OpenAI's words."""
        content: str = self.asked[-1].body["messages"][-1]["content"]
        return content


Answer = tuple[str, list[bytes]]
"""A content type, and the parts of a body."""


def answer(model: Model, asked: Asked) -> Answer:
    """The right answer, in the words of whose path it is."""
    path, body = asked.path, asked.body
    if path.endswith("/chat/completions"):
        return _openai(model, body)
    if path.startswith("/endpoints/"):
        return _sagemaker(model, path, body)
    if path.endswith("/converse"):
        content = [{"text": "".join(model.says)}]
        message = {"message": {"role": "assistant", "content": content}}
        usage = {"inputTokens": 7, "outputTokens": 4, "totalTokens": 11}
        whole = {"output": message, "stopReason": "max_tokens", "usage": usage, "metrics": {"latencyMs": 1}}
        return "application/json", [_json(whole)]
    assert path.endswith("/converse-stream"), path
    events: list[tuple[str, Any]] = [("messageStart", {"role": "assistant"})]
    events += [("contentBlockDelta", {"delta": {"text": each}, "contentBlockIndex": 0}) for each in model.says]
    events += [("contentBlockStop", {"contentBlockIndex": 0}), ("messageStop", {"stopReason": "end_turn"})]
    usage = {"inputTokens": 7, "outputTokens": 4, "totalTokens": 11}
    events += [("metadata", {"usage": usage, "metrics": {"latencyMs": 1}})]
    kind = "application/vnd.amazon.eventstream"
    return kind, [frame(name, "application/json", _json(payload)) for name, payload in events]


def _openai(model: Model, body: dict[str, Any]) -> Answer:
    named = {"id": "chatcmpl-1", "created": 1, "model": body["model"], "system_fingerprint": "fp_x"} | model.extra
    usage = {"prompt_tokens": 7, "completion_tokens": len(model.says), "total_tokens": 7 + len(model.says)}
    if not body.get("stream"):
        message = {"role": "assistant", "content": "".join(model.says), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return "application/json", [_json({**named, "object": "chat.completion", "choices": [choice], "usage": usage})]
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": each}, None) for each in model.says]
    deltas += [({}, "stop")]
    chunk = {**named, "object": "chat.completion.chunk"}
    chunks = [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": why}]} for delta, why in deltas]
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**chunk, "choices": [], "usage": usage})
    # in two parts each, of which one ends within a character
    return "text/event-stream", [*(b"data: " + _json(each) + b"\n\n" for each in chunks), b"data: [DONE]\n\n"]


def _sagemaker(model: Model, path: str, body: dict[str, Any]) -> Answer:
    text = "".join(model.says)
    if path.endswith("/invocations-response-stream"):
        lines = [{"token": {"id": at, "text": each, "special": False}} for at, each in enumerate(model.says)]
        end = {"token": {"id": 2, "text": "</s>", "special": True}, "generated_text": text}
        told = [*lines, {**end, "details": {"finish_reason": "eos_token", "generated_tokens": len(lines)}}]
        whole = b"".join(b"data:" + _json(each) + b"\n\n" for each in told)
        # parts end anywhere, also within a character
        pieces = [whole[at : at + 17] for at in range(0, len(whole), 17)]
        return "application/vnd.amazon.eventstream", [
            frame("PayloadPart", "application/octet-stream", each) for each in pieces
        ]
    if "text_inputs" in body:
        return "application/json", [_json({"generated_texts": [text]})]
    if isinstance(body["inputs"], list):
        return "application/json", [_json([{"generation": {"role": "assistant", "content": text}}])]
    return "application/json", [_json([{"generated_text": text}])]


def frame(name: str, kind: str, payload: bytes, message: str = "event") -> bytes:
    """A message of AWS's event streams: lengths, headers, payload, and a CRC of the first two and one of all."""
    named = ":event-type" if message == "event" else ":exception-type"
    headers = b"".join(
        struct.pack("!B", len(key)) + key.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for key, value in ((named, name), (":content-type", kind), (":message-type", message))
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    begun = prelude + struct.pack("!I", crc32(prelude)) + headers + payload
    return begun + struct.pack("!I", crc32(begun))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


@contextmanager
def answering_model(reply: Callable[[Model, Asked], Answer] = answer) -> Iterator[Model]:
    """On a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            body = _json({"object": "list", "data": [{"id": each, "object": "model"} for each in model.named]})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(unquote(self.path), dict(self.headers.items()), json.loads(raw))
            model.asked.append(asked)
            try:
                self._reply(asked, model.fault)
            except OSError:
                self.close_connection = True
                model.left.set()

        def _reply(self, asked: Asked, fault: Fault) -> None:
            time.sleep(fault.before_s)
            kind, parts = reply(model, asked) if fault.body is None else ("application/json", [_json(fault.body)])
            if fault.raw is not None:
                parts = [fault.raw]
            self.send_response(fault.status)
            self.send_header("Content-Type", kind)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at, part in enumerate(parts):
                if at == fault.cut_after:
                    self.close_connection = True
                    self.connection.close()
                    return
                time.sleep(fault.between_s if at else 0)
                for some in [part] if not fault.drips_s else [part[at : at + 1] for at in range(len(part))]:
                    time.sleep(fault.drips_s)
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(some), some))
                model.sent += 1
            self.wfile.write(b"0\r\n\r\n")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    model = Model(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
