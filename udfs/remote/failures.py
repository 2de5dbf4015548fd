"""What a server that has a model may answer instead of what it was asked for."""

from __future__ import annotations

from core.errors import ChangeError, Unavailable, brief

_SHOWN = 200


class Busy(Unavailable):
    """The server asks to be left alone. `wait_s`: for how long, 0 where it doesn't say.

    fails  whether it counts as a failure too, as 503 does: a server that restarts answers that
    """

    def __init__(self, message: str, wait_s: float = 0.0, fails: bool = False) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.fails = fails


class Refusal(ChangeError):
    """The server refuses these texts, or doesn't answer a result for each. Either may be the cause, a text or it."""


def shown(body: bytes, secret: str = "") -> str:
    """The beginning of an answer, for messages: in one line, without the key that it might repeat."""
    text = " ".join(body.decode("utf-8", "replace").split())
    return brief(text.replace(secret, "…") if secret else text, _SHOWN)
