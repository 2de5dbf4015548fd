"""The manifests for Kubernetes: well-formed, of fields that there are, and as many slots as GPUs."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pyflink
import pytest
import yaml
from jsonschema import ValidationError, validate

from core.config.file import load
from core.config.pipeline import Pipeline
from core.metrics.figures import REPORTER
from deploy.docker.flink_services import METRICS_PORT
from flink_jobs.engine.environment import CLUSTER, JVM_FLAGS
from operations.run_target import address
from stack import connect
from stack.local import LOCK
from tests.pages import ROOT
from udfs.pinned import read

FOLDER = ROOT / "deploy/kubernetes"
CRDS = ROOT / "tests/fixtures/crds"
VERSION = "1.30"


def manifests(*folders: Path) -> dict[str, dict[str, Any]]:
    """Each manifest of the folders by its kind and name."""
    files = [file for folder in folders for file in sorted(folder.glob("*.yaml"))]
    read = [each for file in files for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in read if "metadata" in each}


SESSION = manifests(FOLDER)
APPLICATION = manifests(FOLDER / "application")
ALL = [*SESSION.values(), *APPLICATION.values(), *manifests(FOLDER / "debezium").values()]
SPECS: dict[str, dict[str, Any]] = {
    "session": SESSION["FlinkDeployment/freshet"]["spec"],
    "application": APPLICATION["FlinkDeployment/freshet-articles"]["spec"],
}
OF_OPERATORS = {file.name.partition(".")[0] for file in CRDS.glob("*.json.gz")}


def definition(kind: str) -> dict[str, Any]:
    """The schema of an operator's kind, in which a field that it doesn't name is a mistake."""
    kept = json.loads(gzip.decompress((CRDS / f"{kind}.json.gz").read_bytes()))
    schema = closed(kept["schema"])
    schema["properties"] |= {"apiVersion": {"const": kept["apiVersion"]}, "kind": {"const": kind}}
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return schema


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    if "properties" not in schema or schema.get("x-kubernetes-preserve-unknown-fields"):
        return schema
    properties = {name: closed(each) for name, each in schema["properties"].items()}
    return {"additionalProperties": False, **schema, "properties": properties}


def named(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


@pytest.mark.parametrize("manifest", [each for each in ALL if each["kind"] not in OF_OPERATORS], ids=named)
def test_a_manifest_is_of_kubernetes_own_fields(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_a_field_that_is_not_there_is_noticed() -> None:
    broken = deepcopy(SESSION["Deployment/freshet-articles"])
    broken["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


@pytest.mark.parametrize("manifest", [each for each in ALL if each["kind"] in OF_OPERATORS], ids=named)
def test_a_manifest_is_of_the_operators_fields(manifest: dict[str, Any]) -> None:
    validate(manifest, definition(manifest["kind"]))
    with pytest.raises(ValidationError, match="replicaz"):
        validate({**manifest, "spec": {**manifest["spec"], "replicaz": 2}}, definition(manifest["kind"]))


@pytest.mark.parametrize("of", SPECS)
def test_the_pods_are_of_kubernetes_own_fields(of: str) -> None:
    parts = [SPECS[of], SPECS[of]["jobManager"], SPECS[of]["taskManager"]]
    pods = [deepcopy(each["podTemplate"]) for each in parts if "podTemplate" in each]
    assert pods
    for pod in pods:
        # the operator fills these in
        for container in pod["spec"].setdefault("containers", [{"name": "flink-main-container"}]):
            container["image"] = SPECS[of]["image"]
        kubernetes_validate.validate(pod, VERSION, strict=True)


def test_there_are_as_many_slots_as_gpus() -> None:
    options = SPECS["session"]["flinkConfiguration"]
    assert options["taskmanager.numberOfTaskSlots"] == options["external-resource.gpu.amount"]
    assert options["external-resource.gpu.kubernetes.config-key"] == "nvidia.com/gpu"


@pytest.mark.parametrize("of", SPECS)
def test_a_cluster_has_the_options_of_a_local_run(of: str) -> None:
    options = SPECS[of]["flinkConfiguration"]
    shared = {**CLUSTER, **REPORTER, "metrics.reporter.prom.port": str(METRICS_PORT)}
    assert {name: options[name] for name in shared} == shared
    assert options["env.java.opts.taskmanager"] == options["env.java.opts.jobmanager"] == JVM_FLAGS


@pytest.mark.parametrize("of", SPECS)
def test_a_cluster_fits_the_image(of: str) -> None:
    dockerfile = (ROOT / "deploy/docker/Dockerfile").read_text(encoding="utf-8")
    options = SPECS[of]["flinkConfiguration"]
    user = SPECS[of]["podTemplate"]["spec"]["securityContext"]["runAsUser"]
    assert user == int(re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)[-1])
    # what the container is given to run is run as it is
    assert options["kubernetes.entry.path"] == "/usr/bin/env" and "ENTRYPOINT" not in dockerfile
    assert f"FLINK_CONF_DIR={options['kubernetes.flink.conf.dir']} " in dockerfile
    assert "PATH=/opt/freshet/flink/bin:$PATH" in dockerfile


def test_who_submits_fits_the_session_cluster(tmp_path: Path) -> None:
    pod = SESSION["Deployment/freshet-articles"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == SPECS["session"]["image"]
    command, run, file, option, target = container["args"]
    # the operator names the service of a cluster's REST API after it
    assert (command, run, option, address(target)) == ("freshet", "run", "--target", ("freshet-rest", 8081))
    assert file == "/etc/freshet/articles/pipeline.yaml"
    written = SESSION["ConfigMap/freshet-articles"]["data"]["pipeline.yaml"]
    assert loaded(written, "/run/secrets", tmp_path).parallelism == 2
    assert (
        pod["securityContext"]["runAsUser"] == SPECS["session"]["podTemplate"]["spec"]["securityContext"]["runAsUser"]
    )
    assert "/var/lib/freshet" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert SPECS["session"]["flinkConfiguration"]["high-availability.storageDir"].startswith("file:///var/lib/freshet/")


def loaded(written: str, secrets: str, folder: Path) -> Pipeline:
    """The pipeline, where its secrets are files of a folder."""
    assert f"{{file:{secrets}/postgres_password}}" in written
    (folder / "postgres_password").write_text("x", encoding="utf-8")
    (folder / "pipeline.yaml").write_text(written.replace(secrets, str(folder)), encoding="utf-8")
    return load(folder / "pipeline.yaml")


def test_the_application_runs_the_pipeline_that_it_mounts(tmp_path: Path) -> None:
    spec = SPECS["application"]
    job = spec["job"]
    assert (job["entryClass"], job["upgradeMode"]) == ("org.apache.flink.client.python.PythonDriver", "savepoint")
    jar = Path(pyflink.__file__).parent / "opt" / Path(job["jarURI"]).name
    assert jar.is_file() and job["jarURI"].startswith("local:///opt/freshet/flink/opt/")
    *options, module, file = job["args"]
    assert options == ["-pyclientexec", "python", "-pym"] and importlib.util.find_spec(module) is not None
    (container,) = spec["podTemplate"]["spec"]["containers"]
    at = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert file == f"{at['pipeline']}/pipeline.yaml"
    written = (FOLDER / "application" / "pipeline.yaml").read_text(encoding="utf-8")
    pipeline = loaded(written, at["secrets"], tmp_path)
    assert pipeline.parallelism == job["parallelism"]


def test_checkpoints_lie_where_every_pod_sees_them() -> None:
    options = SPECS["application"]["flinkConfiguration"]
    places = {name for name, value in options.items() if value.startswith("s3://")}
    dirs = {"execution.checkpointing.dir", "execution.checkpointing.savepoint-dir", "high-availability.storageDir"}
    assert places == dirs
    assert not [each for each in APPLICATION.values() if each["kind"] == "PersistentVolumeClaim"]


def test_the_network_lets_in_no_others() -> None:
    policies = [each for each in APPLICATION.values() if each["kind"] == "NetworkPolicy"]
    name = APPLICATION["FlinkDeployment/freshet-articles"]["metadata"]["name"]
    assert all(each["spec"]["podSelector"]["matchLabels"]["app"] == name for each in policies)
    assert all(each["spec"]["policyTypes"] == ["Ingress"] for each in policies)
    open_to_all = [rule for each in policies for rule in each["spec"]["ingress"] if not rule.get("from")]
    assert policies and not open_to_all
    ports = {port["port"] for each in policies for rule in each["spec"]["ingress"] for port in rule.get("ports", ())}
    assert ports == {8081, METRICS_PORT}


def test_kustomizations_name_what_is_there_and_patch_what_they_have() -> None:
    base = yaml.safe_load((FOLDER / "application/kustomization.yaml").read_text(encoding="utf-8"))
    named_files = [*base["resources"], *(file for each in base["configMapGenerator"] for file in each["files"])]
    assert sorted(named_files) == sorted(
        file.name for file in (FOLDER / "application").glob("*.yaml") if file.name != "kustomization.yaml"
    )
    example = yaml.safe_load((FOLDER / "example/kustomization.yaml").read_text(encoding="utf-8"))
    assert [(FOLDER / "example" / each).resolve() for each in example["resources"]] == [FOLDER / "application"]
    replaced = set()
    for patch in example["patches"]:
        manifest = APPLICATION[f"{patch['target']['kind']}/{patch['target']['name']}"]
        for change in yaml.safe_load(patch["patch"]):
            *way, last = change["path"].removeprefix("/").split("/")
            place = manifest
            for step in way:
                place = place[step]
            assert (last in place) == (change["op"] == "replace"), change["path"]
            replaced.add(last)
    options = SPECS["application"]["flinkConfiguration"]
    assert {name for name, value in options.items() if "BUCKET" in value} | {"image", "annotations"} == replaced


def test_debezium_is_set_up_as_the_local_stacks() -> None:
    (connector,) = (each for each in ALL if each["kind"] == "KafkaConnector")
    config = {name: str(value) for name, value in connector["spec"]["config"].items()}
    ours = connect._postgres_config("shop", "host=postgres user=freshet dbname=freshet", "shop", ["public.articles"], 2)
    heartbeats = connect._heartbeats("shop", "shop.public.articles")
    ours |= heartbeats
    same = ("skipped.operations", "plugin.name", "publication.autocreate.mode", "max.queue.size.in.bytes", *heartbeats)
    assert {name: config[name] for name in same} == {name: ours[name] for name in same}
    assert connector["spec"]["class"] == ours["connector.class"]
    (cluster,) = (each for each in ALL if each["kind"] == "KafkaConnect")
    settings = {name: str(value).lower() for name, value in cluster["spec"]["config"].items()}
    both = settings.keys() & connect.SETTINGS.keys()
    assert {name: settings[name] for name in both} == {name: str(connect.SETTINGS[name]).lower() for name in both}
    (plugin,) = cluster["spec"]["build"]["plugins"]
    pinned = {jar.artifact: jar.version for jar in read(LOCK)}
    assert pinned[plugin["artifacts"][0]["artifact"]] == plugin["artifacts"][0]["version"]
