"""Batches: of a bounded size, and such that survive one bad row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def halving(
    items: Sequence[Item],
    attempt: Callable[[Sequence[Item]], Sequence[Result]],
    refuse: Callable[[Item, Exception], Result],
    faults: tuple[type[Exception], ...],
) -> list[Result]:
    """One result an item: `attempt` on the whole batch, and on its halves where that raises one of `faults`.

    An item that fails alone gets what `refuse` makes of its error. `attempt` must have no effect when it raises.
    One bad row among n costs about 2·log2(n) attempts more. Other exceptions pass through.
    """
    if not items:
        return []
    try:
        return list(attempt(items))
    except faults as error:
        if len(items) == 1:
            return [refuse(items[0], error)]
    middle = len(items) // 2
    return [
        *halving(items[:middle], attempt, refuse, faults),
        *halving(items[middle:], attempt, refuse, faults),
    ]


def sized(
    items: Iterable[Item], size_of: Callable[[Item], int], most: int, most_items: int | None = None
) -> Iterator[list[Item]]:
    """The items in order, in batches of `most_items` at most, whose sizes add up to `most` at most, or of one item.

    Each item is asked for once, and its size once.
    """
    batch: list[Item] = []
    size = 0
    for item in items:
        more = size_of(item)
        if batch and (size + more > most or len(batch) == most_items):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += more
    if batch:
        yield batch
