"""An answering model that is waited for as long as the server's file says, and no longer, however it dawdles.

What a client of a model's server waits for is its next bytes, and those of a server may come for ever without an end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from serving.answers.models.contract import AnsweringModel, Body, ModelFailed

_SLOW = "the answering model doesn't answer in time"


class Timely:
    """A model each of whose pieces, or whose whole answer, comes within so many seconds or is given up."""

    def __init__(self, model: AnsweringModel, patience_s: float) -> None:
        self.name = model.name
        self._model = model
        self._patience_s = patience_s

    async def whole(self, body: Body) -> Body:
        """See `AnsweringModel.whole`."""
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._model.whole(body)
        except TimeoutError:
            raise ModelFailed(504, _SLOW, f"{self.name} had no answer after {self._patience_s:g} s") from None

    async def pieces(self, body: Body) -> AsyncGenerator[Body, None]:
        """See `AnsweringModel.pieces`."""
        async with aclosing(self._model.pieces(body)) as pieces:
            while (piece := await self._next(pieces)) is not None:
                yield piece

    async def close(self) -> None:
        """See `AnsweringModel.close`."""
        await self._model.close()

    async def _next(self, pieces: AsyncGenerator[Body, None]) -> Body | None:
        try:
            async with asyncio.timeout(self._patience_s):
                return await anext(pieces, None)
        except TimeoutError:
            raise ModelFailed(504, _SLOW, f"{self.name} had no piece within {self._patience_s:g} s") from None
