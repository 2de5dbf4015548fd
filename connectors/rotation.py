"""Who is asked for the secrets that a pipeline file refers to, and again where a server refuses what they were."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from core.config.embedding import fits_a_header
from core.config.secrets import Reference, Rotation
from core.errors import FreshetError, not_installed

_log = logging.getLogger("freshet")


def ask(name: str, key: str | None) -> str:
    """What a secret of AWS Secrets Manager is now, or one key of it, by its name or ARN.

    Raises ConfigError where there is none or it may not be read, Unavailable where nobody answers.
    """
    # imported late: few files refer to secrets, and boto3 takes half a second
    try:
        from connectors.aws.client import Aws
        from connectors.aws.secrets import SecretsManager
    except ModuleNotFoundError:
        raise not_installed(f"secret {name}", "boto3", "aws") from None
    return SecretsManager(Aws()).value(name, key)


def read_anew(rotation: Rotation, server: str) -> dict[str, str]:
    """What the settings are now with which a server refuses the login; none where that isn't known, or was just asked.

    Why it isn't known is logged: what the server says is what its caller raises.
    """
    try:
        return rotation.read(time.monotonic())
    except FreshetError as error:
        _log.warning("%s refuses the login, and what it is now can't be read: %s", server, error)
        return {}


class Key:
    """A key or token that each request shows to one server, which may be a secret that changes."""

    def __init__(self, text: str, references: Mapping[str, Reference], setting: str) -> None:
        """`text`: what it was as the file was read; `setting` is what messages call it."""
        self.text = text
        self.changes = bool(references)
        self._rotation, self._setting = Rotation(references), setting

    def differs(self, shown: str) -> bool:
        """Whether it is another one now than what was `shown`, which was refused: a secret is asked for anew.

        What no header can hold isn't taken: clients quote it as they refuse it.
        """
        if shown == self.text:
            found = next(iter(read_anew(self._rotation, self._setting).values()), shown)
            self.text = found if fits_a_header(found) else shown
        return shown != self.text
