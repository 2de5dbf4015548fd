"""The part of `docker-compose.yaml` for Milvus: the server, standalone, and a job of its own that writes into it.

The server's settings are those of Milvus' own script for one container, `scripts/standalone_embed.sh`.
"""

from __future__ import annotations

import yaml

from deploy.docker.flink_services import job
from deploy.docker.services import Service, config, local

IMAGE = "milvusdb/milvus:v2.5.27"
PORT = 19530

_PROFILE = "milvus"
_ETCD_FILE = "/milvus/configs/embedEtcd.yaml"
_ETCD = {
    "listen-client-urls": "http://0.0.0.0:2379",
    "advertise-client-urls": "http://0.0.0.0:2379",
    "quota-backend-bytes": 4294967296,
    "auto-compaction-mode": "revision",
    "auto-compaction-retention": "1000",
}


def milvus_services() -> dict[str, Service]:
    """Milvus, and what fills it."""
    return {"milvus": _milvus(), "job-milvus": job("milvus", ("kafka", "milvus"), (_PROFILE,))}


def _milvus() -> Service:
    return Service(
        image=IMAGE,
        profiles=[_PROFILE],
        command=["milvus", "run", "standalone"],
        environment={
            "ETCD_USE_EMBED": "true",
            "ETCD_DATA_DIR": "/var/lib/milvus/etcd",
            "ETCD_CONFIG_PATH": _ETCD_FILE,
            "COMMON_STORAGETYPE": "local",
        },
        configs=[config("milvus-etcd", _ETCD_FILE, yaml.safe_dump(_ETCD, sort_keys=False))],
        volumes=["milvus:/var/lib/milvus"],
        ports=[local(PORT)],
        healthcheck=["CMD", "curl", "-fsS", "http://127.0.0.1:9091/healthz"],
        # as the script has it
        extra={"security_opt": ["no-new-privileges:true", "seccomp:unconfined"]},
    )
