"""What is made of conversations, as the pipeline file says it: KPIs, each a query in Flink SQL, kept up to date.

A KPI that comes with Freshet is a file in `core.answers.kpis`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from core.answers.kpis.ready_made import READY_MADE, ReadyMade
from core.config.profiles import Duration, milliseconds
from core.config.sentiment import Sentiment
from core.config.source import Model

Place = Literal["postgres", "opensearch", "kafka"]
"""Where a KPI's rows go, by the name of the store."""

KpiName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,29}$")]
Column = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]

_LONGEST_LATE_MS = 30 * 86_400_000
_LONGEST_WATERMARK_MS = 86_400_000


class Kpi(Model):
    """Rows that are kept up to date, a table of each place.

    sql  a query over `turns` and `ratings`; None: the one of this name that comes with Freshet
    key  the columns that tell its rows apart, one of them the time that a row is of
    to   where its rows go
    """

    sql: str | None = Field(None, min_length=1)
    key: tuple[Column, ...] = ()
    to: tuple[Place, ...] = Field(min_length=1)

    _line: str = PrivateAttr("")

    def locate(self, where: Callable[[tuple[str, ...]], str]) -> None:
        """See `Model.locate`."""
        self._line = where(("sql",))

    @property
    def line(self) -> str:
        """Where its query stands, as in `feedback.yaml, line 9`; "" where no file was read."""
        return self._line

    @model_validator(mode="after")
    def _key_of_its_own_sql(self) -> Kpi:
        if self.sql is not None and not self.key:
            raise ValueError("key is missing: the columns that tell the rows of sql apart, as in [window_start, model]")
        if self.sql is None and self.key:
            raise ValueError("key goes with sql: KPIs that come with Freshet have theirs")
        if len(set(self.key)) != len(self.key):
            raise ValueError("key names a column twice")
        return self


class Feedback(Model):
    """KPIs of conversations.

    watermark  how much later than it happened an event may be written
    late       how long behind a turn a rating of it counts, and may still correct what was written
    """

    sentiment: Sentiment = Sentiment()
    watermark: Duration = "5 s"
    late: Duration = "1 h"
    kpis: dict[KpiName, Kpi] = Field(min_length=1)

    @field_validator("watermark")
    @classmethod
    def _is_short(cls, watermark: str) -> str:
        if milliseconds(watermark) > _LONGEST_WATERMARK_MS:
            raise ValueError("must be 1 d at most: nothing is final before")
        return watermark

    @field_validator("late")
    @classmethod
    def _is_bounded(cls, late: str) -> str:
        if milliseconds(late) > _LONGEST_LATE_MS:
            raise ValueError("must be 30 d at most: turns are remembered so long")
        return late

    @field_validator("kpis")
    @classmethod
    def _are_known(cls, kpis: dict[str, Kpi]) -> dict[str, Kpi]:
        for name, kpi in kpis.items():
            if kpi.sql is None and name not in READY_MADE:
                raise ValueError(
                    f"{name} has no sql, and none of this name comes with Freshet: {', '.join(READY_MADE)}"
                )
        return kpis

    def query(self, name: str) -> ReadyMade:
        """The query of a KPI, and what its rows are keyed by."""
        kpi = self.kpis[name]
        return READY_MADE[name] if kpi.sql is None else ReadyMade(kpi.sql, kpi.key)

    @property
    def late_ms(self) -> int:
        """How long behind a turn a rating of it counts, in ms."""
        return milliseconds(self.late)

    @property
    def watermark_ms(self) -> int:
        """How much later than it happened an event may be written, in ms."""
        return milliseconds(self.watermark)
