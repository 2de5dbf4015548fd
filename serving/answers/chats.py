"""`POST /v1/chat/completions`: a question's prompt goes to the answering model, and the answer on as it comes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
from starlette.responses import Response

from serving import reading
from serving.access import Grant
from serving.answers.answering import Answering
from serving.answers.contexts import Contexts
from serving.answers.conversations import Conversations
from serving.answers.models.contract import AnsweringModel, Body, ModelFailed
from serving.answers.openai_errors import error, error_response
from serving.answers.shapes import Chat, Freshet, Message
from serving.answers.turns import Turn
from serving.event_stream import EventStream
from serving.figures import Figures
from serving.problems import Refused

_USER = "user"
_LIMITS = ("max_tokens", "max_completion_tokens")
_DONE = b"data: [DONE]\n\n"

_bodies = reading.Reader(Chat, "a chat")
_encode = msgspec.json.Encoder().encode
_log = logging.getLogger(__name__)


class Chats:
    """Answers chats by one model."""

    def __init__(
        self, contexts: Contexts, answering: Answering, conversations: Conversations | None, figures: Figures
    ) -> None:
        self._contexts = contexts
        self._model = answering.model
        self._counting = answering.counting
        self._conversations = conversations
        settings = answering.settings
        usual = {name: getattr(settings, name) for name in ("temperature", "top_p", "max_tokens")}
        self._usual: Body = {name: value for name, value in usual.items() if value is not None}
        self._figures = figures

    def models(self) -> Body:
        """The answer of `GET /v1/models`."""
        named = [] if self._model is None else [self._model.name]
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "freshet"} for name in named]
        return {"object": "list", "data": data}

    async def answer(self, grant: Grant, body: bytes) -> Response:
        """The answer to a chat's body. Raises Refused; what the model does is answered here, with the citations."""
        began, at = time.perf_counter(), time.time_ns() // 1_000_000
        chat, whole = _bodies.read(body), reading.anything(body)
        if (model := self._model) is None:
            raise Refused(404, "no answering model is named in this server's file: answer.openai, for one")
        if chat.model not in (None, "", model.name):
            raise Refused(404, f"there is no model {chat.model!r} here, but {model.name!r}", "model")
        place, question = _question(chat.messages)
        asked = chat.freshet or Freshet()
        reading.check_text(asked.conversation or "", "freshet.conversation")
        with self._figures.chatting("context"):
            made = await self._contexts.made(grant, question, asked)
        number = sum(each.role == _USER for each in chat.messages)
        name = asked.conversation or uuid4().hex
        found = time.perf_counter()
        turn = Turn(f"chatcmpl-{uuid4().hex}", began, at, name, number, question, made, found)
        forwarded = self._forwarded(whole, model, place, made.context.prompt)
        told = partial(self._tell, turn, grant.name, model.name)
        answered = self._streamed if chat.stream else self._whole
        try:
            return await answered(model, turn, forwarded, told)
        except RecursionError:
            raise Refused(422, "the request is nested too deep") from None

    def _tell(self, turn: Turn, tenant: str, model: str) -> None:
        """Have the turn written, once it is over."""
        if (conversations := self._conversations) is not None:
            # in a thread: to count tokens takes milliseconds, in which others are answered
            make = partial(turn.event, tenant, model, self._counting)
            asyncio.get_running_loop().run_in_executor(None, lambda: conversations.tell(make()))

    def _forwarded(self, asked: Body, model: AnsweringModel, place: int, prompt: str) -> Body:
        """What the model is sent: the body, with the prompt in the question's place."""
        asked.pop("freshet", None)
        message = asked["messages"][place]
        message["content"] = _with_prompt(message["content"], prompt)
        said = asked.keys() if not asked.keys() & set(_LIMITS) else {*asked, *_LIMITS}
        usual = {name: value for name, value in self._usual.items() if name not in said}
        return {**usual, **asked, "model": model.name}

    async def _whole(self, model: AnsweringModel, turn: Turn, body: Body, told: Callable[[], None]) -> Response:
        try:
            with self._figures.chatting("model"):
                answer = await model.whole(body)
            turn.came(answer)
        except ModelFailed as failed:
            return _failed(failed, turn)
        finally:
            told()
        return _json({**answer, "id": turn.id, "freshet": turn.answered()})

    async def _streamed(self, model: AnsweringModel, turn: Turn, body: Body, told: Callable[[], None]) -> Response:
        pieces = model.pieces(body)
        begins = False
        try:
            with self._figures.chatting("model"):
                first = await anext(pieces, None)
            if first is None:
                return _failed(ModelFailed(502, "the answering model answers nothing"), turn)
            begins = True
        except ModelFailed as failed:
            return _failed(failed, turn)
        finally:
            if not begins:
                told()
        return EventStream(_events(first, pieces, turn), told)


async def _events(first: Body, pieces: AsyncGenerator[Body, None], turn: Turn) -> AsyncIterator[bytes]:
    try:
        # whoever goes away has the model stop too
        async with aclosing(pieces):
            yield _event(first, turn, begins=True)
            async for piece in pieces:
                yield _event(piece, turn, begins=False)
    except ModelFailed as failed:
        _log.warning("the answering model: %s %s", failed, failed.log)
        turn.ends("error")
        said = error(failed.status, str(failed))
        yield b"data: " + _encode({"error": said, "id": turn.id, "freshet": turn.answered()}) + b"\n\n"
    yield _DONE


def _event(piece: Body, turn: Turn, begins: bool) -> bytes:
    ends = turn.came(piece)
    # what is cited is the server's to say
    piece.pop("freshet", None)
    more = {"freshet": turn.answered()} if begins or ends else {}
    return b"data: " + _encode({**piece, "id": turn.id, **more}) + b"\n\n"


def _failed(failed: ModelFailed, turn: Turn) -> Response:
    _log.warning("the answering model: %s %s", failed, failed.log)
    turn.ends("error")
    headers = {"Retry-After": "1"} if failed.status in (429, 503) else {}
    return error_response(failed.status, str(failed), None, headers, freshet=turn.answered())


def _question(messages: list[Message]) -> tuple[int, str]:
    """Where the last user's message is, and its text. Raises Refused."""
    place = next((at for at in range(len(messages) - 1, -1, -1) if messages[at].role == _USER), None)
    if place is None:
        raise Refused(422, "messages: none is of the role user, and so there is no question", "messages")
    content = messages[place].content
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [each["text"] for each in parts if isinstance(each, dict) and isinstance(each.get("text"), str)]
    if not (question := "\n".join(texts)).strip():
        raise Refused(422, f"messages[{place}].content has no text", f"messages[{place}].content")
    return place, question


def _with_prompt(content: Any, prompt: str) -> Any:
    """A message's content with the prompt in place of its texts; pictures and the like stay."""
    if not isinstance(content, list):
        return prompt
    others = [each for each in content if not (isinstance(each, dict) and isinstance(each.get("text"), str))]
    return [{"type": "text", "text": prompt}, *others]


def _json(body: Any) -> Response:
    return Response(_encode(body), media_type="application/json")
