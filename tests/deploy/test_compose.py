"""docker-compose.yaml: it is what its source renders, is well-formed, and runs what the local stack runs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg.conninfo import make_conninfo

from connectors.milvus import lite
from connectors.milvus.store import MilvusStore
from core.config.file import load
from core.config.pipeline import Pipeline
from core.errors import FreshetError
from core.formats.wrapping import bare
from demo.chat.model_server import NAME
from deploy.docker import compose, loader
from flink_jobs.engine.environment import CLUSTER, JVM_FLAGS, local_options
from serving import settings as serving_settings
from serving.keys import digest, read_keys
from stack import connect, java, kafka, opensearch, postgres
from stack import local as local_stack
from stack.layout import Ports, layout_of
from tests.connectors.test_store_contract import APPLIED, apply, plan, vector_of
from tests.pages import ROOT
from tests.topics import consume

FILE = ROOT / "docker-compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("freshet-flink:", "freshet-tools:", "freshet-connect:", "freshet-chat:")


def text_of(name: str) -> str:
    """A config's text, as a container sees it."""
    return str(COMPOSE["configs"][name]["content"]).replace("$$", "$")


def pipeline_of(folder: Path) -> Pipeline:
    """The pipeline, where its secrets are files of a folder."""
    written = (ROOT / "deploy/docker/pipeline.yaml").read_text(encoding="utf-8")
    (folder / "postgres_password").write_text("x\n", encoding="utf-8")
    (folder / "pipeline.yaml").write_text(written.replace("/run/secrets", str(folder)), encoding="utf-8")
    return load(folder / "pipeline.yaml")


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_the_file_is_what_its_source_renders() -> None:
    assert FILE.read_text(encoding="utf-8") == compose.render(), "python -m deploy.docker.compose > docker-compose.yaml"


