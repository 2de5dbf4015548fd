"""`docker-compose.yaml`, made of what the local stack runs: `python -m deploy.docker.compose > docker-compose.yaml`.

The servers' settings are those of `stack.local`; here are their addresses and folders in containers, and what is
Docker's own. A test holds the file against this module, and this module's settings against the stack's.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from deploy.docker.chat_services import chat_services
from deploy.docker.flink_services import METRICS_PORT, flink_services
from deploy.docker.milvus_services import milvus_services
from deploy.docker.services import Service, asked, config, config_file, local, shell
from stack import connect, java, kafka, opensearch, postgres
from stack.local import LOCK
from udfs.pinned import read

HEADER = """\
# Made by `python -m deploy.docker.compose`, from the settings that `freshet stack` runs its servers with: change those.
# docs/compose.md says how to start it. No Docker engine has run it. Tags carry no digests: docs/security.md, Versions.
"""
POSTGRES_IMAGE = "pgvector/pgvector:0.8.5-pg18"
OPENSEARCH_IMAGE = "opensearchproject/opensearch:2.19.1"
PROMETHEUS_IMAGE = "prom/prometheus:v3.5.0"
GRAFANA_IMAGE = "grafana/grafana:12.2.0"
SECRETS = ("postgres_password", "grafana_password", "serve_key")

KAFKA_ADDRESSES: dict[str, str | int] = {
    "controller.quorum.voters": "1@kafka:9093",
    # a second listener for clients on the machine itself: the address that a broker tells must be theirs
    "listeners": "PLAINTEXT://0.0.0.0:9092,CONTROLLER://0.0.0.0:9093,HOST://0.0.0.0:9094",
    "advertised.listeners": "PLAINTEXT://kafka:9092,HOST://127.0.0.1:9092",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,HOST:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "log.dirs": "/var/lib/kafka/data",
}
CONNECT_ADDRESSES: dict[str, str | int] = {
    "bootstrap.servers": "kafka:9092",
    "listeners": "http://0.0.0.0:8083",
    "rest.advertised.host.name": "connect",
    "plugin.path": "/opt/plugins",
    # so that a connector's configuration names the password's file, and not the password
    "config.providers": "dir",
    "config.providers.dir.class": "org.apache.kafka.common.config.provider.DirectoryConfigProvider",
    "config.providers.dir.param.allowed.paths": "/run/secrets",
}
OPENSEARCH_ADDRESSES = {
    "network.host": "0.0.0.0",
    "http.port": "9200",
    "transport.port": "9300",
    "path.data": "/usr/share/opensearch/data",
    "path.logs": "/usr/share/opensearch/logs",
}
# of this stack's broker alone, and no secret: a broker refuses another cluster's disk
_CLUSTER_ID = "ZnJlc2hldC1jb21wb3NlLQ"
_ALERTS = "/etc/prometheus/alerts.yaml"
_LOGGING = "/etc/freshet/log4j2.properties"


def compose() -> dict[str, Any]:
    """The file's content."""
    services = {
        "postgres": _postgres(),
        "kafka": _kafka(),
        "connect": _connect(),
        "opensearch": _opensearch(),
        "aws": _aws(),
        **flink_services(),
        "loader": _loader(),
        **chat_services(),
        **milvus_services(),
        "prometheus": _prometheus(),
        "grafana": _grafana(),
    }
    return {
        "name": "freshet",
        "services": {name: service.rendered() for name, service in services.items()},
        "configs": {
            name: described for service in services.values() for name, described in service.described_configs()
        },
        "secrets": {name: {"file": f"./deploy/docker/secrets/{name}"} for name in SECRETS},
        "volumes": {name: {} for service in services.values() for name in service.named_volumes()},
    }


