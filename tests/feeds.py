"""One history of a table, as each feed would tell it: `workloads.feeds`, under the names that the tests use."""

from __future__ import annotations

from typing import Any

from workloads.articles import Article
from workloads.feeds import Feed, debezium, dms, dynamodb, markdown, rows, typed

__all__ = ["TABLE", "Feed", "debezium", "dms", "dynamodb", "markdown", "row", "rows", "typed"]

TABLE = "public.documents"
"""Of the topic of a workshop."""


def row(article: Article) -> dict[str, Any]:
    """The columns of the table."""
    return article.row()
