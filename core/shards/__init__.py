"""Partitions and shards: their order past reshards, which reader has which, and how far each is applied."""
