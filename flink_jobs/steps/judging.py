"""How a text's writer feels, as a function of SQL in a job's worker: a pandas UDF."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction, udf

from core.config.sentiment import Sentiment
from flink_jobs.engine import workers
from flink_jobs.engine.metrics import Meters
from udfs.sentiment.judge import judge, scored

log = logging.getLogger(__name__)


class _Judge(ScalarFunction):
    def __init__(self, settings: Sentiment) -> None:
        self._settings = settings
        self._meters = Meters("texts_refused")

    def open(self, function_context: FunctionContext) -> None:
        workers.begin()
        self._judge = judge(self._settings)
        self._meters.open(function_context.get_metric_group())

    def eval(self, texts: pd.Series[Any]) -> pd.Series[Any]:
        scores, refused = scored(self._judge, texts)
        if refused:
            self._meters.count("texts_refused", len(refused))
            log.warning("%d texts have no sentiment, as this one: %s", len(refused), refused[0].reason)
        return pd.Series(scores, dtype=object)


def judging(settings: Sentiment) -> Any:
    """The function: -1, as unhappy as can be, to 1. NULL where nothing is said, or a model refuses a text for good.

    Texts that are refused are counted, and the log has the reason of one of each batch.
    """
    return udf(_Judge(settings), result_type=DataTypes.DOUBLE(), func_type="pandas")
