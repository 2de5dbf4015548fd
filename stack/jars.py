"""JARs by coordinates: pinned in lock files, fetched from the Maven registry by jgo, checked by sha256, cached.

`udfs.pinned` reads lock files, and says where what they name is kept.
"""

import hashlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from core.errors import FreshetError, Unavailable
from udfs.pinned import JARS, Jar, cache, read

OF_JOBS = Path(__file__).parents[1] / "flink_jobs" / "jars.lock"
"""The lock of what a job needs on its class path."""

_THREADS = 8
_ATTEMPTS = 4
_TIMEOUT_SECONDS = 60


Download = Callable[[Jar, Path], Path]
"""Fetches an artifact into an empty folder and gives the file's path; may raise OSError or RuntimeError."""


def fetch(lock: Path) -> list[Path]:
    """The files of a lock's artifacts, in its order; those not in the cache are downloaded, behind a progress bar.

    Every file is checked against its sha256 at each call; a cached one that doesn't match is fetched again.
    Raises FreshetError where a download's hash is wrong, Unavailable where the registry can't be reached.
    """
    jars = read(lock)
    folder = cache(JARS)
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_THREADS) as threads:
        sound = list(threads.map(lambda jar: _sha256_or_none(jar.place) == jar.sha256, jars))
    missing = [jar for jar, present in zip(jars, sound, strict=True) if not present]
    if missing:
        _download_all(missing, folder, lock.parent.name)
    return [jar.place for jar in jars]


def _download_all(missing: list[Jar], folder: Path, title: str) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress, ThreadPoolExecutor(_THREADS) as threads:
        task = progress.add_task(f"Fetching JARs ({title})", total=len(missing))

        def one(jar: Jar) -> None:
            install(jar, folder, download)
            progress.advance(task)

        list(threads.map(one, missing))


def install(jar: Jar, folder: Path, download: Download) -> Path:
    """Downloads one artifact beside its place, checks it, and moves it there: the name never holds unchecked bytes.

    Raises FreshetError where the hash is wrong.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
        file = download(jar, Path(temporary))
        found = _sha256_or_none(file)
        if found != jar.sha256:
            raise FreshetError(
                f"{jar.coordinate} has sha256 {found}, but its lock says {jar.sha256}. Something between here and the "
                "registry changed or cut the file: try again, check the proxy or mirror, and don't use the file."
            )
        return file.replace(folder / jar.file_name)


def download(jar: Jar, folder: Path) -> Path:
    """Fetches an artifact from the Maven registry into a new folder under `folder`, with retries.

    Raises Unavailable where it can't be had.
    """
    retrying = Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential_jitter(multiplier=0.5, max=8),
        # jgo tells a missing artifact and a registry in trouble apart by nothing: both are RuntimeError
        retry=retry_if_exception_type((OSError, RuntimeError)),
        reraise=True,
    )
    try:
        return retrying(_download_once, jar, folder)
    except (OSError, RuntimeError) as error:
        raise Unavailable(
            f"{jar.coordinate} could not be downloaded in {_ATTEMPTS} attempts: {error}. "
            "Check the network and the proxy settings, then start again: what was fetched is kept."
        ) from error


def _download_once(jar: Jar, folder: Path) -> Path:
    from jgo.maven import MavenContext  # late: commands that fetch nothing needn't load it

    # a new folder an attempt: jgo would take the cut file of the last one for a cached file
    context = MavenContext(repo_cache=Path(tempfile.mkdtemp(dir=folder)), timeout=_TIMEOUT_SECONDS)
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    return Path(component.artifact(classifier=jar.classifier, packaging=jar.packaging).resolve())


def _sha256_or_none(file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return None
