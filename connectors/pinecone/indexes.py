"""The index of the Pinecone store: made where it is missing, looked at where it is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.patience import for_seconds, patiently
from connectors.pinecone.client import SETTING, Service
from core.config.pinecone import Pinecone
from core.errors import ConfigError, Unavailable

METRIC = "cosine"
_MADE_WITHIN_S = 120.0


class Index:
    """One index, for vectors of a dimension."""

    def __init__(self, service: Service, target: Pinecone, dimension: int) -> None:
        self._service = service
        self._name = target.index
        self._where = {"cloud": target.cloud, "region": target.region}
        self._dimension = dimension

    def is_there(self) -> bool:
        """Whether it is there, and as it must be. Raises ConfigError where it isn't."""
        found = self._service.once(self._service.described)
        if found is not None:
            self._check(found)
        return found is not None

    def prepare(self) -> None:
        """Make it where it is missing, and wait until it is ready."""
        if not self.is_there():
            settings = {
                "dimension": self._dimension,
                "metric": METRIC,
                "vector_type": "dense",
                "spec": {"serverless": self._where},
            }
            self._service.once(lambda: self._service.create(settings))
        patiently(self._look, for_seconds(_MADE_WITHIN_S), waits_s=(0.05, 3.0))

    def _look(self) -> None:
        found = self._service.described()
        state = "gone" if found is None else found.get("status", {}).get("state", "")
        if found is None or not found.get("status", {}).get("ready"):
            raise Unavailable(
                f"{SETTING}.index: {self._service.name} isn't ready after {_MADE_WITHIN_S:.0f} s ({state}): look at it "
                "in Pinecone's console"
            )
        # another may have made it meanwhile
        self._check(found)

    def _check(self, found: Mapping[str, Any]) -> None:
        spec = found.get("spec") or {}
        if "pod" in spec:
            raise ConfigError([f"{SETTING}.index: {self._name} is made of pods, must be serverless: {_OTHERWISE}"])
        if found.get("embed"):
            raise ConfigError(
                [f"{SETTING}.index: {self._name} embeds by itself, and Freshet brings vectors: {_OTHERWISE}"]
            )
        if found.get("vector_type", "dense") != "dense":
            raise ConfigError([f"{SETTING}.index: {self._name} has sparse vectors, must have dense ones: {_OTHERWISE}"])
        if (there := found.get("dimension")) != self._dimension:
            raise ConfigError(
                [
                    f"{SETTING}.index: {self._name} has vector({there}), the model has vector({self._dimension}): "
                    f"{_OTHERWISE}; or choose the model that made it"
                ]
            )
        if (metric := found.get("metric")) != METRIC:
            raise ConfigError(
                [f"{SETTING}.index: {self._name} compares vectors by {metric}, which must be {METRIC}: {_OTHERWISE}"]
            )


_OTHERWISE = "name another index, or none that is there yet, and Freshet makes it"
