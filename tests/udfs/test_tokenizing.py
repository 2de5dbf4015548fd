"""The tokenizers against the real model's files, in a process without torch."""

import pydoc_data.topics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from time import thread_time

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from core.config.documents import Chunk
from core.config.embedding import Embedding
from core.documents.chunking import Starts, chunker
from core.errors import ConfigError
from udfs.embedding import model_files, tokenizing
from udfs.embedding.tokenizing import DEFAULT, document_chunker, model_chunker, model_path, tokenizer, tokenizer_of

WORDS, LETTERS = tokenizing._words, tokenizing._letters
TOPICS = list(pydoc_data.topics.topics.values())


def test_no_model_library_is_imported() -> None:
    heavy = "{'torch', 'transformers', 'sentence_transformers', 'pyflink'}"
    program = (
        "import sys; from udfs.embedding.tokenizing import model_chunker;"
        f"model_chunker({DEFAULT!r}, 256, 32).ranges('a text'); sys.exit(', '.join({heavy} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stderr == "\n"


def test_the_budget_leaves_room_for_special_tokens() -> None:
    model = tokenizer(DEFAULT)
    assert model.max_tokens == 254
    assert (model.budget(256), model.budget(128), tokenizer("hash").budget(256)) == (254, 128, 256)


def test_chunks_whose_vectors_are_rounded_have_other_ids() -> None:
    assert tokenizer_of(Embedding(precision="bfloat16")).name == tokenizer(DEFAULT).name + "~bfloat16"
    assert tokenizer_of(Embedding(engine="openvino", precision="float32")).name == tokenizer(DEFAULT).name


def test_a_name_with_its_organisation_is_the_same_model() -> None:
    assert model_path(f"sentence-transformers/{DEFAULT}") == model_path(DEFAULT)
    assert tokenizer(f"sentence-transformers/{DEFAULT}").name == tokenizer(DEFAULT).name


def test_a_model_that_is_not_there_is_answered_with_what_was_meant_once() -> None:
    assert model_files._instead("all-MiniLM-L6").startswith(f"did you mean {DEFAULT}? Else use hash, or the folder")


def test_tokens_start_where_the_models_do() -> None:
    real = tokenizers.Tokenizer.from_file(str(model_path(DEFAULT) / "tokenizer.json"))
    real.no_truncation()
    real.no_padding()
    text = "\n\n".join(TOPICS)
    offsets = real.encode(text, add_special_tokens=False).offsets
    assert list(tokenizer(DEFAULT).starts(text)) == [start for start, _ in offsets]


def test_a_lone_surrogate_is_one_character() -> None:
    assert tokenizer(DEFAULT).starts("a \ud800 b") == [0, 4]


def test_chunks_of_prose_fit_the_model_alone_too() -> None:
    model = tokenizer(DEFAULT)
    ranges = model_chunker(DEFAULT, 256, 32).ranges
    chunks = [text[begin:end] for text in TOPICS for begin, end in ranges(text)]
    assert max(len(model.starts(chunk)) for chunk in chunks) <= 254


@pytest.mark.parametrize("value", ["/no/such/folder", "./nothing", "a/b/c"])
def test_a_model_that_is_not_there_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match=rf"embedding\.model: '{value}'.*no such folder.*give the folder"):
        tokenizer(value)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no tokenizer\.json"):
        tokenizer(str(tmp_path))


def remote(model: str, **settings: str) -> Embedding:
    return Embedding.model_validate({"model": model, "openai": {"url": "https://embed.example/v1"}, **settings})


def test_a_remote_models_own_tokenizer_counts_where_it_is_here() -> None:
    assert tokenizer_of(remote(DEFAULT)) == tokenizer(DEFAULT)
    assert tokenizer_of(remote("hash")).name == "words2"
    chunk = Chunk(tokens=64, overlap=8)
    text = "\n\n".join(TOPICS)[:50_000]
    assert document_chunker(remote(DEFAULT), chunk).ranges(text) == document_chunker(DEFAULT, chunk).ranges(text)


