"""The indexes of the OpenSearch store: made where they are missing, looked at where they are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opensearchpy import OpenSearch as Client
from opensearchpy.exceptions import NotFoundError, RequestError

from connectors.opensearch import bodies
from core.config.store import Method, OpenSearch
from core.errors import ConfigError

SETTING = "store.opensearch"


class Indexes:
    """An index of chunks and its ledger, `<index>-ledger`."""

    def __init__(self, client: Client, target: OpenSearch, dimension: int) -> None:
        self._client = client
        self._index = target.index
        self._method = target.method
        self._stated = bodies.stated(target.settings)
        self._chunk = bodies.chunk_mapping(dimension, target.method)

    def prepare(self, make: bool) -> bool:
        """Whether both are there and as they must be; `make` makes what is missing. Raises ConfigError."""
        ledger = f"{self._index}-ledger"
        # The ledger is looked for first: whoever makes both makes it last.
        known = self._fields(ledger)
        there = self._fields(self._index)
        if known is not None and there is None:
            raise ConfigError(
                [
                    f"{SETTING}.index: {ledger} is there without {self._index}, and would refuse as late what "
                    f"{self._index} has lost: delete {ledger} too"
                ]
            )
        if not make and (there is None or known is None):
            return False
        if there is None:
            there = self._create(self._index, bodies.CHUNK_SETTINGS, self._chunk)
        _check_fields(there, self._chunk["properties"], self._index)
        _check_graph(there["embedding"].get("method", {}), self._method, self._index)
        if known is None:
            known = self._create(ledger, bodies.LEDGER_SETTINGS, bodies.LEDGER_MAPPING)
        _check_fields(known, bodies.LEDGER_MAPPING["properties"], ledger)
        self._settle(self._index, make)
        self._settle(ledger, make)
        return True

    def _settle(self, index: str, change: bool) -> None:
        """Give an index the settings that the file states and that can be changed. Raises ConfigError of the others."""
        if not self._stated:
            return
        there = self._client.indices.get_settings(index=index, flat_settings=True)
        (found,) = there.values()
        has = {name: found["settings"].get(f"index.{name}") for name in self._stated}
        if (shards := self._stated.get("number_of_shards")) and has["number_of_shards"] != shards:
            raise ConfigError(
                [
                    f"{SETTING}.settings.number_of_shards is {shards}, and {index} has {has['number_of_shards']}, "
                    "which can't be changed: write in the file what is there, or name another index"
                ]
            )
        if change and has != self._stated:
            changed = {name: value for name, value in self._stated.items() if has[name] != value}
            self._client.indices.put_settings(index=index, body={"index": changed})

    def _fields(self, index: str) -> dict[str, Any] | None:
        try:
            there = self._client.indices.get_mapping(index=index)
        except NotFoundError:
            return None
        if len(there) > 1:
            raise ConfigError(
                [
                    f"{SETTING}.index: {index} is an alias of {' and '.join(sorted(there))}: name one of them, or "
                    "make it the alias of one"
                ]
            )
        (found,) = there.values()
        return dict(found["mappings"].get("properties", {}))

    def _create(self, index: str, settings: Mapping[str, Any], mapping: Mapping[str, Any]) -> dict[str, Any]:
        index_settings = {**settings["index"], **self._stated}
        try:
            self._client.indices.create(index=index, body={"settings": {"index": index_settings}, "mappings": mapping})
        except RequestError as error:
            if error.error != "resource_already_exists_exception":
                raise
        return self._fields(index) or {}


def _check_fields(seen: Mapping[str, Any], expected: Mapping[str, Any], index: str) -> None:
    vector, wanted = seen.get("embedding", {}), expected.get("embedding", {})
    if vector.get("type") == "knn_vector" and vector.get("dimension") != wanted.get("dimension"):
        raise ConfigError(
            [
                f"{SETTING}.index: {index} has embedding vector({vector.get('dimension')}), the model has "
                f"vector({wanted.get('dimension')}): name another index, delete this one, or choose the model "
                "that made it"
            ]
        )
    wrong = [
        f"{name} {_kind(seen.get(name))} (needed: {_kind(field)})"
        for name, field in expected.items()
        if _kind(seen.get(name)) != _kind(field)
    ]
    if wrong:
        raise ConfigError(
            [f"{SETTING}.index: {index} is not an index of Freshet's: {', '.join(wrong)}: name another index"]
        )


def _check_graph(seen: Mapping[str, Any], method: Method, index: str) -> None:
    has = seen.get("parameters", {})
    stated = {"m": method.m, "ef_construction": method.ef_construction}
    wrong = [name for name, value in stated.items() if value is not None and has.get(name) != value]
    if wrong:
        raise ConfigError(
            [
                f"{SETTING}.method.{name} is {stated[name]}, and {index} has {has.get(name)}, which can't be changed: "
                "write in the file what is there, or name another index"
                for name in wrong
            ]
        )


def _kind(field: Mapping[str, Any] | None) -> str:
    if field is None:
        return "missing"
    method = field.get("method", {})
    parts = (field.get("type", "object"), method.get("engine"), method.get("name"), method.get("space_type"))
    return " ".join(part for part in parts if part)
