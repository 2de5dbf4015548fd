"""Pinecone: chunks with their vectors in a namespace of an index, and a ledger in a namespace beside it."""
