"""Streams of shards: their order past reshards, and which reader has which."""
