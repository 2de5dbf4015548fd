"""What `freshet demo chat` claims: checked on passages and prompts.

What the model makes of them is shown, not judged.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from demo.chat.asking import Asker, Late, Prompt
from demo.chat.helpdesk import CUSTOMER, INDEX, RETURNS, HelpDesk
from demo.chat.model import ChatModel
from demo.stage import Evidence, brief, milliseconds_since, until
from terminal.plain import shown

QUESTION = "Within how many days may I send an item back?"
ORDERED = "What did I order last?"

_BODY = "An item may be sent back within {} days of its delivery, if it wasn't used."
_FIRST = 30
_DAYS = (45, 60, 75, 90, 120)
_ITEM = "camping stove"
_ORDER = 3
_TOKENS = 60
_LOOK_EVERY_S = 0.005
_WIDE = 300
_PATIENCE_S = 180.0


@dataclass(frozen=True, slots=True)
class Scene:
    """The running demo, as its claims need it: the rows, two tenants' applications, and the model alone."""

    console: Console
    desk: HelpDesk
    acme: Asker
    beta: Asker
    model: ChatModel


def side_by_side(scene: Scene) -> Evidence:
    """One question to the model alone, and through the server."""
    alone = scene.model.says(QUESTION, _TOKENS)
    prompt, answer = scene.acme.prompt(QUESTION), scene.acme.answer(QUESTION)
    _show(scene, ("without context", alone), ("with context", answer.text))
    fact = f"{_FIRST} days"
    return Evidence(
        (("ask", QUESTION), ("passage", brief(answer.passages[0])), ("cites", ", ".join(prompt.documents))),
        f"the passage with the answer is the first of {len(answer.passages)}, found in {answer.retrieve_ms:.0f} ms; "
        "the words are the model's",
        holds=fact in answer.passages[0] and fact in prompt.text,
    )


def updated(scene: Scene) -> Evidence:
    """The row is updated five times; each time the same question, which waits for the change."""
    took: list[float] = []
    steps: list[tuple[str, str]] = []
    before = _FIRST
    holds = True
    for days in _DAYS:
        edit = scene.desk.edit(RETURNS, _BODY.format(days))
        wait = {"index": INDEX, "document_id": edit.document_id, "position": edit.position, "timeout_seconds": 25}
        prompt = until(partial(_waited, scene, wait), f"{edit.document_id} at {edit.position}", _PATIENCE_S)
        took.append(milliseconds_since(edit.done.sent))
        holds = holds and f"{days} days" in prompt.text and f"{before} days" not in prompt.text
        steps = [(edit.done.what, edit.done.text), ("wait_for", f"{edit.document_id} from {edit.position} on")]
        before = days
    _show(scene, ("now, with context", scene.acme.answer(QUESTION).text))
    return Evidence(
        tuple(steps),
        f"commit → in the prompt: {statistics.median(took):.0f} ms (median of {len(took)}), {max(took):.0f} ms (worst)",
        holds=holds,
    )


def ordered(scene: Scene) -> Evidence:
    """An order arrives, and the profile in the prompt has it."""
    before = scene.acme.prompt(ORDERED, CUSTOMER)
    done = scene.desk.order(_ORDER, _ITEM)
    after = until(lambda: _with(scene.acme.prompt(ORDERED, CUSTOMER), _ITEM), f"a prompt with {_ITEM!r}", _PATIENCE_S)
    took = milliseconds_since(done.sent)
    _show(scene, ("to the customer", scene.acme.answer(ORDERED, CUSTOMER).text))
    return Evidence(
        ((done.what, done.text), ("before", _profile(before)), ("after", _profile(after))),
        f"commit → in the prompt: {took:.0f} ms",
        holds=_ITEM not in before.text,
    )


def apart(scene: Scene) -> Evidence:
    """The same questions with another tenant's key."""
    prompt = scene.beta.prompt(QUESTION, CUSTOMER)
    _show(scene, ("to the other tenant", scene.beta.answer(QUESTION, CUSTOMER).text))
    articles = f"{scene.desk.articles}/"
    theirs = {f"{articles}{number}" for number in scene.desk.ids("beta")}
    sees = scene.beta.sees(INDEX, f"{articles}{RETURNS}"), scene.beta.knows(CUSTOMER)
    return Evidence(
        (
            ("ask", QUESTION),
            ("cites", ", ".join(prompt.documents)),
            ("GET", f"{articles}{RETURNS}: {'there' if sees[0] else 'not found'}"),
            ("GET", f"{CUSTOMER}: {'there' if sees[1] else 'not found'}"),
        ),
        f"{len(prompt.documents)} passages, all of the key's own tenant; nothing of the other one's in the prompt",
        holds=bool(prompt.documents)
        and set(prompt.documents) <= theirs
        and not any(sees)
        and all(each not in prompt.text for each in (f"{_DAYS[-1]} days", _ITEM, "Nordmann")),
    )


CLAIMS: tuple[tuple[str, Callable[[Scene], Evidence]], ...] = (
    ("An answer has its passage", side_by_side),
    ("An update is in the next prompt", updated),
    ("An order is in the customer's next prompt", ordered),
    ("Another tenant's key sees nothing of it", apart),
)


def _show(scene: Scene, *said: tuple[str, str]) -> None:
    table = Table(*(title for title, _ in said), expand=True, header_style="dim")
    table.add_row(*(shown(brief(text, _WIDE)) for _, text in said))
    scene.console.print(table)


def _waited(scene: Scene, change: dict[str, Any]) -> Prompt | None:
    try:
        return scene.acme.prompt(QUESTION, wait_for=change)
    except Late:
        return None


def _with(prompt: Prompt, text: str) -> Prompt | None:
    if text in prompt.text:
        return prompt
    time.sleep(_LOOK_EVERY_S)  # on a miss alone: what is found is timed
    return None


def _profile(prompt: Prompt) -> str:
    lines = [line.removeprefix("| ") for line in prompt.text.splitlines() if line.startswith("| ")]
    return brief(", ".join(line for line in lines if line.startswith(("last_item", "orders", "spent", "name"))))