def test_the_tokenizer_that_the_file_names_counts(tmp_path: Path) -> None:
    folder, file = str(model_path(DEFAULT)), str(model_path(DEFAULT) / "tokenizer.json")
    text = "logical replication slots"
    for named in (DEFAULT, folder, file):
        counted = tokenizer_of(remote("text-embedding-3-small", tokenizer=named))
        assert list(counted.starts(text)) == list(tokenizer(DEFAULT).starts(text))
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    for wrong, reason in ((str(tmp_path / "tokenizer.json"), "is no tokenizer.json"), ("/no/such", "no such folder")):
        with pytest.raises(ConfigError, match=reason):
            tokenizer_of(remote("text-embedding-3-small", tokenizer=wrong))


def test_without_a_tokenizer_tokens_are_counted_so_that_prose_has_fewer(tmp_path: Path) -> None:
    rough = tokenizer_of(remote("text-embedding-3-small"))
    assert rough.name == "letters4"
    assert rough.starts(" gone 2 Ä") == [0, 5, 7]
    chunks = document_chunker(remote("text-embedding-3-small"), Chunk()).ranges("\n\n".join(TOPICS))
    text = "\n\n".join(TOPICS)
    lengths = [len(tokenizer(DEFAULT).starts(text[start:end])) for start, end in chunks]
    assert max(lengths) <= 256
    ends = [*rough.starts(text), len(text.rstrip())]
    assert ends[0] == 0 and all(1 <= len(text[start:end].strip()) <= 4 for start, end in pairwise(ends))


def test_the_hash_models_tokens_are_words_and_signs_with_the_space_before_them() -> None:
    assert tokenizer("hash").starts(" so,  it 漢字 goes\n") == [0, 3, 4, 8, 11]
    assert tokenizer("hash").starts("a" * 40) == [0, 16, 32]
    assert tokenizer("hash").starts(" \n") == tokenizer("hash").starts("") == []


@given(st.text(), st.text(st.sampled_from(" \t\n\x0b\u00a0\u2028"), max_size=20))
@pytest.mark.parametrize("starts", [WORDS, LETTERS])
def test_blanks_at_a_texts_end_are_no_tokens(starts: Starts, text: str, blanks: str) -> None:
    assert starts(text + blanks) == starts(text)
    assert list(starts(text))[:1] == [0] * bool(text.strip())


@pytest.mark.parametrize("starts", [WORDS, LETTERS])
def test_a_text_of_blanks_behind_a_title_is_cut_at_once(starts: Starts) -> None:
    text = "A title" + " " * 100_000
    begun = thread_time()
    ranges = chunker("words", starts, 256, 32).ranges(text)
    assert thread_time() - begun < 2
    assert ranges[-1][1] == len(text)


COHERE_3 = Embedding.model_validate({"model": "eu.cohere.embed-multilingual-v3", "bedrock": {}})


@given(
    st.lists(st.sampled_from(["a", "Wort", " ", "\n\n", ". ", "x" * 40, " " * 70, "ü", "字" * 600])).map("".join),
    st.sampled_from([64, 256, 512, 2_000]),
    st.booleans(),
)
def test_no_chunk_has_more_characters_than_the_model_takes(text: str, tokens: int, headings: bool) -> None:
    cut = document_chunker(COHERE_3, Chunk(tokens=tokens, overlap=8, headings=headings))
    ranges = cut.ranges(text)
    assert all(end - begin <= 2_048 for begin, end in ranges)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(text)


def test_prose_is_cut_as_far_as_the_characters_reach() -> None:
    prose = "Late answers are refused, and the reader hears of it. " * 400
    longest = [max(end - begin for begin, end in chunks.ranges(prose)) for chunks in _chunkers(2_000)]
    assert longest[0] > 2_048 >= longest[1] > 1_000


def _chunkers(tokens: int) -> list[tokenizing.Chunker]:
    fourth = Embedding.model_validate({"model": "cohere.embed-v4:0", "bedrock": {}})
    return [document_chunker(each, Chunk(tokens=tokens, overlap=0)) for each in (fourth, COHERE_3)]


def test_a_prompt_takes_its_characters_off_the_limit() -> None:
    prompts = {"prompts": {"document": "p" * 48}}
    given = COHERE_3.model_dump(exclude_unset=True)
    assert tokenizer_of(Embedding.model_validate({**given, **prompts})).characters == 2_000
    with pytest.raises(ConfigError, match="texts of 2048: shorten it"):
        tokenizer_of(Embedding.model_validate({**given, "prompts": {"document": "p" * 2_048}}))
