"""Profiles in PostgreSQL: the store, and its statements."""
