"""The tokenizers against the real model's files, in a process without torch."""

import pydoc_data.topics
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers

from core.errors import ConfigError
from udfs.tokenizing import DEFAULT, model_chunker, model_path, tokenizer

TOPICS = list(pydoc_data.topics.topics.values())


def test_no_model_library_is_imported() -> None:
    heavy = "{'torch', 'transformers', 'sentence_transformers', 'pyflink'}"
    program = (
        "import sys; from udfs.tokenizing import model_chunker;"
        f"model_chunker({DEFAULT!r}, 256, 32).ranges('a text'); sys.exit(', '.join({heavy} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stderr == "\n"


def test_the_budget_leaves_room_for_special_tokens() -> None:
    model = tokenizer(DEFAULT)
    assert model.max_tokens == 254
    assert (model.budget(256), model.budget(128), tokenizer("hash").budget(256)) == (254, 128, 256)


def test_a_name_with_its_organisation_is_the_same_model() -> None:
    assert model_path(f"sentence-transformers/{DEFAULT}") == model_path(DEFAULT)
    assert tokenizer(f"sentence-transformers/{DEFAULT}").name == tokenizer(DEFAULT).name


def test_spans_are_the_tokens_of_the_model() -> None:
    real = tokenizers.Tokenizer.from_file(str(model_path(DEFAULT) / "tokenizer.json"))
    real.no_truncation()
    real.no_padding()
    text = "\n\n".join(TOPICS)
    assert list(tokenizer(DEFAULT).spans(text)) == real.encode(text, add_special_tokens=False).offsets


def test_a_lone_surrogate_is_one_character() -> None:
    assert tokenizer(DEFAULT).spans("a \ud800 b") == [(0, 1), (4, 5)]


def test_chunks_of_prose_fit_the_model_alone_too() -> None:
    model = tokenizer(DEFAULT)
    ranges = model_chunker(DEFAULT, 256, 32).ranges
    chunks = [text[begin:end] for text in TOPICS for begin, end in ranges(text)]
    assert max(len(model.spans(chunk)) for chunk in chunks) <= 254


@pytest.mark.parametrize("value", ["/no/such/folder", "./nothing", "a/b/c"])
def test_a_model_that_is_not_there_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match=rf"embedding\.model: '{value}'.*no such folder.*give the folder"):
        tokenizer(value)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no tokenizer\.json"):
        tokenizer(str(tmp_path))
