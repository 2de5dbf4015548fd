"""Flink's file system `s3://`, which its Python package has none of: `python -m deploy.docker.s3_plugin FOLDER`.

Flink loads a plugin from a folder of its own below `plugins` ("File Systems", in Flink's documentation).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from stack import jars

LOCK = Path(__file__).with_name("jars.lock")


def main(plugins: Path) -> None:
    """Fetch the JAR, check it against the lock, and put it below the folder of Flink's plugins."""
    (jar,) = jars.fetch(LOCK)
    folder = plugins / "s3-fs-hadoop"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(jar, folder / jar.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
