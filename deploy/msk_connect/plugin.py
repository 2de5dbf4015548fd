"""The plugin that `debezium.yaml` gives MSK Connect, made by `freshet bundle --providers`.

Debezium as the local stack's lock pins it, and beside it the providers by which a connector's configuration names a
secret instead of having it: AWS's msk-config-providers, the archive with dependencies of its releases on GitHub, as no
registry of JARs has it. (MSK Developer Guide, "Using a configuration provider to externalize secrets".)
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Plugin:
    """A built archive: its bytes, which are the same for the same files, and the hashes of it and of the providers."""

    content: bytes
    sha256: str
    providers_sha256: str

    @property
    def name(self) -> str:
        """Its name as a file and in the bucket; another archive has another one."""
        return f"debezium-{self.sha256[:_HASH]}.zip"


def plugin(debezium: Entries, providers: Path) -> Plugin:
    """The archive of both.

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
    return Plugin(content, *(hashlib.sha256(each).hexdigest() for each in (content, providers.read_bytes())))


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


def debezium() -> tuple[str, Entries]:
    """Debezium's version, and its JARs by their names: fetched once, and checked against the lock.

    Raises FreshetError where it can't be fetched, or is another one.
    """
    (pinned,) = (jar for jar in read(LOCK) if jar.packaging == "tar.gz")
    folder_of_jars = cache(JARS)
    folder_of_jars.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as unpacked:
        unpack(jars.install(pinned, folder_of_jars, jars.download), Path(unpacked))
        found = {jar.name: jar.read_bytes() for jar in sorted(Path(unpacked).rglob("*.jar"))}
    return pinned.version, found
