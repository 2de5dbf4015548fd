"""One turn of a conversation as it is answered, what a client is sent of it by now, and what is written of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.formats import conversations
from core.formats.conversations import Cited
from serving.answers.contexts import Made, answer_of
from serving.answers.counting import Counting
from serving.answers.models.contract import Body
from serving.answers.shapes import Answered, Latency
from serving.shapes import as_of, moment

_LONGEST_ANSWER = 200_000


@dataclass(slots=True)
class Turn:
    """A question, its context, and its answer as far as it came. Times are of `time.perf_counter`.

    at      when it was asked, in ms since 1970
    finish  how the answer ended; as long as it hasn't, whoever goes away cancels it
    usage   the model's count of tokens
    text    of the answer, as much of it as is written
    """

    id: str
    began: float
    at: int
    conversation: str
    number: int
    question: str
    made: Made
    found: float
    first: float | None = None
    over: float | None = None
    finish: str = "cancelled"
    text: list[str] = field(default_factory=list)
    room: int = _LONGEST_ANSWER
    usage: Mapping[str, Any] = field(default_factory=dict)

    def came(self, piece: Body) -> bool:
        """Take in what came, of a stream or the whole answer; whether it has something of an end."""
        now = time.perf_counter()
        choices = piece.get("choices") or []
        for each in choices:
            said = each.get("delta") or each.get("message") or {}
            text = said.get("content") if isinstance(said, dict) else None
            if isinstance(text, str) and text and each.get("index", 0) == 0:
                self.first = self.first or now
                self._keep(text)
            if isinstance(why := each.get("finish_reason"), str):
                self.finish, self.over = why, now
        if isinstance(usage := piece.get("usage"), dict):
            self.usage = usage
        return not choices or any(each.get("finish_reason") for each in choices)

    def _keep(self, text: str) -> None:
        # what a model says may have no end
        if self.room:
            self.text.append(text[: self.room])
            self.room -= len(self.text[-1])

    def ends(self, how: str) -> None:
        """It ended otherwise than by the model's own."""
        self.finish, self.over = how, time.perf_counter()

    def answered(self) -> Answered:
        """What a client is sent of it by now."""
        whole = answer_of(self.made)
        return Answered(
            self.conversation, self.number, whole.citations, whole.left_out, whole.profile, whole.profile_left_out,
            whole.size, whole.as_of, whole.ranked_by, Latency(*self._latency()),
        )  # fmt: skip

    def event(self, tenant: str, model: str, counting: Counting) -> conversations.Turn:
        """What is written of it."""
        context, answer = self.made.context, "".join(self.text)
        # a long prompt takes milliseconds to count, on the thread that answers everybody
        size = context.size if self.made.counted.unit == "tokens" else None
        cited = [(each.passage.best.index, each.passage.best.hit) for each in context.cited]
        prompt, written = self.usage.get("prompt_tokens"), self.usage.get("completion_tokens")
        return conversations.Turn(
            self.id,
            self.conversation,
            self.number,
            moment(self.at) or "",
            tenant,
            self.made.customer,
            self.question,
            answer,
            model,
            prompt if isinstance(prompt, int) else counting.tokens(context.prompt) if size is None else size,
            written if isinstance(written, int) else counting.tokens(answer),
            self.finish,
            conversations.Latency(*self._latency()),
            tuple(
                Cited(
                    index,
                    hit.document_id,
                    hit.ordinal,
                    None if hit.stood is None else str(hit.stood.position),
                    float(hit.score),
                )
                for index, hit in cited
            ),
            {name: as_of(each).committed_at for name, each in self.made.fresh.items()},
        )

    def _latency(self) -> tuple[float, float | None, float | None]:
        return self._ms(self.found) or 0.0, self._ms(self.first), self._ms(self.over)

    def _ms(self, until: float | None) -> float | None:
        return None if until is None else round((until - self.began) * 1000, 3)
