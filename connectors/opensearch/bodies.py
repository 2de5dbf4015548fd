"""What the OpenSearch store sends: mappings, scripts, bulk operations, queries. Values travel in JSON bodies only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from core.config.store import IndexSettings, Method
from core.plans import Chunk, Plan, tables_of

USUAL = Method()
_ENTRY = ("position", "generation", "complete", "chunk_ids", "leftover", "moved")

_LONGEST_ID = 512  # bytes, of an _id
_SAMPLE = "s:"  # an id that no chunk has, nor an entry
_M = 16
_EF_CONSTRUCTION = 100
_UNSEARCHED = {"type": "keyword", "index": False, "doc_values": False}


def chunk_mapping(dimension: int, method: Method = USUAL) -> dict[str, Any]:
    """The fields of a chunk. Metadata is kept and not looked into; `filters` has what searches can ask of it."""
    graph = {
        "name": "hnsw",
        "engine": method.engine,
        "space_type": "cosinesimil",
        "parameters": {"m": method.m or _M, "ef_construction": method.ef_construction or _EF_CONSTRUCTION},
    }
    return {
        "dynamic": "strict",
        "properties": {
            "chunk_id": {"type": "keyword"},
            "document_id": {"type": "keyword"},
            "ordinal": {"type": "integer"},
            "text": {"type": "text"},
            "metadata": {"type": "object", "enabled": False},
            "filters": {"type": "keyword"},
            "embedding": {"type": "knn_vector", "dimension": dimension, "method": graph},
            "model": {"type": "keyword"},
        },
    }


# gc_deletes: for how long a deleted chunk remembers its version, and refuses a late write of an older one.
CHUNK_SETTINGS = {"index": {"knn": True, "gc_deletes": "1h", "auto_expand_replicas": "0-1"}}
LEDGER_SETTINGS = {"index": {"gc_deletes": "1h", "auto_expand_replicas": "0-1"}}


def stated(settings: IndexSettings) -> dict[str, str]:
    """What the file says of an index, as the cluster tells it: every value is a text."""
    said = {name: str(value) for name, value in settings if value is not None}
    return said | ({"auto_expand_replicas": "false"} if "number_of_replicas" in said else {})


LEDGER_MAPPING: dict[str, Any] = {
    "dynamic": "strict",
    "properties": {
        "document_id": {"type": "keyword"},
        "tables": {"type": "keyword"},
        "position": {"type": "keyword"},
        "generation": {"type": "long", "index": False},
        "chunk_ids": _UNSEARCHED,
        "leftover": _UNSEARCHED,
        "moved": _UNSEARCHED,
        "digest": _UNSEARCHED,
        "complete": {"type": "boolean"},
        "deleted_at": {"type": "long"},
        "table": {"type": "keyword"},
        "mark": {"type": "keyword"},
    },
}

# A generation is never below the clock, so that a document which the ledger forgot can't come back with old versions.
# `checked` is a generation at which all kept chunks were seen. Texts are ASCII, where compareTo is the bytes' order.
_ADVANCE = """
def s = ctx._source;
if (s.position != null && s.position.compareTo(params.position) > 0) { ctx.op = 'none'; return; }
def had = s.chunk_ids == null ? new HashSet() : new HashSet(s.chunk_ids);
def moved = new ArrayList();
String was = s.digest;
if (was != null && was.indexOf('@') >= 0) { was = was.substring(0, was.indexOf('@')); }
if (!params.kept.isEmpty()) {
  boolean there = s.generation != null && (s.complete || s.generation == params.checked);
  if (!there || !had.containsAll(params.kept)) { ctx.op = 'none'; return; }
  if (!s.complete || was != params.digest) { moved = params.kept; }
  else {
    def places = new HashMap();
    for (int at = 0; at < s.chunk_ids.size(); at++) { places.put(s.chunk_ids.get(at), at); }
    def kept = new HashSet(params.kept);
    for (int at = 0; at < params.chunk_ids.size(); at++) {
      def id = params.chunk_ids.get(at);
      if (kept.contains(id) && places.get(id) != at) { moved.add(id); }
    }
  }
}
if (s.leftover != null) { had.addAll(s.leftover); }
had.removeAll(new HashSet(params.chunk_ids));
s.document_id = params.document_id;
s.tables = params.tables;
s.position = params.position;
s.generation = s.generation == null ? params.now : (long) Math.max(s.generation + 1L, params.now);
s.chunk_ids = params.chunk_ids;
s.leftover = new ArrayList(had);
s.moved = moved;
s.digest = params.committed < 0 ? params.digest : params.digest + '@' + params.committed;
s.complete = false;
if (params.chunk_ids.isEmpty()) { if (s.deleted_at == null) { s.deleted_at = params.now; } }
else { s.remove('deleted_at'); }
"""

_REMOVE = """
def s = ctx._source;
if (s.position.compareTo(params.before) >= 0 || (s.deleted_at != null && s.complete)) { ctx.op = 'none'; return; }
def had = new HashSet(s.chunk_ids);
had.addAll(s.leftover);
s.generation = (long) Math.max(s.generation + 1L, params.now);
s.chunk_ids = new ArrayList();
s.leftover = new ArrayList(had);
s.complete = false;
s.deleted_at = params.now;
"""

_FINISH = """
if (ctx._source.generation != params.generation) { ctx.op = 'none'; return; }
ctx._source.leftover = new ArrayList();
ctx._source.moved = new ArrayList();
ctx._source.complete = true;
"""

_KEEP = """
def s = ctx._source;
if (s.generation != null && s.generation > params.epoch) { ctx.op = 'none'; return; }
s.generation = params.epoch;
s.digest = params.text;
"""

_MARK = """
def s = ctx._source;
if (s.mark != null && s.mark.compareTo(params.before) >= 0) { ctx.op = 'none'; return; }
s.table = params.table;
s.mark = params.before;
"""


def entry_id(document_id: str) -> str:
    """The ledger's _id for a document."""
    return _short("d:" + document_id)


