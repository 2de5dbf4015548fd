"""The operators between a source and the stores; each carries a pure step of `core`."""
