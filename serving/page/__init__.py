"""The page at `/`: files that are the same for everyone, and ask the server as any other client does."""