def mark_id(table: str) -> str:
    """The ledger's _id for a table's mark."""
    return _short("t:" + table)


def _short(text: str) -> str:
    raw = text.encode()
    return text if len(raw) <= _LONGEST_ID else f"{text[0]}h:{sha256(raw).hexdigest()}"


def advance(ledger: str, plan: Plan, kept: Sequence[str], digest: str, checked: int, now: int) -> bytes:
    """The operation that moves a document's entry on to the plan, where the plan is not older.

    `digest` is the metadata's: the entry learns which kept chunks need a new place or new metadata.
    """
    parameters = {
        "document_id": plan.document_id,
        "tables": [mark_id(table) for table in tables_of(plan.document_id)],
        "position": plan.position,
        "chunk_ids": plan.chunk_ids,
        "kept": kept,
        "digest": digest,
        "committed": -1 if plan.committed_ms is None else plan.committed_ms,
        "checked": checked,
        "now": now,
    }
    return _update(ledger, entry_id(plan.document_id), _ADVANCE, parameters, upsert=True, answer=_ENTRY)


def remove(ledger: str, document_id: str, before: str, now: int) -> bytes:
    """The operation that takes a document's chunks away, where the document is older than `before`."""
    parameters = {"before": before, "now": now}
    return _update(ledger, entry_id(document_id), _REMOVE, parameters, upsert=False, answer=_ENTRY)


def finish(ledger: str, document_id: str, generation: int) -> bytes:
    """The operation that says that all of a generation's chunks are written and all others deleted."""
    parameters = {"generation": generation}
    return _update(ledger, entry_id(document_id), _FINISH, parameters, upsert=False, answer=_ENTRY)


def mark(ledger: str, table: str, before: str) -> bytes:
    """The operation that raises a table's mark."""
    return _update(ledger, mark_id(table), _MARK, {"table": table, "before": before}, upsert=True, answer=("mark",))


PROGRESS = "p:"
"""The ledger's _id for what a run says of itself: an id that no document's entry has, nor a table's mark."""


def keep(ledger: str, epoch: int, text: str) -> bytes:
    """The operation that keeps what a run says of itself, unless a later one has said something."""
    # in fields that a ledger of an earlier release has too
    return _update(ledger, PROGRESS, _KEEP, {"epoch": epoch, "text": text}, upsert=True, answer=("generation",))


def _update(
    index: str, of: str, script: str, parameters: Mapping[str, Any], upsert: bool, answer: Sequence[str]
) -> bytes:
    action = {"update": {"_index": index, "_id": of, "retry_on_conflict": 10}}
    body: dict[str, Any] = {"script": {"source": script, "params": parameters}, "_source": answer}
    if upsert:
        body |= {"scripted_upsert": True, "upsert": {}}
    return orjson.dumps(action) + b"\n" + orjson.dumps(body) + b"\n"


def guard(index: str) -> bytes:
    """An operation that fails, first in a request: it keeps the others from making the index where that is gone.

    By default OpenSearch makes an index that is written to, without any of its mapping: unless one of a request's
    operations on it must find an alias (`require_alias`), whether or not that one does (TransportBulkAction).
    """
    action = {"update": {"_index": index, "_id": "g:", "require_alias": True}}
    return orjson.dumps(action) + b'\n{"doc":{}}\n'


