"""PostgreSQL: sessions, the catalog, rows of a source, and the store of profiles."""
