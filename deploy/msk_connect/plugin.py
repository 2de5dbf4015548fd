"""The plugin that `debezium.yaml` gives MSK Connect: `python -m deploy.msk_connect.plugin PROVIDERS.zip FOLDER`.

Debezium as the local stack's lock pins it, and beside it the providers by which a connector's configuration names a
secret instead of having it: AWS's msk-config-providers, the archive with dependencies of its releases on GitHub, as no
registry of JARs has it. (MSK Developer Guide, "Using a configuration provider to externalize secrets".)
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from core.errors import FreshetError
from deploy.msf.archive import Entries, packed
from stack import jars
from stack.connect import unpack
from stack.local import LOCK
from udfs.pinned import JARS, cache, read

PROVIDER = "com/amazonaws/kafka/config/providers/SecretsManagerConfigProvider.class"
"""The class that the workers' configuration names."""

_HASH = 12  # hexadecimal digits in the name


def plugin(debezium: Entries, providers: Path) -> tuple[str, bytes]:
    """The archive's name, which has its hash, and its bytes: the same for the same files.

    debezium   JARs by their names
    providers  a zip with JARs, in whatever folders

    Raises FreshetError where the zip can't be read, or no JAR in it has `PROVIDER`.
    """
    found = _jars(providers)
    if not any(_has_provider(content) for content in found.values()):
        raise FreshetError(
            f"{providers} has no JAR with {PROVIDER}: take the archive with dependencies of AWS's msk-config-providers"
        )
    entries = {f"debezium/{name}": content for name, content in debezium.items()}
    content = packed({**entries, **{f"providers/{name}": each for name, each in found.items()}})
    return f"debezium-{hashlib.sha256(content).hexdigest()[:_HASH]}.zip", content


def _jars(archive: Path) -> dict[str, bytes]:
    try:
        with ZipFile(archive) as opened:
            return {PurePosixPath(name).name: opened.read(name) for name in opened.namelist() if name.endswith(".jar")}
    except (OSError, BadZipFile) as error:
        raise FreshetError(f"{archive} can't be read as a zip: {error}") from None


def _has_provider(jar: bytes) -> bool:
    with tempfile.TemporaryFile() as file:
        file.write(jar)
        with ZipFile(file) as opened:
            return PROVIDER in opened.namelist()


def main(providers: Path, folder: Path) -> None:
    """Fetch Debezium, check it against the lock, and write the archive into the folder."""
    (pinned,) = (jar for jar in read(LOCK) if jar.packaging == "tar.gz")
    folder_of_jars = cache(JARS)
    folder_of_jars.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as unpacked:
        unpack(jars.install(pinned, folder_of_jars, jars.download), Path(unpacked))
        debezium = {jar.name: jar.read_bytes() for jar in sorted(Path(unpacked).rglob("*.jar"))}
    name, content = plugin(debezium, providers)
    (folder / name).write_bytes(content)
    print(f"{folder / name}: {pinned.artifact} {pinned.version}, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except FreshetError as refused:
        sys.exit(str(refused))
