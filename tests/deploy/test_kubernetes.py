"""The manifests for Kubernetes: well-formed, of fields that there are, and as many slots as GPUs."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import ValidationError, validate

from cli.run_target import address
from core.config_file import load
from core.metrics import REPORTER
from deploy.docker.compose_flink import METRICS_PORT
from flink_jobs.environment import CLUSTER, JVM_FLAGS
from tests.pages import ROOT

FOLDER = ROOT / "deploy/kubernetes"
VERSION = "1.30"
MANIFESTS: list[dict[str, Any]] = [
    document
    for file in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))
]
OURS = {f"{each['kind']}/{each['metadata']['name']}": each for each in MANIFESTS}
CLUSTER_SPEC: dict[str, Any] = OURS["FlinkDeployment/freshet"]["spec"]

POD = {
    "type": "object",
    "required": ["apiVersion", "kind", "spec"],
    "properties": {"apiVersion": {"const": "v1"}, "kind": {"const": "Pod"}, "metadata": {}, "spec": {"type": "object"}},
    "additionalProperties": False,
}
SPECIFICATION = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "replicas": {"type": "integer"},
        "podTemplate": POD,
        "resource": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "cpu": {"type": "number"},
                "memory": {"type": "string", "pattern": "^[0-9]+[mg]$"},
                "ephemeralStorage": {"type": "string"},
            },
        },
    },
}
FLINK_DEPLOYMENT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "flink.apache.org/v1beta1"},
        "kind": {"const": "FlinkDeployment"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["image", "flinkVersion", "serviceAccount", "jobManager", "taskManager"],
            "properties": {
                "image": {"type": "string", "pattern": r":\d"},
                "imagePullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
                "flinkVersion": {"const": "v2_2"},
                "mode": {"enum": ["native", "standalone"]},
                "serviceAccount": {"type": "string"},
                "flinkConfiguration": {"type": "object", "additionalProperties": {"type": "string"}},
                "podTemplate": POD,
                "jobManager": SPECIFICATION,
                "taskManager": SPECIFICATION,
                "logConfiguration": {"type": "object"},
                "job": {"type": "object"},
            },
        },
    },
}
"""The fields of the operator's own kind that are used here, as its definition of July 2026 (v1beta1) has them.

Memory is in Flink's spelling, 2048m for mebibytes, and not in Kubernetes' own.
"""


@pytest.mark.parametrize("name", [name for name in OURS if not name.startswith("FlinkDeployment")])
def test_a_manifest_is_of_kubernetes_own_fields(name: str) -> None:
    kubernetes_validate.validate(OURS[name], VERSION, strict=True)


def test_a_field_that_is_not_there_is_noticed() -> None:
    broken = deepcopy(OURS["Deployment/freshet-articles"])
    broken["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


def test_the_cluster_is_of_the_operators_fields() -> None:
    validate(OURS["FlinkDeployment/freshet"], FLINK_DEPLOYMENT)
    with pytest.raises(ValidationError):
        validate({**OURS["FlinkDeployment/freshet"], "spec": {**CLUSTER_SPEC, "replicas": 2}}, FLINK_DEPLOYMENT)


@pytest.mark.parametrize("of", ["podTemplate", "taskManager"])
def test_the_clusters_pods_are_of_kubernetes_own_fields(of: str) -> None:
    pod = deepcopy(CLUSTER_SPEC[of] if of == "podTemplate" else CLUSTER_SPEC[of]["podTemplate"])
    # the operator fills these in
    for container in pod["spec"].setdefault("containers", [{"name": "flink-main-container"}]):
        container["image"] = CLUSTER_SPEC["image"]
    kubernetes_validate.validate(pod, VERSION, strict=True)


def test_there_are_as_many_slots_as_gpus() -> None:
    told = CLUSTER_SPEC["flinkConfiguration"]
    assert told["taskmanager.numberOfTaskSlots"] == told["external-resource.gpu.amount"]
    assert told["external-resource.gpu.kubernetes.config-key"] == "nvidia.com/gpu"


def test_the_cluster_has_the_options_of_a_local_run() -> None:
    told = CLUSTER_SPEC["flinkConfiguration"]
    shared = {**CLUSTER, **REPORTER, "metrics.reporter.prom.port": str(METRICS_PORT)}
    assert {name: told[name] for name in shared} == shared
    assert told["env.java.opts.taskmanager"] == told["env.java.opts.jobmanager"] == JVM_FLAGS


def test_who_submits_fits_the_cluster_and_the_image(tmp_path: Any) -> None:
    pod = OURS["Deployment/freshet-articles"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == CLUSTER_SPEC["image"]
    command, run, file, option, target = container["args"]
    # the operator names the service of a cluster's REST API after it
    assert (command, run, option, address(target)) == ("freshet", "run", "--target", ("freshet-rest", 8081))
    assert file == "/etc/freshet/articles/pipeline.yaml"
    written = OURS["ConfigMap/freshet-articles"]["data"]["pipeline.yaml"]
    (tmp_path / "postgres_password").write_text("x")
    (tmp_path / "pipeline.yaml").write_text(written.replace("/run/secrets", str(tmp_path)))
    assert load(tmp_path / "pipeline.yaml").parallelism == 2
    dockerfile = (ROOT / "deploy/docker/Dockerfile").read_text(encoding="utf-8")
    user = CLUSTER_SPEC["podTemplate"]["spec"]["securityContext"]["runAsUser"]
    assert user == pod["securityContext"]["runAsUser"] == int(re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)[-1])
    told = CLUSTER_SPEC["flinkConfiguration"]
    # what the container is told to run is run as it is
    assert told["kubernetes.entry.path"] == "/usr/bin/env" and "ENTRYPOINT" not in dockerfile
    assert f"FLINK_CONF_DIR={told['kubernetes.flink.conf.dir']} " in dockerfile
    assert "PATH=/opt/freshet/flink/bin:$PATH" in dockerfile
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert "/var/lib/freshet" in mounted
    assert told["high-availability.storageDir"].startswith("file:///var/lib/freshet/")
