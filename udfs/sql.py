"""Models as functions of Flink SQL: `SELECT embed(body) FROM …`, `SELECT sentiment(comment) FROM …`."""

from __future__ import annotations

from typing import Any

import pandas as pd
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction, udf

from core.config.sentiment import Sentiment
from udfs.embedding.embedder import embed_each, embedder, questioner
from udfs.embedding.tokenizing import DEFAULT
from udfs.sentiment.judge import judge, scored


class _Embed(ScalarFunction):
    def __init__(self, model: str, of_questions: bool) -> None:
        self._model = model
        self._of_questions = of_questions

    def open(self, function_context: FunctionContext) -> None:
        self._embedder = (questioner if self._of_questions else embedder)(self._model)
        self._refused = function_context.get_metric_group().add_group("freshet").counter("texts_refused")

    def eval(self, texts: pd.Series[Any]) -> pd.Series[Any]:
        rows = [row for row, text in enumerate(texts) if text is not None]
        vectors, errors = embed_each(self._embedder, [texts.iloc[row] for row in rows])
        self._refused.inc(len(errors))
        results: list[Any] = [None] * len(texts)
        for at, row in enumerate(rows):
            results[row] = None if at in errors else vectors[at]
        return pd.Series(results, dtype=object)


class _Sentiment(ScalarFunction):
    def __init__(self, settings: Sentiment) -> None:
        self._settings = settings

    def open(self, function_context: FunctionContext) -> None:
        self._judge = judge(self._settings)
        self._refused = function_context.get_metric_group().add_group("freshet").counter("texts_refused")

    def eval(self, texts: pd.Series[Any]) -> pd.Series[Any]:
        scores, refused = scored(self._judge, texts)
        self._refused.inc(len(refused))
        return pd.Series(scores, dtype=object)


def embed_udf(model: str, of_questions: bool = False) -> Any:
    """A vectorized SQL function from STRING to ARRAY<FLOAT>, the text's unit vector, for `create_temporary_function`.

    model  as in `udfs.embedding.embedder.embedder`; each worker process loads it once, when the query starts there

    NULL gives NULL. A text that can't be embedded gives NULL too, and is counted in the metric
    `freshet.texts_refused`.
    """
    return udf(_Embed(model, of_questions), result_type=DataTypes.ARRAY(DataTypes.FLOAT()), func_type="pandas")


def sentiment_udf(settings: Sentiment | None = None) -> Any:
    """A vectorized SQL function from STRING to DOUBLE, how a text's writer feels, for `create_temporary_function`.

    settings  what judges, as a pipeline file has it; None: VADER. Each worker process opens it once, when the query
              starts there

    From -1, as unhappy as can be, to 1. NULL gives NULL, and so does a blank text. A text that can't be judged gives
    NULL too, and is counted in the metric `freshet.texts_refused`.
    """
    function = _Sentiment(settings or Sentiment())
    return udf(function, result_type=DataTypes.DOUBLE(), func_type="pandas")


embed = embed_udf(DEFAULT)
"""For SQL alone: `CREATE TEMPORARY FUNCTION embed AS 'udfs.sql.embed' LANGUAGE PYTHON`."""

sentiment = sentiment_udf()
"""For SQL alone: `CREATE TEMPORARY FUNCTION sentiment AS 'udfs.sql.sentiment' LANGUAGE PYTHON`."""
