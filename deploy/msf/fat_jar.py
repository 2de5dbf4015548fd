"""One JAR of several: Managed Service for Apache Flink takes one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zipfile import ZipFile

from core.errors import FreshetError
from deploy.msf.archive import Entries
from deploy.msf.relocation import relocated

KAFKA = "org.apache.kafka"
SHADED_KAFKA = "org.apache.flink.kafka.shaded.org.apache.kafka"
"""Where Flink's SQL connector has its Kafka client."""

_SIGNATURE = re.compile(r"META-INF/([^/]+\.(SF|RSA|DSA|EC)|SIG-[^/]*)")
_LICENCE = re.compile(r"META-INF/[^/]*(LICENSE|NOTICE|DEPENDENCIES)[^/]*")
_SERVICE = re.compile(r"META-INF/services/[^/]+")
_LEFT_OUT = re.compile(r"META-INF/MANIFEST\.MF|META-INF/INDEX\.LIST|META-INF/maven/.*|(.*/)?module-info\.class")
_MANIFEST = b"Manifest-Version: 1.0\r\nMulti-Release: true\r\n\r\n"


def fat_jar(jars: Sequence[Path]) -> Entries:
    """The files of all of them as those of one JAR.

    Lists of services are joined, signatures and Maven's descriptions left out, and licences kept, each under its JAR's
    name. Classes of aws-msk-iam-auth, which know Kafka's client by its own name, get to know that of Flink's connector.

    Raises FreshetError where two JARs have different classes or files of one name.
    """
    files: dict[str, bytes] = {"META-INF/MANIFEST.MF": _MANIFEST}
    services: dict[str, dict[str, None]] = {}
    origin: dict[str, str] = {}
    shaded = any(_has(jar, SHADED_KAFKA.replace(".", "/") + "/") for jar in jars)
    for jar in jars:
        for name, content in _files(jar):
            if _SERVICE.fullmatch(name):
                services.setdefault(name, {}).update(dict.fromkeys(_providers(content)))
                continue
            if _LICENCE.fullmatch(name):
                name = f"META-INF/licenses/{_title(jar)}/{name.removeprefix('META-INF/')}"
            elif shaded and name.startswith("software/amazon/msk/") and name.endswith(".class"):
                content = relocated(content, KAFKA, SHADED_KAFKA)
            if files.setdefault(name, content) != content:
                raise FreshetError(
                    f"{_title(jar)} and {origin[name]} have different files {name}: "
                    "they can't be in one JAR; take versions that go together"
                )
            origin.setdefault(name, _title(jar))
    return {**files, **_lists(services)}


def _files(jar: Path) -> Iterator[tuple[str, bytes]]:
    with ZipFile(jar) as opened:
        for name in opened.namelist():
            if not (name.endswith("/") or _SIGNATURE.fullmatch(name) or _LEFT_OUT.fullmatch(name)):
                yield name, opened.read(name)


def _has(jar: Path, folder: str) -> bool:
    with ZipFile(jar) as opened:
        return any(name.startswith(folder) for name in opened.namelist())


def _title(jar: Path) -> str:
    # the cache puts a hash before it
    return re.sub(r"^[0-9a-f]{16}-", "", jar.stem)


def _providers(content: bytes) -> Iterator[str]:
    for line in content.decode("utf-8").splitlines():
        if provider := line.partition("#")[0].strip():
            yield provider


def _lists(services: Mapping[str, Mapping[str, None]]) -> Entries:
    return {name: "".join(f"{provider}\n" for provider in providers).encode() for name, providers in services.items()}
