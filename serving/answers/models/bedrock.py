"""A model of Bedrock's, by Converse and ConverseStream (Bedrock's API reference), whichever model it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from functools import partial
from itertools import groupby
from typing import Any

from connectors.aws.client import Aws, client
from core.config.answer import BedrockChat
from serving.answers.models.aws import in_thread, streamed, threads
from serving.answers.models.contract import Body, ModelFailed, Wish, piece_of, usage_of, whole_of, wish

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}


class BedrockModel:
    """A model that Converse asks."""

    def __init__(self, to: BedrockChat, timeout_s: float) -> None:
        """Raises ConfigError where no region is known."""
        self.name = to.name
        self._client = client("bedrock-runtime", Aws(to.region, to.url), "answer.bedrock", timeout_s)
        self._threads = threads()
        self._where = f"Bedrock model {to.model}"

    async def whole(self, body: Body) -> Body:
        """See `AnsweringModel.whole`."""
        call = partial(self._client.converse, **self._asked(wish(body)))
        answer = await in_thread(self._threads, call, self._where)
        try:
            text = "".join(each.get("text", "") for each in answer["output"]["message"]["content"])
        except (KeyError, TypeError):
            raise ModelFailed(502, "the answering model answers no message") from None
        return whole_of(self.name, text, _finish(answer), _usage(answer))

    async def pieces(self, body: Body) -> AsyncGenerator[Body, None]:
        """See `AnsweringModel.pieces`."""
        begin = partial(self._stream, self._asked(wish(body)))
        finished = False
        async for event in streamed(self._threads, begin, self._where):
            if "contentBlockDelta" in event and (text := event["contentBlockDelta"].get("delta", {}).get("text")):
                yield piece_of(self.name, text)
            elif "messageStop" in event:
                finished = True
                yield piece_of(self.name, None, _finish(event["messageStop"]))
            elif "metadata" in event and (usage := _usage(event["metadata"])) is not None:
                yield {"object": "chat.completion.chunk", "model": self.name, "choices": [], "usage": usage}
        if not finished:
            raise ModelFailed(502, "the answering model's answer was cut off")

    async def close(self) -> None:
        """See `AnsweringModel.close`."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _stream(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        events = self._client.converse_stream(**asked)["stream"]
        try:
            yield from events
        finally:
            events.close()

    def _asked(self, wished: Wish) -> dict[str, Any]:
        inference = {
            "maxTokens": wished.max_tokens,
            "temperature": wished.temperature,
            "topP": wished.top_p,
            "stopSequences": list(wished.stop) or None,
        }
        chosen = {name: value for name, value in inference.items() if value is not None}
        system = [{"text": text} for role, text in wished.messages if role == "system" and text]
        return {
            "modelId": self.name,
            "messages": _turns(wished),
            **({"system": system} if system else {}),
            **({"inferenceConfig": chosen} if chosen else {}),
        }


def _turns(wished: Wish) -> list[dict[str, Any]]:
    """The messages, those of one role in a row as one: Converse wants user and assistant by turns."""
    said = [(role, text) for role, text in wished.messages if role != "system" and text]
    return [
        {"role": role, "content": [{"text": text} for _, text in row]}
        for role, row in groupby(said, key=lambda each: each[0])
    ]


def _finish(answer: dict[str, Any]) -> str:
    return _FINISH.get(answer.get("stopReason", ""), "stop")


def _usage(answer: dict[str, Any]) -> dict[str, int] | None:
    usage = answer.get("usage")
    return None if not usage else usage_of(usage.get("inputTokens", 0), usage.get("outputTokens", 0))
