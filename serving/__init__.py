"""HTTP servers: one that no client can block for others, and behind it the embedder, or what stores hold."""
