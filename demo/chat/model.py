"""The model that answers: a small one that is installed beside Freshet, or one behind an address of the user's."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from core.errors import ConfigError, FreshetError, Unavailable
from demo.chat import model_server
from demo.chat.processes import running
from deploy.msf.wheels import uv

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
SIZE = "102 MB of packages come now, and take 115 MB of the disk"
"""Of the packages: as the registry has them, and as `du` does."""

_LOADS_WITHIN_S = 900.0
_ASKED_S = 600.0
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A model behind OpenAI's protocol; `url` ends before `/chat/completions`."""

    url: str
    name: str

    def says(self, text: str, tokens: int) -> str:
        """What it says to a text alone. Raises Unavailable where it doesn't answer."""
        message = {"role": "user", "content": text}
        body = {"model": self.name, "messages": [message], "max_tokens": tokens, "temperature": 0}
        answer = _asked("POST", f"{self.url}/chat/completions", json=body)
        said: str = answer["choices"][0]["message"]["content"]
        return said


@contextmanager
def small_model(folder: Path, say: Callable[[str], None]) -> Iterator[Callable[[], ChatModel]]:
    """The small model, until the block ends: it loads meanwhile, and is waited for where it is asked for.

    What isn't there yet is installed into `folder`, and its size is said before. Raises Unavailable where it can't be.
    """
    packages = _installed(folder / "chat-model", say)
    path = os.pathsep.join(filter(None, (str(packages), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    script = str(Path(model_server.__file__))
    with running("model", ["-P", script, "0"], folder, {"PYTHONPATH": path}) as process:
        yield lambda: ChatModel(f"{process.url(_LOADS_WITHIN_S)}/v1", model_server.NAME)


def model_at(url: str) -> ChatModel:
    """The first model that a server of the user's names. Raises ConfigError where it names none."""
    url = url.rstrip("/")
    named = [str(each["id"]) for each in _asked("GET", f"{url}/models").get("data", [])]
    if not named:
        raise ConfigError([f"--answering-model is {url!r}: {url}/models names no model"])
    return ChatModel(url, named[0])


def _asked(method: str, url: str, **given: Any) -> dict[str, Any]:
    try:
        answer = httpx.request(method, url, timeout=_ASKED_S, **given)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise Unavailable(f"the answering model at {url} doesn't answer: {error}") from error
    return found


def _installed(place: Path, say: Callable[[str], None]) -> Path:
    wanted = sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp = place / "freshet.stamp"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return place
    say(f"A small chat model, {model_server.NAME}: {SIZE}, in {place}; it takes half a GB of memory while it runs")
    options = ["--quiet", "--no-deps", "--require-hashes", "--target", str(place), "-r", str(REQUIREMENTS)]
    ran = None
    for command in _installers():
        # what another one left, or this one an earlier time
        shutil.rmtree(place, ignore_errors=True)
        ran = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if ran.returncode == 0:
            stamp.write_text(wanted, encoding="utf-8")
            return place
    if ran is None:
        raise FreshetError("neither pip nor uv is here to install the chat model: name one by --answering-model")
    said = "\n".join((ran.stdout + ran.stderr).strip().splitlines()[-_SHOWN:])
    raise Unavailable(f"the chat model couldn't be installed: {said}\nName another one by --answering-model")


def _installers() -> list[list[str]]:
    """uv takes a tenth of pip's time, and doesn't read pip's settings: where those are needed, pip is next."""
    found = []
    if (program := uv()) is not None:
        found.append([program, "pip", "install", "--python", sys.executable])
    if importlib.util.find_spec("pip") is not None:
        found.append([sys.executable, "-m", "pip", "install"])
    return found
