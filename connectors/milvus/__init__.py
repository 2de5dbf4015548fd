"""Milvus: chunks with their vectors in a collection, and a ledger beside it."""
