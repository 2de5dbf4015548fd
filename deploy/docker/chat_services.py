"""The chat's part of `docker-compose.yaml`: what answers questions over HTTP, and the language model behind it."""

from __future__ import annotations

from typing import Any

from deploy.docker.flink_services import GPU
from deploy.docker.services import Service, asked, config_file, local, shell

VLLM_IMAGE = "vllm/vllm-openai:v0.11.0"
MODEL = "SmolLM2-135M-Instruct"
PORT = 8090

_MODEL_PORT = 8000
_FOLDER = "/etc/freshet"
# the file of keys has hashes alone, so it is made of the key where that is
_KEYS = "\n".join(("keys:", "  page:", "    sha256: %s", "    indexes: [articles]", ""))
_SERVE = (
    f"printf '{_KEYS}' \"$(sha256sum /run/secrets/serve_key | cut -c1-64)\" > /tmp/keys.yaml"
    f" && exec freshet serve {_FOLDER}/serve.yaml --host 0.0.0.0 --port {PORT}"
)
_CPU, _GPU = "chat", "chat-gpu"


def chat_services() -> dict[str, Service]:
    """The server, and the model: a small one on processors, or the same behind vLLM on a GPU."""
    return {"serve": _serve(), "model": _small_model(), "model-gpu": _vllm()}


def _serve() -> Service:
    return Service(
        target="flink",
        command=shell(_SERVE),
        secrets=["postgres_password", "serve_key"],
        configs=[
            config_file("serve", f"{_FOLDER}/serve.yaml", "./deploy/docker/serve.yaml"),
            config_file("pipeline", f"{_FOLDER}/pipeline.yaml", "./deploy/docker/pipeline.yaml"),
        ],
        ports=[local(PORT)],
        # the job makes the tables that are searched; the model is asked with the first question alone
        depends_on=["postgres", "job"],
        healthcheck=["CMD", "python", "-c", asked(f"http://127.0.0.1:{PORT}/ready")],
        profiles=[_CPU, _GPU],
    )


def _small_model() -> Service:
    return Service(
        target="chat",
        command=["python", "-P", "-m", "demo.chat.model_server", f"{_MODEL_PORT}", "0.0.0.0"],
        healthcheck=["CMD", "python", "-c", asked(f"http://127.0.0.1:{_MODEL_PORT}/v1/models")],
        profiles=[_CPU],
    )


def _vllm() -> Service:
    served = ["--model", f"HuggingFaceTB/{MODEL}", "--served-model-name", MODEL, "--port", f"{_MODEL_PORT}"]
    # the TaskManager's workers are on the same GPU
    shared = ["--gpu-memory-utilization", "0.3"]
    extra: dict[str, Any] = {**GPU, "networks": {"default": {"aliases": ["model"]}}}
    return Service(
        image=VLLM_IMAGE,
        command=[*served, *shared],
        environment={"HF_HOME": "/models"},
        volumes=["models:/models"],
        healthcheck=["CMD", "python3", "-c", asked(f"http://127.0.0.1:{_MODEL_PORT}/health")],
        profiles=[_GPU],
        extra=extra,
    )
