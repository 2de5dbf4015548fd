"""A store is added by its settings and its opener: what reads a pipeline file finds it there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from connectors.opening import stores as opening
from core.config.pipeline import Pipeline
from core.config.store import Store
from core.config.targets import Target
from core.errors import ConfigError, Unavailable
from core.stores.contract import Hit
from operations.addresses import of_store, setting_of_store
from operations.search import search
from tests.operations.test_search import PIPELINE, pipeline

__all__ = ["pipeline"]


class Toy(Target):
    """A store that the product doesn't have."""

    at: ClassVar[str] = "hosts"

    hosts: tuple[str, ...]
    shelf: str

    def place(self, pipeline: str) -> str:
        return f"shelf {self.shelf} of {pipeline}"


class WithToy(Store):
    """The settings, with one more store."""

    toy: Toy | None = None


class OfToys:
    """As much of a store of vectors as a search asks for."""

    def __init__(self, target: Toy, to: opening.Opening) -> None:
        self.opened = (target.shelf, to.model, to.dimension)

    def search(self, vector: Any, k: int, where: Any) -> list[Hit]:
        return [Hit(1.0, f"{self.opened}", "c", 0, "t", {})]

    def models(self) -> dict[str, int]:
        return {"hash": 1}

    def unindexed(self) -> int:
        return 0

    def owner(self) -> None:
        return None

    def close(self) -> None:
        pass


def having(pipeline: Pipeline, **toy: Any) -> Pipeline:
    return pipeline.model_copy(update={"store": WithToy(toy=Toy(**toy))})


def test_a_store_that_is_added_is_named_opened_and_searched(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: Callable[[Any, opening.Opening], Any] = OfToys
    monkeypatch.setitem(opening.OF_VECTORS, "toy", opened)
    toys = having(pipeline, hosts=[], shelf="s")
    assert toys.store.names == ("toy",) and toys.store.of_profiles == ()
    assert toys.store.targets["toy"].place(toys.name) == "shelf s of rivers"
    assert (of_store(toys, "toy"), setting_of_store(toys, "toy")) == ((), "store.toy.hosts")
    (hit,) = search(toys, "?", 1, [])
    assert hit.document_id == "('s', 'hash', 384)"


def test_where_it_is_is_asked_before_it_is_opened(pipeline: Pipeline) -> None:
    with pytest.raises(Unavailable, match=r"store\.toy\.hosts: nobody answers at 127\.0\.0\.1:1"):
        search(having(pipeline, hosts=["http://127.0.0.1:1"], shelf="s"), "?", 1, [])


def test_each_store_of_the_settings_has_an_opener() -> None:
    assert "pgvector" in PIPELINE
    fields = set(Store.model_fields)
    assert fields == opening.OF_VECTORS.keys() | opening.OF_PROFILES.keys()
    with pytest.raises(ConfigError):
        opening.open_profiles(opening.Stores("x", WithToy(toy=Toy(hosts=(), shelf="s")), "hash", 0))


def test_a_client_that_is_not_installed_is_named_with_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [each for each in sys.modules if each.startswith("connectors.milvus")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    of = Store.model_validate({"milvus": {"uri": "http://127.0.0.1:1", "collection": "chunks"}})
    with pytest.raises(ConfigError, match=r"^store.milvus needs pymilvus, .* install freshet\[milvus\]"):
        opening.open_stores(opening.Stores("articles", of, "m", 1000), 4)
