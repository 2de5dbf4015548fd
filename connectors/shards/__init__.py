"""Streams of shards, whichever service they are of: opened and read in order."""
