"""Which replication slot tells `freshet verify` how far the stream is, where the source has several."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from connectors.postgres.rows import Reselect
from core.config.pipeline import Pipeline
from operations.verify.stream import Stream


@dataclass
class Slots:
    """A source that has these slots: name, active, confirmed, received, bytes behind."""

    rows: list[tuple[Any, ...]]

    def execute(self, *_: object) -> list[tuple[Any, ...]]:
        return self.rows


def look(rows: list[tuple[Any, ...]], topic: str) -> tuple[str, str]:
    """What the slot has not sent, and what is noted."""
    pipeline = SimpleNamespace(kafka=SimpleNamespace(topic=topic))
    stream = Stream(cast("Pipeline", pipeline), cast("Reselect", Slots(rows)), None, 0, lambda _: None)
    return stream._slot("0/1"), stream.note


PAGES = ("freshet_shop_public_pages", False, False, False, 7)
ARTICLES = ("freshet_shop_public_articles", True, True, True, 0)


@pytest.mark.parametrize(
    ("rows", "topic", "lag", "note"),
    [
        ([PAGES], "other", "slot freshet_shop_public_pages is 7 bytes behind", ""),
        ([PAGES, ARTICLES], "shop.public.articles", "", ""),
        ([PAGES, ARTICLES], "shop.public.articles;shop.public.pages", "pages is 7 bytes behind", ""),
        ([PAGES, ARTICLES], "shop.public.articles;crm.public.people", "", "isn't known"),
        ([PAGES, ARTICLES], "crm.public.people", "", "isn't known"),
        ([], "shop.public.articles", "", "are none"),
    ],
)
def test_the_slots_called_as_the_topics_are_asked(rows: list[tuple[Any, ...]], topic: str, lag: str, note: str) -> None:
    found = look(rows, topic)
    assert (lag in found[0] and bool(lag) == bool(found[0])) and (note in found[1] and bool(note) == bool(found[1]))
