"""The indexes of the OpenSearch store: made where they are missing, looked at where they are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opensearchpy import OpenSearch as Client
from opensearchpy.exceptions import NotFoundError, RequestError

from connectors.opensearch import bodies
from core.errors import ConfigError

SETTING = "store.opensearch"


class Indexes:
    """An index of chunks and its ledger, `<index>-ledger`."""

    def __init__(self, client: Client, index: str, dimension: int) -> None:
        self._client = client
        self._index = index
        self._dimension = dimension

    def prepare(self, make: bool) -> bool:
        """Whether both are there and as they must be; `make` makes what is missing. Raises ConfigError."""
        ledger, fields = f"{self._index}-ledger", bodies.chunk_mapping(self._dimension)["properties"]
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
            there = self._create(self._index, bodies.CHUNK_SETTINGS, bodies.chunk_mapping(self._dimension))
        _check_fields(there, fields, self._index)
        if known is None:
            known = self._create(ledger, bodies.LEDGER_SETTINGS, bodies.LEDGER_MAPPING)
        _check_fields(known, bodies.LEDGER_MAPPING["properties"], ledger)
        return True

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
        try:
            self._client.indices.create(index=index, body={"settings": settings, "mappings": mapping})
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


def _kind(field: Mapping[str, Any] | None) -> str:
    if field is None:
        return "missing"
    method = field.get("method", {})
    parts = (field.get("type", "object"), method.get("engine"), method.get("name"), method.get("space_type"))
    return " ".join(part for part in parts if part)