def test_the_file_keeps_the_schema_of_compose() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_schema_bites(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yaml"
    broken.write_text(FILE.read_text(encoding="utf-8").replace("restart:", "restarts:", 1), encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(broken)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_the_dockerfile_has_nothing_that_hadolint_minds() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [str(hadolint), "--failure-threshold", "info", str(ROOT / "deploy/docker/Dockerfile")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_checked_and_closed(name: str) -> None:
    service = SERVICES[name]
    tag = service["image"].rpartition(":")[2]
    assert re.search(r"\d+\.\d+", tag), f"{service['image']} has no version"
    assert ("build" in service) == service["image"].startswith(OURS)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert "healthcheck" in service, "`up --wait` waits for it"
    assert not [variable for variable in service.get("environment", {}) if variable.endswith("PASSWORD")] or (
        service["environment"]["CONNECT_PASSWORD"] == "$${dir:/run/secrets:postgres_password}"
    )


def test_what_services_name_is_there() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", ())) <= set(SERVICES), name
        assert all("healthcheck" in SERVICES[other] for other in service.get("depends_on", ())), name
        assert {each["source"] for each in service.get("configs", ())} <= set(COMPOSE["configs"]), name
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or source.startswith("./deploy/"), volume
    files = [config["file"] for config in COMPOSE["configs"].values() if "file" in config]
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert [secret for secret in COMPOSE["secrets"].values() if (ROOT / secret["file"]).exists()] == []


def test_each_target_is_a_stage_of_the_dockerfile() -> None:
    text = (ROOT / "deploy/docker/Dockerfile").read_text(encoding="utf-8")
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    built = [service["build"] for service in SERVICES.values() if "build" in service]
    assert {build["target"] for build in built} <= stages
    for folder in re.findall(r"^COPY (?!--from)(\S+?)/? \S+$", text, re.MULTILINE):
        assert (ROOT / folder).exists(), folder
    assert f"ARG KAFKA_VERSION={SERVICES['kafka']['image'].partition(':')[2]}\n" in text


def with_profiles() -> dict[str, list[str]]:
    return {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}


def test_the_chat_has_a_model_on_processors_or_one_on_a_gpu_under_one_name(tmp_path: Path) -> None:
    profiles = with_profiles()
    assert (profiles["serve"], profiles["model"], profiles["model-gpu"]) == (
        ["chat", "chat-gpu"],
        ["chat"],
        ["chat-gpu"],
    )
    gpu = SERVICES["model-gpu"]
    assert gpu["networks"]["default"]["aliases"] == ["model"]
    named = gpu["command"][gpu["command"].index("--served-model-name") + 1]
    pipeline_of(tmp_path)
    written = (ROOT / "deploy/docker/serve.yaml").read_text(encoding="utf-8")
    keys = tmp_path / "keys.yaml"
    (tmp_path / "serve.yaml").write_text(written.replace("/tmp/keys.yaml", str(keys)), encoding="utf-8")
    # as the service's own line makes it
    line = SERVICES["serve"]["command"][2].replace("$$", "$").partition(" && ")[0]
    line = line.replace("/run/secrets", str(tmp_path)).replace("/tmp/keys.yaml", str(keys))
    (tmp_path / "serve_key").write_text("0123abcd", encoding="utf-8")
    subprocess.run(["/bin/sh", "-c", line], check=True)
    assert read_keys(keys).keys["page"].sha256 == digest("0123abcd")
    answer = serving_settings.read(tmp_path / "serve.yaml").settings.answer.openai
    assert answer is not None
    assert (answer.url, answer.model, named) == ("http://model:8000/v1", NAME, NAME)
    for model in ("model", "model-gpu"):
        assert "8000" in SERVICES[model]["command"] and "ports" not in SERVICES[model]


def test_milvus_has_a_profile_and_a_job_of_its_own_that_its_client_can_speak_to() -> None:
    profiles, ours = with_profiles(), dict(SERVICES["job-milvus"])
    assert (profiles["milvus"], ours.pop("profiles")) == (["milvus"], ["milvus"])
    job = {name: part for name, part in SERVICES["job"].items() if name != "secrets"}
    assert ours.pop("depends_on").keys() == {"kafka", "milvus", "jobmanager", "loader"} and job.pop("depends_on")
    assert yaml.safe_load(yaml.safe_dump(ours).replace("milvus", "pipeline")) == job, "but for its file"
    pinned = re.findall(r"^pymilvus==(\d+\.\d+)", (ROOT / "requirements/requirements.txt").read_text(), re.MULTILINE)
    assert [SERVICES["milvus"]["image"].rpartition(":v")[2].rpartition(".")[0]] == pinned
    dockerfile = (ROOT / "deploy/docker/Dockerfile").read_text(encoding="utf-8")
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", dockerfile, re.MULTILINE)
    assert "milvus" in extras.split(",")


def test_the_pipeline_into_milvus_fits_the_services_and_the_other_one(tmp_path: Path) -> None:
    pipeline, other = load(ROOT / "deploy/docker/milvus.yaml"), pipeline_of(tmp_path)
    assert pipeline.name != other.name and pipeline.dead_letters.chosen != other.dead_letters.chosen
    assert (pipeline.kafka.topic, pipeline.documents) == (other.kafka.topic, other.documents)
    target = pipeline.store.milvus
    assert target is not None
    assert f"127.0.0.1:{target.uri.removeprefix('http://milvus:')}:19530" in SERVICES["milvus"]["ports"]
    # on Milvus Lite, as its image can't run here
    here = target.model_copy(update={"uri": str(tmp_path / "milvus.db")})
    try:
        with closing(MilvusStore(here, 4, pipeline.embedding.model)) as store:
            store.prepare()
            assert apply(store, plan("public.articles/1", "1", "one", metadata={"title": "t"})) == [APPLIED]
            assert [hit.text for hit in store.search(vector_of("one"), 1)] == ["one"]
    finally:
        lite.stop(Path(here.uri))


def test_one_of_two_profiles_has_a_task_manager() -> None:
    profiles = {name: given for name, given in with_profiles().items() if "manager" in name}
    assert profiles == {"taskmanager": ["cpu"], "taskmanager-gpu": ["gpu"]}
    assert "COMPOSE_PROFILES=cpu" in (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    cpu, gpu = (dict(SERVICES[name]) for name in profiles)
    assert gpu.pop("deploy")["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    device = SERVICES["taskmanager-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]
    slots = {each: yaml.safe_load(text_of(each))["taskmanager.numberOfTaskSlots"] for each in ("flink", "flink-gpu")}
    assert slots == {"flink": "2", "flink-gpu": str(device["count"])}, "as many slots as GPUs"
    for each in ("profiles", "configs"):
        del cpu[each], gpu[each]
    assert cpu == gpu


def test_kafka_runs_with_the_stacks_settings() -> None:
    native = kafka.properties(Path("/data"), Ports())
    ours = properties(text_of("kafka"))
    assert ours.keys() - native.keys() == {"inter.broker.listener.name"}
    assert {name for name in native if str(native[name]) != ours[name]} == {
        "controller.quorum.voters",
        "listeners",
        "advertised.listeners",
        "listener.security.protocol.map",
        "log.dirs",
    }


def test_connect_runs_with_the_stacks_settings() -> None:
    native = connect.properties(Path("/plugins"), Ports())
    ours = properties(text_of("connect"))
    assert {name.rpartition("providers")[0] for name in ours.keys() - native.keys()} == {"config."}
    assert {name for name in native if str(native[name]) != ours[name]} == {
        "bootstrap.servers",
        "listeners",
        "rest.advertised.host.name",
        "plugin.path",
    }


@pytest.mark.parametrize("name", ["kafka", "connect"])
def test_the_java_servers_have_the_stacks_memory_and_logging(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a container keeps no archive of classes
    monkeypatch.setattr(java, "_has_base", lambda: False)
    command = java.command(tmp_path, [], "Main")
    environment = SERVICES[name]["environment"]
    ours = " ".join(environment[f"KAFKA_{part}_OPTS"] for part in ("HEAP", "JVM_PERFORMANCE", "LOG4J"))
    logging = f"{tmp_path}/log4j2.properties"
    assert command[1 : command.index("-cp")] == ours.replace("/etc/freshet/log4j2.properties", logging).split()
    assert text_of(f"{name}-logging") == Path(logging).read_text(encoding="utf-8")


def test_opensearch_runs_with_the_stacks_settings(tmp_path: Path) -> None:
    opensearch.configure(tmp_path, 9200)
    native = yaml.safe_load((tmp_path / "config" / "opensearch.yml").read_text(encoding="utf-8"))
    ours = yaml.safe_load(text_of("opensearch"))
    assert native.keys() == ours.keys()
    differing = {name for name in native if native[name] != ours[name]}
    assert differing == {"network.host", "transport.port", "path.data", "path.logs"}


def test_postgres_runs_with_the_stacks_settings(tmp_path: Path) -> None:
    native = postgres.command(tmp_path, layout_of(tmp_path), 5432)
    addresses = [value for value in native if value.startswith(("listen_addresses=", "unix_socket"))]
    settings = {value for value in native if "=" in value} - set(addresses)
    assert settings == {value for value in SERVICES["postgres"]["command"] if "=" in value}
    assert len(addresses) == 2
    assert text_of("vector").rstrip(";\n") == postgres.EXTENSION
    assert SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split() == list(postgres.INITDB)


def test_flink_runs_with_the_options_of_a_local_run(tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path)
    native = local_options(pipeline, Path("/data"), [], None)
    ours = yaml.safe_load(text_of("flink"))
    differing = {name for name in native.keys() & ours.keys() if native[name] != ours[name]}
    addresses = {"rest.address", "rest.bind-address", "rest.port", "jobmanager.rpc.address"}
    addresses |= {"jobmanager.bind-host", "taskmanager.bind-host"}
    assert differing == addresses | {"taskmanager.numberOfTaskSlots"}
    # jobs are submitted to it, which needs no more than who is in its network
    assert "rest.server.max-content-length" not in ours and "ports" not in SERVICES["jobmanager"]
    assert set(CLUSTER) <= native.keys() & ours.keys()
    assert ours["env.java.opts.all"].startswith(JVM_FLAGS)
    scraped = yaml.safe_load(text_of("prometheus"))["scrape_configs"][0]["dns_sd_configs"][0]
    assert str(scraped["port"]) == ours["metrics.reporter.prom.port"]
    assert set(scraped["names"]) == {name for name in SERVICES if "manager" in name}


def test_the_pipeline_and_the_loader_fit_the_services(tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path)
    assert pipeline.kafka.topic == f"shop.{loader.TABLE}"
    assert list(pipeline.documents) == [loader.TABLE]
    written = (ROOT / "deploy/docker/pipeline.yaml").read_text(encoding="utf-8")
    hosts = set(re.findall(r"[/@ ]([a-z-]+):(\d+)(?!\d)", written))
    assert {name for name, _ in hosts} == {"kafka", "postgres", "opensearch"}
    assert set(SERVICES["job"]["secrets"]) == set(re.findall(r"\$\{file:/run/secrets/(\w+)\}", written))
    assert "${" not in re.sub(r"\$\{file:\S+?\}", "", written), "who runs a command in the container has no variables"


def test_a_password_with_a_line_end_is_refused_as_connect_would_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "postgres_password"
    file.write_text("hunter2\n", encoding="utf-8")
    monkeypatch.setenv("POSTGRES_PASSWORD_FILE", str(file))
    monkeypatch.setenv("DATABASE", "host=127.0.0.1 port=1")
    with pytest.raises(FreshetError, match="white space around the password") as refused:
        loader.main(alive=tmp_path / "alive")
    assert "hunter2" not in str(refused.value)


def test_the_loader_makes_changes(stack: local_stack.Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(stack.postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE composed")
    database = make_conninfo(stack.postgres.dsn, dbname="composed")
    monkeypatch.setenv("DATABASE", database)
    monkeypatch.setenv("CONNECT_URL", stack.connect.url)
    try:
        loader.main(articles=10, rate=100, changes=30, prefix="composed", alive=tmp_path / "alive")
        assert (tmp_path / "alive").exists()
        operations = Counter[str]()
        deadline = time.monotonic() + 30
        # beside rows come tombstones, and heartbeats as messages
        while sum(operations[each] for each in "rcud") < 40 and time.monotonic() < deadline:
            events = consume(stack.kafka.bootstrap_servers, f"composed.{loader.TABLE}")
            operations = Counter(bare(record.value)["op"] if record.value else "none" for record in events)
        assert sum(operations[each] for each in "rcud") == 40
        assert operations["u"] > operations["d"] > 0
    finally:
        connect.remove_postgres(stack.connect.url, "composed", database)
        with psycopg.connect(stack.postgres.dsn, autocommit=True) as connection:
            connection.execute("DROP DATABASE composed")
