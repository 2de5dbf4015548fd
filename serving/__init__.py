"""HTTP servers: one that nobody shuts others out of, and behind it the embedder, or what stores hold."""
