"""What an answering model is to a chat, and what of OpenAI's protocol each of them can be asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from core.errors import FreshetError

Body = dict[str, Any]
"""A request of `POST /v1/chat/completions`, or what is answered to one, as OpenAI's API reference has it."""


class ModelFailed(FreshetError):
    """A model gives no answer, or no whole one.

    status  what a client is answered: 400 where the model refuses the request, 429 where it is busy, 502 where it
            answers what is none or is cut off, 503 where it is away, 504 where it is slow
    log     what is only for the server's log
    """

    def __init__(self, status: int, message: str, log: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.log = log


class AnsweringModel(Protocol):
    """A model that answers. Many ask at once."""

    @property
    def name(self) -> str:
        """What answers and `/v1/models` call it."""

    async def whole(self, body: Body) -> Body:
        """The answer to a request, a `chat.completion`. Raises ModelFailed."""

    def pieces(self, body: Body) -> AsyncGenerator[Body, None]:
        """The same as it comes, `chat.completion.chunk`s, of which one has a `finish_reason`. Raises ModelFailed.

        Whoever asks may stop; then the model is to stop too.
        """

    async def close(self) -> None:
        """Give connections back."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What of a request models can be asked that don't speak OpenAI's protocol.

    messages     role and text of each; roles are system, user and assistant
    max_tokens, temperature, top_p, stop  as OpenAI has them; None, and no text, where nothing is asked
    """

    messages: Sequence[tuple[str, str]]
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: Sequence[str]


_ROLES = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}
_IMPOSSIBLE = ("tools", "functions", "response_format", "logprobs", "audio", "modalities")


def wish(body: Mapping[str, Any]) -> Wish:
    """Read a request. Raises ModelFailed, with 400, where it asks for more than texts, or of another kind."""
    if asked := [name for name in _IMPOSSIBLE if body.get(name)]:
        raise ModelFailed(400, f"{asked[0]}: the answering model has no such thing")
    if body.get("n") not in (None, 1):
        raise ModelFailed(400, "n: the answering model gives one answer")
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    stop = body.get("stop") or []
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
        raise ModelFailed(400, "stop must be a text or a list of texts")
    return Wish(
        [_message(each) for each in body["messages"]],
        None if limit is None else int(_number("max_tokens", limit)),
        _number("temperature", body.get("temperature")),
        _number("top_p", body.get("top_p")),
        stops,
    )


def _number(name: str, value: Any) -> Any:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise ModelFailed(400, f"{name} must be a number")


def _message(message: Mapping[str, Any]) -> tuple[str, str]:
    role = _ROLES.get(message["role"])
    if role is None:
        raise ModelFailed(400, f"messages: the answering model knows no role {message['role']!r}")
    return role, text_of(message.get("content"))


def text_of(content: Any) -> str:
    """The text of a message's content, which may be a list of parts. Raises ModelFailed for parts of other kinds."""
    if content is None or isinstance(content, str):
        return content or ""
    parts: list[Any] = content if isinstance(content, list) else [None]
    if not all(isinstance(each, dict) and isinstance(each.get("text"), str) for each in parts):
        raise ModelFailed(400, "messages: the answering model takes texts alone")
    return "\n".join(each["text"] for each in parts)


def whole_of(model: str, text: str, finish: str, usage: Mapping[str, int] | None) -> Body:
    """An answer of a text, as OpenAI's protocol has it."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    answer: Body = {"object": "chat.completion", "model": model, "choices": [choice]}
    return answer if usage is None else {**answer, "usage": dict(usage)}


def piece_of(model: str, text: str | None, finish: str | None = None) -> Body:
    """A piece of an answer; `text` is None for the last one, which says how it ended."""
    delta = {} if text is None else {"role": "assistant", "content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {"object": "chat.completion.chunk", "model": model, "choices": [choice]}


def usage_of(prompt: int, answer: int) -> dict[str, int]:
    """How many tokens were read and written, in OpenAI's words."""
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
