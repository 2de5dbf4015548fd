"""A SageMaker endpoint that takes `inputs` and `parameters`, in one piece or token by token.

Sources: SageMaker Runtime's API reference, `InvokeEndpoint` and `InvokeEndpointWithResponseStream`; Hugging Face's Text
Generation Inference, "Consuming TGI" (`generate`, `generate_stream`); DJL Serving, "LMI input and output schema";
SageMaker JumpStart's example notebooks for Llama 2 and Flan-T5.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from functools import partial
from typing import Any

import msgspec

from connectors.aws.client import Aws, client
from core.config.answer import SageMakerChat
from core.errors import brief
from serving.answers.models.aws import in_thread, lines, streamed, threads
from serving.answers.models.contract import Body, ModelFailed, Wish, piece_of, whole_of, wish
from udfs.remote.failures import shown

_PARAMETERS = ("temperature", "top_p")
_EULA = "accept_eula=true"
_LENGTHS = ("length", "max_tokens")
_LARGEST_ERROR = 1 << 16

_encode = msgspec.json.Encoder().encode


class SageMakerModel:
    """A model behind such an endpoint."""

    def __init__(self, to: SageMakerChat, timeout_s: float) -> None:
        """Raises ConfigError where no region is known."""
        self.name = to.name
        self._to = to
        self._client = client("sagemaker-runtime", Aws(to.region, to.url), "answer.sagemaker", timeout_s)
        self._threads = threads()
        self._where = f"SageMaker endpoint {to.endpoint}"

    async def whole(self, body: Body) -> Body:
        """See `AnsweringModel.whole`."""
        asked = self._asked(wish(body), streams=False)
        call = partial(self._client.invoke_endpoint, **asked)
        answer = await in_thread(self._threads, lambda: call()["Body"].read(), self._where)
        return whole_of(self.name, _text(_json(answer)), "stop", None)

    async def pieces(self, body: Body) -> AsyncGenerator[Body, None]:
        """See `AnsweringModel.pieces`."""
        if not self._to.stream:
            answer = await self.whole(body)
            yield piece_of(self.name, answer["choices"][0]["message"]["content"])
            yield piece_of(self.name, None, "stop")
            return
        asked = self._asked(wish(body), streams=True)
        finish = "stop"
        async for said in streamed(self._threads, partial(self._stream, asked), self._where):
            text, ended = _token(said)
            finish = ended or finish
            if text:
                yield piece_of(self.name, text)
        yield piece_of(self.name, None, finish)

    async def close(self) -> None:
        """See `AnsweringModel.close`."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _stream(self, asked: dict[str, Any]) -> Iterator[Any]:
        events = self._client.invoke_endpoint_with_response_stream(**asked)["Body"]
        try:
            for line in lines(_parts(events)):
                said = line.strip().removeprefix(b"data:").strip()
                if said and said != b"[DONE]":
                    yield _json(said)
        finally:
            events.close()

    def _asked(self, wished: Wish, streams: bool) -> dict[str, Any]:
        request: dict[str, Any] = {"EndpointName": self._to.endpoint, "ContentType": "application/json"}
        if self._to.accept_eula:
            request["CustomAttributes"] = _EULA
        return {**request, "Body": _encode(self._body(wished, streams))}

    def _body(self, wished: Wish, streams: bool) -> dict[str, Any]:
        chosen = {name: getattr(wished, name) for name in _PARAMETERS if getattr(wished, name) is not None}
        if wished.temperature == 0:
            # which these containers refuse: without it they take the likeliest token
            del chosen["temperature"]
        elif chosen:
            chosen["do_sample"] = True
        if self._to.request == "text_inputs":
            limit = {} if wished.max_tokens is None else {"max_length": wished.max_tokens}
            return {"text_inputs": _one_text(wished), **chosen, **limit}
        if wished.max_tokens is not None:
            chosen["max_new_tokens"] = wished.max_tokens
        if wished.stop:
            chosen["stop"] = list(wished.stop)
        inputs: Any = _one_text(wished)
        if self._to.dialogs:
            inputs = [[{"role": role, "content": text} for role, text in wished.messages]]
        else:
            chosen["return_full_text"] = False
        return {"inputs": inputs, "parameters": chosen, **({"stream": True} if streams else {})}


def _one_text(wished: Wish) -> str:
    """The messages as one text; where there are several, each behind whose it is."""
    if len(wished.messages) == 1:
        return wished.messages[0][1]
    return "\n\n".join(text if role == "system" else f"{role.title()}: {text}" for role, text in wished.messages)


def _parts(events: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    for event in events:
        if "PayloadPart" in event:
            yield event["PayloadPart"]["Bytes"]


def _json(said: bytes) -> Any:
    try:
        return msgspec.json.decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ModelFailed(502, "the answering model answers what is no JSON", shown(said[:_LARGEST_ERROR])) from None


def _text(answer: Any) -> str:
    """The text of an answer: `generated_text`, `generation`, also of a message, or the first of `generated_texts`."""
    found = answer[0] if isinstance(answer, list) and answer else answer
    if isinstance(found, list) and found:
        found = found[0]
    if isinstance(found, dict):
        texts = found.get("generated_texts")
        first = texts[0] if isinstance(texts, list) and texts else None
        text = next((each for each in (found.get("generated_text"), found.get("generation"), first) if each), None)
        text = text.get("content") if isinstance(text, dict) else text
        if isinstance(text, str):
            return text
    raise ModelFailed(502, "the answering model answers no generated text", brief(str(answer)[:300]))


def _token(said: Any) -> tuple[str, str | None]:
    """What a line of a stream adds to the answer, and how the answer ends with it, if it does."""
    if not isinstance(said, dict) or (said.get("error") and "token" not in said):
        raise ModelFailed(502, "the answering model fails: ask again", brief(str(said)[:300]))
    outputs = said.get("outputs")
    if isinstance(outputs, list) and outputs:
        return str(outputs[0]), None
    token, details = said.get("token"), said.get("details")
    why = details.get("finish_reason") if isinstance(details, dict) else None
    ended = None if why is None else "length" if why in _LENGTHS else "stop"
    if not isinstance(token, dict) or token.get("special"):
        return "", ended
    return str(token.get("text", "")), ended
