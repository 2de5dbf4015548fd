"""Debezium's plugin for Kafka Connect, as the local stack's lock pins it: `python -m deploy.docker.plugin FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from stack import jars
from stack.connect import unpack
from stack.local import LOCK


def main(folder: Path) -> None:
    """Fetch the archive, check it against the lock, and unpack its JARs below the folder."""
    (pinned,) = (jar for jar in jars.read(LOCK) if jar.packaging == "tar.gz")
    cache = jars.cache()
    cache.mkdir(parents=True, exist_ok=True)
    unpack(jars.install(pinned, cache, jars.download), folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
