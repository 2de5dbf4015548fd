"""What the chat demo asks a server: that something isn't there is an answer, a failure is none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.errors import Unavailable
from demo.chat.asking import Asker
from serving.server import served

ASKS: list[Callable[[Asker, str], bool]] = [lambda asker, of: asker.sees("articles", of), Asker.knows]


async def status(request: Request) -> Response:
    """Answers with the status that the last part of the path is."""
    return Response(status_code=int(request.path_params["path"].rpartition("/")[2]))


@pytest.mark.parametrize("ask", ASKS)
def test_only_a_404_means_that_something_is_not_there(ask: Callable[[Asker, str], bool]) -> None:
    with (
        served(Starlette(routes=[Route("/{path:path}", status)])) as url,
        closing(Asker(url, "key")) as asker,
    ):
        assert ask(asker, "200") and not ask(asker, "404")
        for failed in ("401", "500", "503"):
            with pytest.raises(Unavailable, match=f"refuses /v1/.*/{failed} with {failed}"):
                ask(asker, failed)
    with closing(Asker(url, "key")) as asker, pytest.raises(Unavailable, match="doesn't answer at /v1/"):
        ask(asker, "200")
