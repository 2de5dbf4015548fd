"""HTTP servers: one that nobody shuts others out of, and the embedder behind it."""
