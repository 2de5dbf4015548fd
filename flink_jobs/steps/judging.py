"""How a text's writer feels, as a function of SQL in a job's worker: a pandas UDF."""

from __future__ import annotations

from typing import Any

import pandas as pd
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction, udf

from core.config.sentiment import Sentiment
from flink_jobs.engine.workers import end_bundles_at_once, let_end_without_the_jvm
from udfs.sentiment.contract import Refused
from udfs.sentiment.judge import judge


class _Judge(ScalarFunction):
    def __init__(self, settings: Sentiment) -> None:
        self._settings = settings

    def open(self, function_context: FunctionContext) -> None:
        let_end_without_the_jvm()
        end_bundles_at_once()
        self._judge = judge(self._settings)

    def eval(self, texts: pd.Series[Any]) -> pd.Series[Any]:
        verdicts = self._judge.judge(["" if text is None else text for text in texts])
        return pd.Series([None if isinstance(each, Refused) else each for each in verdicts], dtype=object)


def judging(settings: Sentiment) -> Any:
    """The function: -1, as unhappy as can be, to 1. NULL where nothing is said, or a model refuses a text for good."""
    return udf(_Judge(settings), result_type=DataTypes.DOUBLE(), func_type="pandas")
