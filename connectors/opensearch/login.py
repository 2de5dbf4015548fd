"""Login to OpenSearch by a user and a password, which may be secrets that change."""

from __future__ import annotations

import urllib3

from connectors.rotation import read_anew
from core.config.secrets import Rotation
from core.config.store import OpenSearch


class BasicLogin:
    """What each request says of who asks: opensearch-py calls it for the headers."""

    def __init__(self, target: OpenSearch, setting: str) -> None:
        """By `target`'s user and password; `setting` is what messages call it."""
        references = target.references("user", "password")
        self._rotation, self._setting = Rotation(references), setting
        self._known = {"user": target.user or "", "password": target.password or ""}
        self.changes = bool(references)

    def __call__(self, *_: object) -> dict[str, str]:
        """The headers, whatever is asked for."""
        return dict(urllib3.make_headers(basic_auth=f"{self._known['user']}:{self._known['password']}"))

    def differs(self, shown: dict[str, str]) -> bool:
        """Whether it is another one now than what was `shown`, which was refused: secrets are asked for anew."""
        if shown == self():
            self._known = {**self._known, **read_anew(self._rotation, self._setting)}
        return shown != self()
