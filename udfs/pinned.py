"""Files that are pinned by their hashes: how lock files name them, and what they are called in this machine's cache.

A lock file has one artifact a line, `group artifact version classifier|- packaging sha256`; `#` starts a comment.
`stack.jars` fetches them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from core.errors import FreshetError

JARS = "jars"
"""What the fetched artifacts are called in the cache."""


@dataclass(frozen=True)
class Jar:
    """One artifact of a lock file; `classifier` is empty for the main artifact, `sha256` is in lower-case hex."""

    group: str
    artifact: str
    version: str
    classifier: str
    packaging: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """`group:artifact:version[:classifier]:packaging`, as messages name it."""
        return ":".join(
            part for part in (self.group, self.artifact, self.version, self.classifier, self.packaging) if part
        )

    @property
    def file_name(self) -> str:
        """Its name in the cache. It starts with the hash, so that two locks can't mean different bytes by one name."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.sha256[:16]}-{self.artifact}-{self.version}{classifier}.{self.packaging}"

    @property
    def place(self) -> Path:
        """Where it is kept once it was fetched."""
        return cache(JARS) / self.file_name


def cache(of: str) -> Path:
    """The folder of what is kept of a kind: `$XDG_CACHE_HOME/freshet/OF`, else `~/.cache/freshet/OF`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "freshet" / of


def read(lock: Path) -> list[Jar]:
    """The artifacts of a lock file, in its order.

    Raises FreshetError where a line doesn't have the six fields.
    """
    jars = []
    for number, line in enumerate(lock.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split("#", 1)[0].split()
        if not fields:
            continue
        if len(fields) != 6:
            raise FreshetError(
                f"{lock}:{number}: {line!r} has {len(fields)} fields; "
                "a line is `group artifact version classifier|- packaging sha256`"
            )
        group, artifact, version, classifier, packaging, sha256 = fields
        jars.append(Jar(group, artifact, version, "" if classifier == "-" else classifier, packaging, sha256.lower()))
    return jars
