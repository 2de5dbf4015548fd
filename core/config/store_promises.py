"""What each store of vectors promises, for the table of docs/stores.md: Markdown, links as from there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StorePromise:
    """What a store can hold to.

    order    what keeps an earlier change from overwriting a later one
    swapped  what a reader can see while a document changes
    after    when a search sees what was written
    filters  how conditions on metadata are answered
    words    how it is searched by words, and so by both
    limits   what it can't hold
    """

    order: str
    swapped: str
    after: str
    filters: str
    words: str
    limits: str


PGVECTOR = StorePromise(
    "a lock of the document's row in the ledger, within the transaction that writes",
    "all of it before, or all of it after: a batch is one transaction",
    "at once, when the transaction is committed",
    "by PostgreSQL itself, exact",
    "an index of words finds, BM25 orders",
    "2,000 dimensions, 4,000 as `halfvec`; an id that an index of PostgreSQL's takes, some 2,700 bytes compressed",
)
OPENSEARCH = StorePromise(
    "a script moves the ledger's entry, one after the other, and chunks have its generation as their version: later "
    "ones stay",
    "old and new chunks side by side, where the index is refreshed between; after the batch's own refresh all of it",
    "when the batch's refresh has ended, before it counts as applied",
    "by terms in one field, exact",
    "OpenSearch's BM25",
    "an id of 32,766 bytes; a request of what the cluster takes, 10 MiB on small nodes of Amazon's",
)
MILVUS = StorePromise(
    "the ledger is read, then written, without a condition: it rests on [the store's one owner]"
    "(milvus.md#what-it-promises-and-what-not) and on the job's state. Two writers of one document at one moment are "
    "**not** ordered",
    "new chunks beside old ones, for milliseconds; never too few",
    "with `consistency_level: Strong` at once; with others, later",
    "by hashes and bounds in fields of their own, exact; a range of two bounds over a list is looked at twice",
    "Milvus' BM25",
    "a text of 65,535 bytes, metadata of 65,535 bytes as JSON and of 4,096 values",
)
PINECONE = StorePromise(
    "the ledger is read, as it stands after all that was written to it, then written, without a condition: it rests on "
    "[the store's one owner](pinecone.md#what-it-promises-and-what-not) and on the job's state. Two writers of one "
    "document at one moment are **not** ordered",
    "new chunks beside old ones, until the index has come as far as the deletion; never too few",
    "when a query has shown the batch's writes, before it counts as applied; of a replica behind that, later",
    "by hashes and bounds in fields of their own, and looked at once more: exact",
    "not at all",
    "40 kB of a chunk's text with its metadata and the document's id, a chunk's id of 479 bytes",
)
KAFKA = StorePromise(
    "what the topic has is read before anything is written, and a record that came behind a later one is overtaken "
    "again by who notices; who follows compares positions",
    "all of it before, or all of it after: a document's first part is sent last",
    "at once, for who reads to the end",
    "every record is looked at, exact",
    "BM25 over every record: good for a look, no index",
    "a chunk of `largest_record` bytes with its metadata; the job keeps ids and positions in memory",
)
KINESIS = StorePromise(
    "what the stream has within its retention is read before anything is written, and a record that came behind a "
    "later one is overtaken again by who notices; who follows compares positions. What is older is ordered by the "
    "job's state alone",
    "all of it before, or all of it after: a document's first part is sent last",
    "as soon as the stream shows it, within a second as a rule, for who reads to the end",
    "every record is looked at, exact",
    "BM25 over every record: good for a look, no index",
    "a chunk of `largest_record` bytes with its metadata; a document that didn't change within the stream's retention "
    "is **not** there any more; the job keeps ids and positions in memory, and its readers share the five answers that "
    "a shard gives a second",
)
