"""Debezium's change events, with and without schemas, and as people unwrap them."""
