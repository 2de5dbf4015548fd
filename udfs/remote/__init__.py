"""Asking a server that has a model: over HTTP, as often as it bears, and patiently where it fails."""
