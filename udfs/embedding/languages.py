"""What languages a model is made for, where these are few: texts of others get vectors too, but poor ones."""

from __future__ import annotations

from udfs.embedding.tokenizing import short_name

MULTILINGUAL = "paraphrase-multilingual-MiniLM-L12-v2"
"""A model of some fifty languages, with as many numbers in a vector as the default has; it reads 128 tokens."""

_OF_ENGLISH = frozenset({"all-MiniLM-L6-v2", "all-MiniLM-L12-v2", "all-mpnet-base-v2", "all-distilroberta-v1"})


def languages(model: str) -> str:
    """As in `made for English`; "" where nothing is known of it."""
    return "made for English" if short_name(model) in _OF_ENGLISH else ""
