"""Texts to vectors: local models, remote ones, and the cache before both. `embedder` opens them."""
