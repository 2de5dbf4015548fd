"""What the demo asks `freshet serve`, as any application would: prompts, answers, documents, by one tenant's key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from core.errors import Unavailable

_ASKED_S = 600.0


class Late(Unavailable):
    """What was waited for isn't there yet; it may be asked for again."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that was made, and the documents that it cites, the best first."""

    text: str
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, by which passages, and the milliseconds until they were found."""

    text: str
    passages: tuple[str, ...]
    retrieve_ms: float


class Asker:
    """One tenant's application. Every method raises Unavailable where the server doesn't answer, or refuses."""

    def __init__(self, url: str, key: str) -> None:
        """Ask the server at `url` with a key."""
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=_ASKED_S)

    def prompt(self, question: str, customer: str | None = None, wait_for: dict[str, Any] | None = None) -> Prompt:
        """The prompt of a question, once `wait_for` is there."""
        given = {"customer": customer, "wait_for": wait_for}
        made = self._asked("/v1/context", {"question": question, **_given(given)})
        return Prompt(made["prompt"], tuple(each["document_id"] for each in made["citations"]))

    def answer(self, question: str, customer: str | None = None) -> Answer:
        """What the model says to a question with its context."""
        messages = [{"role": "user", "content": question}]
        made = self._asked("/v1/chat/completions", {"messages": messages, "freshet": _given({"customer": customer})})
        found = made["freshet"]
        text = made["choices"][0]["message"]["content"]
        return Answer(text, tuple(each["text"] for each in found["citations"]), found["latency_ms"]["retrieve"])

    def sees(self, index: str, document_id: str) -> bool:
        """Whether a document is there for this key."""
        return self._is_there(f"/v1/indexes/{index}/documents/{document_id}")

    def knows(self, customer: str) -> bool:
        """Whether a profile is there for this key."""
        return self._is_there(f"/v1/profiles/{customer}")

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def _is_there(self, path: str) -> bool:
        answer = self._sent("GET", path)
        if answer.status_code not in (httpx.codes.OK, httpx.codes.NOT_FOUND):
            raise Unavailable(f"the server refuses {path} with {answer.status_code}: {answer.text}")
        return answer.status_code == httpx.codes.OK

    def _sent(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            return self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise Unavailable(f"the server doesn't answer at {path}: {error}") from error

    def _asked(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._sent("POST", path, body)
        if answer.status_code == httpx.codes.GATEWAY_TIMEOUT:
            raise Late(f"the server refuses {path}: {answer.text}")
        if answer.is_error:
            raise Unavailable(f"the server refuses {path} with {answer.status_code}: {answer.text}")
        found: dict[str, Any] = answer.json()
        return found


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
