"""The collections of the Milvus store: made where they are missing, looked at where they are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymilvus import DataType, Function, FunctionType, MilvusClient
from pymilvus.exceptions import MilvusException
from pymilvus.milvus_client.index import IndexParams

from connectors.milvus.client import SETTING, TIMES
from connectors.milvus.filters import ORDERED, TERMS
from core.config.store import Milvus, MilvusHnsw, MilvusIvfFlat
from core.errors import ConfigError

LONGEST_TEXT = 65_535
"""Bytes of a VARCHAR, and of a field of JSON ("Limits" in Milvus' documentation)."""
LONGEST_ID = 512
"""Bytes of a chunk's id."""
LONGEST_DOCUMENT_ID = 32_766
LONGEST_POSITION = 1_000
LONGEST_MODEL = 1_000
MOST_TERMS = 4_096
"""Elements of an array."""
MOST_TABLES = 256
"""How many slashes a document's id may have, for each may end the name of its table."""

_KEY = 32
_M = 16
_EF_CONSTRUCTION = 200
_NLIST = 128

_Field = tuple[str, DataType, Mapping[str, Any]]

_TABLES: _Field = (
    "tables", DataType.ARRAY, {"element_type": DataType.VARCHAR, "max_capacity": MOST_TABLES, "max_length": _KEY},
)  # fmt: skip
_TERMS: _Field = (
    TERMS, DataType.ARRAY, {"element_type": DataType.VARCHAR, "max_capacity": MOST_TERMS, "max_length": _KEY},
)  # fmt: skip


def _chunk_fields(dimension: int) -> tuple[_Field, ...]:
    return (
        ("id", DataType.VARCHAR, {"is_primary": True, "max_length": LONGEST_ID}),
        ("document", DataType.VARCHAR, {"max_length": _KEY}),
        ("document_id", DataType.VARCHAR, {"max_length": LONGEST_DOCUMENT_ID}),
        _TABLES,
        ("position", DataType.VARCHAR, {"max_length": LONGEST_POSITION}),
        ("committed_ms", DataType.INT64, {}),
        ("ordinal", DataType.INT64, {}),
        ("text", DataType.VARCHAR, {"max_length": LONGEST_TEXT, "enable_analyzer": True}),
        ("metadata", DataType.VARCHAR, {"max_length": LONGEST_TEXT}),
        ("model", DataType.VARCHAR, {"max_length": LONGEST_MODEL}),
        _TERMS,
        (ORDERED, DataType.JSON, {}),
        ("embedding", DataType.FLOAT_VECTOR, {"dim": dimension}),
        ("words", DataType.SPARSE_FLOAT_VECTOR, {}),
    )


_LEDGER_FIELDS: tuple[_Field, ...] = (
    ("id", DataType.VARCHAR, {"is_primary": True, "max_length": LONGEST_ID}),
    ("kind", DataType.VARCHAR, {"max_length": 16}),
    ("name", DataType.VARCHAR, {"max_length": LONGEST_DOCUMENT_ID}),
    _TABLES,
    ("position", DataType.VARCHAR, {"max_length": LONGEST_POSITION}),
    ("committed_ms", DataType.INT64, {}),
    ("chunks", DataType.INT64, {}),
    ("complete", DataType.BOOL, {}),
    ("deleted_at", DataType.INT64, {}),
    ("said", DataType.VARCHAR, {"max_length": LONGEST_TEXT}),
    # a collection must have one
    ("nothing", DataType.FLOAT_VECTOR, {"dim": 2}),
)


class Collections:
    """A collection of chunks and its ledger, `<collection>_ledger`."""

    def __init__(self, target: Milvus, dimension: int) -> None:
        self._chunks = target.collection
        self._ledger = target.ledger
        self._index = target.index.chosen
        self._dimension = dimension
        self._level = target.consistency_level

    def prepare(self, client: MilvusClient, make: bool) -> bool:
        """Whether both are there and as they must be; `make` makes what is missing. Raises ConfigError."""
        # The ledger is looked for first: whoever makes both makes it last.
        known = self._fields(client, self._ledger)
        there = self._fields(client, self._chunks)
        if known is not None and there is None:
            raise ConfigError(
                [
                    f"{SETTING}.collection: {self._ledger} is there without {self._chunks}, and would refuse as late "
                    f"what {self._chunks} has lost: drop {self._ledger} too"
                ]
            )
        if there is not None:
            self._check(there, _chunk_fields(self._dimension), self._chunks)
        if not make and (there is None or known is None):
            return False
        if there is None:
            there = self._create(client, self._chunks, _chunk_fields(self._dimension), dynamic=True)
        self._check(there, _chunk_fields(self._dimension), self._chunks)
        if known is None:
            known = self._create(client, self._ledger, _LEDGER_FIELDS, dynamic=False)
        self._check(known, _LEDGER_FIELDS, self._ledger)
        if make:
            self._finish(client)
        self._check_index(client)
        return True

    def load(self, client: MilvusClient) -> None:
        """Have both in memory, where alone they can be searched."""
        for name in (self._chunks, self._ledger):
            client.load_collection(name, **TIMES)

    def _finish(self, client: MilvusClient) -> None:
        indexes = {self._chunks: self._of_chunks(), self._ledger: self._of_ledger()}
        for name, wanted in indexes.items():
            there = set(client.list_indexes(name, **TIMES))
            for each in wanted:
                if each.index_name not in there:
                    self._index_by(client, name, each)
        self.load(client)

    @staticmethod
    def _index_by(client: MilvusClient, name: str, index: Any) -> None:
        alone = IndexParams()
        alone.append(index)
        # loading waits for it
        _unless_there(lambda: client.create_index(name, alone, sync=False, **TIMES))

    def _of_chunks(self) -> IndexParams:
        made = IndexParams()
        kind, parameters = _graph(self._index)
        made.add_index("embedding", kind, "embedding", metric_type="COSINE", params=parameters)
        of_words = {"bm25_k1": 1.2, "bm25_b": 0.75}
        made.add_index("words", "SPARSE_INVERTED_INDEX", "words", metric_type="BM25", params=of_words)
        made.add_index("document", "INVERTED", "document")
        return made

    @staticmethod
    def _of_ledger() -> IndexParams:
        made = IndexParams()
        made.add_index("nothing", "FLAT", "nothing", metric_type="L2", params={})
        return made

    def _create(
        self, client: MilvusClient, name: str, fields: tuple[_Field, ...], dynamic: bool
    ) -> dict[str, dict[str, Any]]:
        schema = client.create_schema(auto_id=False, enable_dynamic_field=dynamic)
        for field, kind, more in fields:
            schema.add_field(field, kind, **more)
        if dynamic:
            schema.add_function(Function("words", FunctionType.BM25, ["text"], ["words"]))
        _unless_there(lambda: client.create_collection(name, schema=schema, consistency_level=self._level, **TIMES))
        return self._fields(client, name) or {}

    @staticmethod
    def _fields(client: MilvusClient, name: str) -> dict[str, dict[str, Any]] | None:
        if not client.has_collection(name, **TIMES):
            return None
        return {each["name"]: each for each in client.describe_collection(name, **TIMES)["fields"]}

    def _check(self, seen: Mapping[str, Mapping[str, Any]], expected: tuple[_Field, ...], name: str) -> None:
        # whose it is first: nobody is to drop someone else's for its dimension
        wrong = [
            f"{field} {_kind(seen.get(field))} (needed: {kind.name})"
            for field, kind, _ in expected
            if _kind(seen.get(field)) != kind.name
        ]
        if wrong:
            raise ConfigError(
                [
                    f"{SETTING}.collection: {name} is not a collection of Freshet's: {', '.join(wrong)}: name another "
                    "collection"
                ]
            )
        there = seen["embedding"]["params"]["dim"] if name == self._chunks else self._dimension
        if int(there) != self._dimension:
            raise ConfigError(
                [
                    f"{SETTING}.collection: {name} has embedding vector({there}), the model has "
                    f"vector({self._dimension}): name another collection, drop this one, or choose the model that "
                    "made it"
                ]
            )

    def _check_index(self, client: MilvusClient) -> None:
        if "embedding" not in client.list_indexes(self._chunks, **TIMES):
            return
        there = client.describe_index(self._chunks, "embedding", **TIMES)
        kind, _ = _graph(self._index)
        if there.get("metric_type") != "COSINE":
            raise ConfigError(
                [
                    f"{SETTING}.collection: {self._chunks} compares vectors by {there.get('metric_type')}, which must "
                    "be COSINE: name another collection, or drop this one's index"
                ]
            )
        if there.get("index_type") != kind:
            raise ConfigError(
                [
                    f"{SETTING}.index is {kind}, and {self._chunks} has {there.get('index_type')}: write in the file "
                    "what is there, or release the collection and drop its index"
                ]
            )


def _graph(index: Any) -> tuple[str, dict[str, int]]:
    match index:
        case MilvusHnsw():
            return "HNSW", {"M": index.m or _M, "efConstruction": index.ef_construction or _EF_CONSTRUCTION}
        case MilvusIvfFlat():
            return "IVF_FLAT", {"nlist": index.nlist or _NLIST}
    return "AUTOINDEX", {}


def searching(index: Any, reach: int) -> dict[str, int]:
    """How a search of `reach` answers asks the index."""
    match index:
        case MilvusHnsw():
            return {"ef": max(index.ef_search or max(200, 2 * reach), reach)}
        case MilvusIvfFlat():
            return {"nprobe": index.nprobe or max(1, (index.nlist or _NLIST) // 4)}
    return {}


def _kind(field: Mapping[str, Any] | None) -> str:
    return "missing" if field is None else DataType(field["type"]).name


def _unless_there(make: Any) -> None:
    """Make what another may have made meanwhile."""
    try:
        make()
    except MilvusException as error:
        if "exist" not in error.message and "distinct index" not in error.message:
            raise
