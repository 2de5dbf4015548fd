"""OpenSearch as a store of vectors; `store` is its face, the rest is private to it."""