def sample_chunk(index: str, dimension: int) -> tuple[bytes, ...]:
    """Operations on a chunk that isn't there, and won't be afterwards."""
    source = chunk("", Chunk(_SAMPLE, 0, ""), b"{}", b"[]", [1.0] * dimension, "")
    place = {"_index": index, "_id": _SAMPLE}
    return orjson.dumps({"index": place}) + b"\n" + source + b"\n", orjson.dumps({"delete": place}) + b"\n"


def sample_entry(ledger: str) -> tuple[bytes, ...]:
    """As `sample_chunk`, in the ledger."""
    parameters = {"table": _SAMPLE, "before": ""}
    made = _update(ledger, _SAMPLE, _MARK, parameters, upsert=True, answer=("mark",))
    return made, orjson.dumps({"delete": {"_index": ledger, "_id": _SAMPLE}}) + b"\n"


def write(index: str, of: str, document_id: str, version: int, source: bytes) -> bytes:
    """The operation that writes a chunk, unless a later version is there."""
    return orjson.dumps({"index": _versioned(index, of, document_id, version)}) + b"\n" + source + b"\n"


def delete(index: str, of: str, document_id: str, version: int) -> bytes:
    """The operation that deletes a chunk, unless a later version is there."""
    return orjson.dumps({"delete": _versioned(index, of, document_id, version)}) + b"\n"


def _versioned(index: str, of: str, document_id: str | None, version: int) -> dict[str, Any]:
    return {"_index": index, "_id": of, "routing": document_id, "version": version, "version_type": "external_gte"}


def forget(ledger: str, hit: Mapping[str, Any]) -> bytes:
    """The operation that deletes a ledger's entry, unless it was touched since it was found."""
    found = {"_index": ledger, "_id": hit["_id"], "if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}
    return orjson.dumps({"delete": found}) + b"\n"


def chunk(document_id: str, each: Chunk, encoded: bytes, filters: bytes, vector: Any, model: str) -> bytes:
    """A chunk as JSON; `encoded` and `filters` are its metadata's. Floats have the digits that tell float32s apart."""
    found = {
        "chunk_id": each.chunk_id,
        "document_id": document_id,
        "ordinal": each.ordinal,
        "text": each.text,
        "metadata": orjson.Fragment(encoded),
        "filters": orjson.Fragment(filters),
        "embedding": vector,
        "model": model,
    }
    return orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY)


def moved(source: Mapping[str, Any], ordinal: int, encoded: bytes, filters: bytes) -> bytes:
    """A chunk that was read, with another place and metadata, as `chunk` has it."""
    changed = {"ordinal": ordinal, "metadata": orjson.Fragment(encoded), "filters": orjson.Fragment(filters)}
    return orjson.dumps({**source, **changed})


def alive_before(table: str, before: str, size: int) -> dict[str, Any]:
    """Entries of a table's documents that stand below a position and have chunks, or may have."""
    conditions = [{"term": {"tables": mark_id(table)}}, {"range": {"position": {"lt": before}}}]
    settled = {"bool": {"filter": [{"exists": {"field": "deleted_at"}}, {"term": {"complete": True}}]}}
    return {"size": size, "query": {"bool": {"filter": conditions, "must_not": settled}}, "_source": ["document_id"]}


def latest(table: str) -> dict[str, Any]:
    """The entry of a table's documents that stands last, and the table's mark."""
    of_table = [{"term": {"tables": mark_id(table)}}, {"term": {"table": table}}]
    highest = [{"position": {"order": "desc", "missing": "_last"}}]
    query = {"bool": {"should": of_table, "minimum_should_match": 1}}
    aggregations = {"marks": {"terms": {"field": "mark", "order": {"_key": "desc"}, "size": 1}}}
    return {"size": 1, "query": query, "sort": highest, "_source": ["position"], "aggs": aggregations}


def deleted_before(ms: int, size: int) -> dict[str, Any]:
    """Entries of documents deleted before a time."""
    query = {"bool": {"filter": [{"range": {"deleted_at": {"lt": ms}}}, {"term": {"complete": True}}]}}
    return {"size": size, "query": query, "_source": False, "seq_no_primary_term": True}


def delete_seen(index: str, hit: Mapping[str, Any]) -> bytes:
    """The operation that deletes a chunk as it was found, unless a later version is there."""
    routing = hit.get("_routing")
    place = _versioned(index, hit["_id"], routing, hit["_version"])
    return orjson.dumps({"delete": {name: each for name, each in place.items() if each is not None}}) + b"\n"
