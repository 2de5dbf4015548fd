"""Debezium's plugin for Kafka Connect, as the local stack's lock pins it: `python -m deploy.docker.plugin FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from stack import jars
from stack.connect import unpack
from stack.local import LOCK
from udfs.pinned import JARS, cache, read


def main(folder: Path) -> None:
    """Fetch the archive, check it against the lock, and unpack its JARs below the folder."""
    (pinned,) = (jar for jar in read(LOCK) if jar.packaging == "tar.gz")
    folder_of_jars = cache(JARS)
    folder_of_jars.mkdir(parents=True, exist_ok=True)
    unpack(jars.install(pinned, folder_of_jars, jars.download), folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
