"""Embeddings from an endpoint, of any protocol: `embedder` is its face."""