def render() -> str:
    """The file's text."""
    text = yaml.dump(compose(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return HEADER + "\n" + text


class _Dumper(yaml.SafeDumper):
    """YAML without anchors, and texts of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:
        """Each value is written where it stands."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def _postgres() -> Service:
    settings = [part for name, value in postgres.SETTINGS.items() for part in ("-c", f"{name}={value}")]
    return Service(
        image=POSTGRES_IMAGE,
        command=["postgres", *settings],
        environment={
            "POSTGRES_USER": postgres.USER,
            "POSTGRES_DB": postgres.DATABASE,
            "POSTGRES_PASSWORD_FILE": "/run/secrets/postgres_password",
            "POSTGRES_INITDB_ARGS": " ".join(postgres.INITDB),
        },
        secrets=["postgres_password"],
        configs=[config("vector", "/docker-entrypoint-initdb.d/vector.sql", f"{postgres.EXTENSION};\n")],
        # since 18 the image keeps its data in a folder of the version below this one
        volumes=["postgres:/var/lib/postgresql"],
        ports=[local(5432)],
        healthcheck=["CMD", "pg_isready", "-h", "127.0.0.1", "-U", postgres.USER, "-d", postgres.DATABASE],
    )


def _java_environment() -> dict[str, str]:
    return {
        "KAFKA_HEAP_OPTS": java.MEMORY,
        "KAFKA_JVM_PERFORMANCE_OPTS": " ".join(java.FLAGS),
        "KAFKA_LOG4J_OPTS": f"-Dlog4j2.configurationFile={_LOGGING}",
    }


def _kafka() -> Service:
    properties, scripts = "/etc/freshet/server.properties", "/opt/kafka/bin"
    format_ = f"{scripts}/kafka-storage.sh format --ignore-formatted --cluster-id={_CLUSTER_ID} -c {properties}"
    return Service(
        image=f"apache/kafka:{_kafka_version()}",
        entrypoint=shell(f"{format_} && exec {scripts}/kafka-server-start.sh {properties}"),
        environment=_java_environment(),
        configs=[
            config("kafka", properties, java.properties_text(kafka.SETTINGS | KAFKA_ADDRESSES)),
            config("kafka-logging", _LOGGING, java.LOGGING),
        ],
        volumes=["kafka:/var/lib/kafka/data"],
        ports=[local(9092, 9094)],
        healthcheck=["CMD", f"{scripts}/kafka-topics.sh", "--bootstrap-server", "kafka:9092", "--list"],
    )


def _kafka_version() -> str:
    return next(jar.version for jar in read(LOCK) if jar.artifact == "kafka_2.13")


def _connect() -> Service:
    properties = "/etc/freshet/worker.properties"
    return Service(
        target="connect",
        build_arguments={"KAFKA_VERSION": _kafka_version()},
        command=["/opt/kafka/bin/connect-distributed.sh", properties],
        environment=_java_environment(),
        secrets=["postgres_password"],
        configs=[
            config("connect", properties, java.properties_text(connect.SETTINGS | CONNECT_ADDRESSES)),
            config("connect-logging", _LOGGING, java.LOGGING),
        ],
        ports=[local(8083)],
        depends_on=["kafka"],
        healthcheck=["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8083/health"],
    )


def _opensearch() -> Service:
    folder = "/usr/share/opensearch"
    settings = opensearch.configuration(opensearch.SETTINGS | OPENSEARCH_ADDRESSES)
    return Service(
        image=OPENSEARCH_IMAGE,
        environment={
            "OPENSEARCH_JAVA_OPTS": " ".join(opensearch.MEMORY),
            "DISABLE_INSTALL_DEMO_CONFIG": "true",
            "DISABLE_SECURITY_PLUGIN": "true",
        },
        configs=[config("opensearch", f"{folder}/config/opensearch.yml", settings)],
        volumes=[f"opensearch:{folder}/data"],
        ports=[local(9200)],
        healthcheck=["CMD-SHELL", f"curl -fsS '{opensearch.url(9200)}/_cluster/health?{opensearch.HEALTHY}'"],
    )


def _aws() -> Service:
    return Service(
        target="tools",
        command=["python", "-P", "stack/aws_server.py", "0.0.0.0", "5000"],
        ports=[local(5000)],
        healthcheck=["CMD", "python", "-c", asked("http://127.0.0.1:5000/moto-api/")],
    )


_CHANGED_LATELY = "import os, time; assert time.time() - os.stat('/tmp/loader').st_mtime < 30"


def _loader() -> Service:
    return Service(
        target="tools",
        command=["python", "-m", "deploy.docker.loader"],
        environment={
            "DATABASE": f"host=postgres user={postgres.USER} dbname={postgres.DATABASE}",
            "CONNECT_URL": "http://connect:8083",
            "CONNECT_PASSWORD": "${dir:/run/secrets:postgres_password}",
            "POSTGRES_PASSWORD_FILE": "/run/secrets/postgres_password",
        },
        secrets=["postgres_password"],
        depends_on=["postgres", "connect"],
        healthcheck=["CMD", "python", "-c", _CHANGED_LATELY],
    )


def _prometheus() -> Service:
    scraped = {
        "scrape_configs": [
            {"job_name": "flink", "dns_sd_configs": [_scraped("jobmanager", "taskmanager", "taskmanager-gpu")]}
        ]
    }
    settings = {"global": {"scrape_interval": "5s"}, "rule_files": [_ALERTS], **scraped}
    return Service(
        image=PROMETHEUS_IMAGE,
        configs=[
            config("prometheus", "/etc/prometheus/prometheus.yml", yaml.safe_dump(settings, sort_keys=False)),
            config_file("alerts", _ALERTS, "./deploy/dashboards/prometheus/alerts.yaml"),
        ],
        volumes=["prometheus:/prometheus"],
        ports=[local(9090)],
        healthcheck=["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:9090/-/ready"],
    )


def _scraped(*names: str) -> dict[str, Any]:
    return {"names": list(names), "type": "A", "port": METRICS_PORT}


def _grafana() -> Service:
    source = {"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "access": "proxy", "isDefault": True}
    sources = {"apiVersion": 1, "datasources": [{**source, "url": "http://prometheus:9090"}]}
    folder = {"name": "Freshet", "type": "file", "options": {"path": "/var/lib/grafana/dashboards"}}
    provisioning = "/etc/grafana/provisioning"
    return Service(
        image=GRAFANA_IMAGE,
        environment={"GF_SECURITY_ADMIN_PASSWORD__FILE": "/run/secrets/grafana_password"},
        secrets=["grafana_password"],
        configs=[
            config("grafana-source", f"{provisioning}/datasources/prometheus.yaml", yaml.safe_dump(sources)),
            config(
                "grafana-dashboards",
                f"{provisioning}/dashboards/freshet.yaml",
                yaml.safe_dump({"apiVersion": 1, "providers": [folder]}),
            ),
        ],
        volumes=["./deploy/dashboards/grafana:/var/lib/grafana/dashboards:ro", "grafana:/var/lib/grafana"],
        ports=[local(3000)],
        depends_on=["prometheus"],
        healthcheck=["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:3000/api/health"],
    )


if __name__ == "__main__":
    sys.stdout.write(render())
