"""What `freshet serve` does: all is opened, then whoever is let in is answered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event

from serving import server
from serving.asking import application
from serving.bodies import HERE
from serving.offer import check_host, opened
from serving.problems import as_problem
from serving.settings import read

_BODY = 4 << 20


def serve(file: Path, host: str, port: int, say: Callable[[str], None]) -> None:
    """Answer until SIGTERM or SIGINT; `say` gets notes on what is served, and then the address.

    Raises ConfigError where a file is wrong, or others could ask without a key; Unavailable where a store is away.
    """
    served = read(file)
    check_host(served, host)
    with opened(served) as offer:
        for note in offer.notes:
            say(note)
        # without keys, to stand on this machine is what lets in: pages that its browsers show must not pass for that
        limits = server.Limits(body=_BODY, names=None if offer.keyed else HERE)
        without = "" if offer.keyed else ", without keys"
        over = Event()
        app = application(offer, over)
        server.serve(app, host, port, lambda url: say(f"serving at {url}{without}"), limits, as_problem, over)
