"""Filters: what a search may ask of documents' metadata, as one language for every store."""
