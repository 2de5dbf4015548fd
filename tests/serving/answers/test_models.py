"""Answering models by their protocols: what is sent to each, how its answer becomes OpenAI's, and how each fails.

SageMaker and Bedrock are played by a server of the tests, by their documentation: boto3 signs and parses as for AWS,
but no model of AWS's ever answered here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr

from core.config.answer import Answer, Answering, BedrockChat, OpenAiChat, SageMakerChat
from serving.answers.models.aws import streamed
from serving.answers.models.contract import AnsweringModel, ModelFailed, wish
from serving.answers.models.opening import opened
from tests.answering_model import Fault, Model, answering_model, frame
from tests.aws import CREDENTIALS

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hallo"},
    {"role": "user", "content": [{"type": "text", "text": "How long?"}]},
]
KINDS: dict[str, Callable[[str], Answering]] = {
    "openai": lambda url: OpenAiChat(url=f"{url}/v1", model="small", api_key=SecretStr("sk-secret")),
    "sagemaker": lambda url: SageMakerChat(endpoint="llama", url=url),
    "dialogs": lambda url: SageMakerChat(endpoint="llama", url=url, dialogs=True, accept_eula=True, stream=False),
    "text_inputs": lambda url: SageMakerChat(endpoint="flan", url=url, request="text_inputs", stream=False),
    "bedrock": lambda url: BedrockChat(model="eu.amazon.nova-lite-v1:0", url=url),
}
SAID = "Grüße\u2028 from [1]."


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with answering_model() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        running.says = ["Grü", "ße\u2028", " from", " [1]."]
        yield running


@pytest.fixture(autouse=True)
def fresh(model: Model) -> None:
    model.fault = Fault()
    model.asked.clear()


def of(kind: str, url: str, timeout_s: float = 20) -> AnsweringModel:
    name = kind if kind in ("openai", "bedrock") else "sagemaker"
    found = opened(Answer.model_validate({name: KINDS[kind](url), "timeout": timeout_s}))
    assert found is not None
    return found


def whole(kind: str, model: Model, timeout_s: float = 20, **body: Any) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        asked = of(kind, model.address, timeout_s)
        try:
            return await asked.whole({"model": "small", "messages": MESSAGES, **body})
        finally:
            await asked.close()

    return asyncio.run(ask())


def pieces(kind: str, model: Model, timeout_s: float = 20, most: int = 1_000, **body: Any) -> list[dict[str, Any]]:
    async def ask() -> list[dict[str, Any]]:
        asked, found = of(kind, model.address, timeout_s), []
        try:
            stream = asked.pieces({"model": "small", "messages": MESSAGES, **body})
            async for each in stream:
                found.append(each)
                if len(found) == most:
                    await stream.aclose()
                    break
            return found
        finally:
            await asked.close()

    return asyncio.run(ask())


def text_of(found: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for each in found for choice in each["choices"])


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_openais_in_whole_and_in_pieces(model: Model, kind: str) -> None:
    answer = whole(kind, model, max_tokens=30, temperature=0.2, top_p=0.9, stop=["\n\n"])
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == SAID
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["choices"][0]["finish_reason"] == ("length" if kind == "bedrock" else "stop")
    found = pieces(kind, model)
    assert {each["object"] for each in found} == {"chat.completion.chunk"} and text_of(found) == SAID
    if kind in ("openai", "sagemaker", "bedrock"):
        assert len([each for each in found if text_of([each])]) == 4
    ends = [choice["finish_reason"] for each in found for choice in each["choices"] if choice["finish_reason"]]
    assert ends == ["stop"]


def test_what_openais_protocol_says_goes_on_as_it_is(model: Model) -> None:
    more = {"seed": 7, "logit_bias": {"5": -100}, "tools": [{"type": "function"}], "n": 2}
    whole("openai", model, **more)
    (asked,) = model.asked
    assert asked.path == "/v1/chat/completions" and asked.headers["Authorization"] == "Bearer sk-secret"
    assert asked.body == {"model": "small", "messages": MESSAGES, **more, "stream": False}
    found = pieces("openai", model, stream_options={"include_usage": True})
    assert found[-1]["choices"] == [] and found[-1]["usage"]["completion_tokens"] == 4


def test_what_sagemakers_containers_are_sent(model: Model) -> None:
    given = {"max_completion_tokens": 30, "temperature": 0.2, "top_p": 0.9, "stop": "\n\n"}
    for kind in ("sagemaker", "dialogs", "text_inputs"):
        whole(kind, model, **given)
    pieces("sagemaker", model, temperature=0)
    of_text, dialogs, texts, streamed = model.asked
    chosen = {"temperature": 0.2, "top_p": 0.9, "do_sample": True}
    parameters = {**chosen, "max_new_tokens": 30, "stop": ["\n\n"]}
    text = "Be brief.\n\nUser: Hallo\n\nUser: How long?"
    assert of_text.path == "/endpoints/llama/invocations" and of_text.headers["Authorization"].startswith("AWS4-HMAC")
    assert of_text.body == {"inputs": text, "parameters": {**parameters, "return_full_text": False}}
    said = [("system", "Be brief."), ("user", "Hallo"), ("user", "How long?")]
    assert dialogs.body == {
        "inputs": [[{"role": role, "content": text} for role, text in said]],
        "parameters": parameters,
    }
    assert dialogs.headers["X-Amzn-SageMaker-Custom-Attributes"] == "accept_eula=true"
    assert texts.body == {"text_inputs": text, **chosen, "max_length": 30}
    assert streamed.path == "/endpoints/llama/invocations-response-stream"
    assert streamed.body == {"inputs": text, "parameters": {"return_full_text": False}, "stream": True}


def test_what_bedrock_is_sent(model: Model) -> None:
    assert whole("bedrock", model, max_tokens=30, temperature=0, stop=["x"])["usage"]["total_tokens"] == 11
    found = pieces("bedrock", model)
    assert found[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
    asked, streamed = model.asked
    assert (asked.path, streamed.path) == tuple(
        f"/model/eu.amazon.nova-lite-v1:0/{each}" for each in ("converse", "converse-stream")
    )
    assert asked.body == {
        "messages": [{"role": "user", "content": [{"text": "Hallo"}, {"text": "How long?"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 30, "temperature": 0, "stopSequences": ["x"]},
    }


FAULTS: dict[str, tuple[Fault, int]] = {
    "refuses": (Fault(400, {"error": {"message": "too long for sk-secret"}}), 400),
    "is busy": (Fault(429, {"message": "slowly"}), 429),
    "fails": (Fault(500, {"message": "oh"}), 503),
    "lets nobody in": (Fault(403, {"message": "sk-secret is no key"}), 502),
    "is slow": (Fault(before_s=1.5), 504),
    "answers no JSON": (Fault(raw=b"<html>"), 502),
    "answers another object": (Fault(body={"answer": 42}), 502),
    "answers no choices": (Fault(body={"choices": []}), 502),
    "answers no choice": (Fault(body={"choices": [None], "output": None}), 502),
    "answers without an end": (Fault(raw=b'{"choices": ' + b"[" * 100_000), 502),
    "answers byte by byte": (Fault(drips_s=0.05), 504),
}
OF_AWS = {
    "refuses": (Fault(400, {"__type": "ValidationException", "message": "too long"}), 400),
    "is busy": (Fault(429, {"__type": "ThrottlingException", "message": "slowly"}), 429),
    "lets nobody in": (Fault(403, {"__type": "AccessDeniedException", "message": "arn:aws:iam::1:role"}), 503),
}


@pytest.mark.parametrize("kind", ["openai", "sagemaker", "bedrock"])
@pytest.mark.parametrize("what", FAULTS)
def test_how_a_model_fails_is_said(model: Model, kind: str, what: str) -> None:
    model.fault, status = (OF_AWS if kind != "openai" and what in OF_AWS else FAULTS)[what]
    with pytest.raises(ModelFailed) as failed:
        whole(kind, model, 0.5)
    assert failed.value.status == status, failed.value
    assert "sk-secret" not in f"{failed.value} {failed.value.log}" and "arn:" not in str(failed.value)
    if what.startswith("answers") and what != "answers byte by byte":
        return  # a stream isn't JSON
    with pytest.raises(ModelFailed) as failed:
        pieces(kind, model, 0.5)
    assert failed.value.status == status, failed.value


@pytest.mark.parametrize("kind", ["openai", "sagemaker", "bedrock"])
def test_a_model_that_is_away_or_cuts_off(model: Model, kind: str) -> None:
    model.fault = Fault(cut_after=3)
    with pytest.raises(ModelFailed, match="cut off") as failed:
        pieces(kind, model)
    assert failed.value.status == 502
    model.fault = Fault(between_s=1.5)
    with pytest.raises(ModelFailed, match="in time") as failed:
        pieces(kind, model, 0.5)
    assert failed.value.status == 504
    with pytest.raises(ModelFailed, match="can't be reached") as failed:
        whole(kind, Model("http://127.0.0.1:9"))
    assert failed.value.status == 503


@pytest.mark.parametrize("kind", ["openai", "sagemaker", "bedrock"])
def test_who_goes_away_has_the_model_stop(model: Model, kind: str) -> None:
    model.fault, model.sent = Fault(between_s=0.2), 0
    model.left.clear()
    says, model.says = model.says, ["word "] * 100
    try:
        assert len(pieces(kind, model, most=2)) == 2
        assert model.left.wait(10) and model.sent < 50
    finally:
        model.says = says


def test_who_has_gone_starts_no_call_from_the_queue() -> None:
    begun, free = list[str](), threading.Event()

    def begin() -> list[str]:
        begun.append("a call")
        return []

    async def leave(pool: ThreadPoolExecutor) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(streamed(pool, begin, "a model")), 0.05)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(free.wait, 20)
        asyncio.run(leave(pool))
        free.set()
    assert begun == []


def test_what_bedrocks_client_refuses_is_refused(model: Model) -> None:
    for ask in (whole, pieces):
        with pytest.raises(ModelFailed, match=r"refuses the request: .*maxTokens, value: -1") as refused:
            ask("bedrock", model, max_tokens=-1)
        assert refused.value.status == 400 and model.asked == []


def test_errors_within_a_stream(model: Model) -> None:
    model.fault = Fault(raw=b'data: {"error": {"message": "out of memory"}}\n\n')
    with pytest.raises(ModelFailed, match="the answering model fails: out of memory"):
        pieces("openai", model)
    for said in (b'{"error": {"message": "no such key: sk-secret"}}', b"<html>sk-secret", b'{"answer": "sk-secret"}'):
        model.fault = Fault(raw=b"data: " + said + b"\n\n")
        with pytest.raises(ModelFailed) as repeated:
            pieces("openai", model)
        assert "sk-secret" not in f"{repeated.value} {repeated.value.log}" and "…" in repeated.value.log
        model.fault = Fault(raw=said)
        with pytest.raises(ModelFailed) as repeated:
            whole("openai", model)
        assert "sk-secret" not in f"{repeated.value} {repeated.value.log}" and "…" in repeated.value.log
    model.fault = Fault(raw=b'data: {"choices": ' + b"[" * 100_000 + b"\n\n")
    with pytest.raises(ModelFailed, match="no chat completion"):
        pieces("openai", model)
    # what is no JSON may repeat the key too, wherever it stands
    model.fault = Fault(400, raw=b" " * 290 + b"no such key: sk-secret")
    with pytest.raises(ModelFailed, match="no such key: …"):
        pieces("openai", model)
    model.fault = Fault(raw=b"data: [DONE]\n\n")
    with pytest.raises(ModelFailed, match="cut off"):
        pieces("openai", model)
    thrown = frame("throttlingException", "application/json", b'{"message": "slowly"}', "exception")
    model.fault = Fault(raw=thrown)
    with pytest.raises(ModelFailed) as failed:
        pieces("bedrock", model)
    assert failed.value.status in (429, 503)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"tools": [{}]}, "tools: the answering model has no such thing"),
        ({"n": 2}, "n: the answering model gives one answer"),
        ({"stop": 3}, "stop must be a text or a list of texts"),
        ({"temperature": "hot"}, "temperature must be a number"),
        ({"messages": [{"role": "tool", "content": ""}]}, "knows no role 'tool'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "takes texts alone"),
    ],
)
def test_what_others_than_openais_models_are_not_asked(body: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelFailed) as refused:
        wish({"messages": MESSAGES, **body})
    assert refused.value.status == 400 and said in str(refused.value)
