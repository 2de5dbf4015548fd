"""How a model cuts a text into tokens, without the model: it runs where no torch is, inside the JVM too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, pairwise
from pathlib import Path

import tokenizers

from core.config.documents import Chunk
from core.config.embedding import Embedding, Prompt, mark_of
from core.documents.chunking import Starts, chunker
from core.documents.step import Chunker
from core.documents.structure import structured
from core.errors import ConfigError
from udfs.embedding.model_files import DEFAULT as DEFAULT
from udfs.embedding.model_files import HASH as HASH
from udfs.embedding.model_files import config_error, path_here, read_json
from udfs.embedding.model_files import model_path as model_path
from udfs.embedding.model_files import short_name as short_name
from udfs.embedding.prompts import document_prompt

# Nothing is tried twice, nor blanks at a text's end from each of them on: they run over every changed text.
_WORD = re.compile(r"(?<!\s)\s*+(?:\w{1,16}+|\S)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PIECE = 65_536
_USUAL_WIDTH = 5  # characters of a token in prose, with the white space before it
_LETTERS = re.compile(r"(?<!\s)\s*+(?:[A-Za-z]{1,4}|\S)")


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A model's tokenizer.

    name        changes whenever the same text might have other tokens
    starts      where a text's tokens start, in characters, without special tokens
    max_tokens  the most plain tokens that the model reads of one text (special tokens taken off); None: no limit
    characters  the most characters of a text that the model takes besides; None: no limit
    """

    name: str
    starts: Starts
    max_tokens: int | None
    characters: int | None = None

    def budget(self, tokens: int) -> int:
        """The tokens a chunk may have when `tokens` are asked for: never more than the model reads."""
        return tokens if self.max_tokens is None else min(tokens, self.max_tokens)


@lru_cache(maxsize=8)
def model_chunker(model: str, tokens: int, overlap: int, headings: bool = False) -> Chunker:
    """The chunker for texts that `model` embeds; with `headings`, one that keeps them with their text.

    Raises ConfigError where the model isn't found, or the overlap doesn't fit the tokens.
    """
    return _chunker(tokenizer(model), tokens, overlap, headings)


def _chunker(words: Tokenizer, tokens: int, overlap: int, headings: bool) -> Chunker:
    cut = structured if headings else chunker
    budget = words.budget(tokens)
    if words.characters is None:
        return cut(words.name, words.starts, budget, overlap)
    budget = min(budget, max(1, words.characters // _USUAL_WIDTH))
    return cut(words.name, _narrow(words.starts, words.characters // budget), budget, overlap)


def _narrow(starts: Starts, width: int) -> Starts:
    """Tokens of at most `width` characters: what is wider counts as several. So many tokens bound the characters."""

    def narrowed(text: str) -> list[int]:
        found = [0, *(start for start in starts(text) if start > 0)]
        return [place for one, other in pairwise([*found, len(text)]) for place in range(one, other, width)]

    return narrowed


def document_chunker(model: Embedding | str, chunk: Chunk) -> Chunker:
    """The chunker of a pipeline's documents. Raises ConfigError as `tokenizer_of` does."""
    embedding = Embedding(model=model) if isinstance(model, str) else model
    return _chunker(tokenizer_of(embedding), chunk.tokens, chunk.overlap, chunk.headings)


def tokenizer_of(embedding: Embedding) -> Tokenizer:
    """What counts the tokens of a pipeline's chunks.

    Of a model of this machine, its own tokenizer. Of one behind an endpoint the one that the file names; else the
    model's, where its files are on this machine; else `letters4`, an approximation: up to four ASCII letters are a
    token, and so is every other character. Prose has fewer tokens than that, so chunks come out shorter, not longer.
    The tokens of a prompt that stands before each document are taken off what the model reads. Where vectors are
    rounded it has another name, as they are others.

    Raises ConfigError where the model, or the tokenizer that is named, isn't found, or the prompt leaves no room.
    """
    words = _bare(embedding)
    longest = None if embedding.provider is None else embedding.provider.longest_text(embedding.model)
    if longest is not None:
        words = replace(words, name=f"{words.name}+{longest}", characters=longest)
    words = _behind(document_prompt(embedding), words)
    return replace(words, name=words.name + mark_of(embedding.rounded))


def whole_count(tokenizer_file: Path) -> Callable[[str], int]:
    """How many tokens a model reads of a text, special ones among them, by its folder or name, or a tokenizer.json.

    Raises ConfigError as `tokenizer_of` does.
    """
    given = tokenizer_file.expanduser()
    file = given if given.is_file() else model_path(str(tokenizer_file)) / "tokenizer.json"
    if not file.is_file():
        raise ConfigError(
            [f"embedding.tokenizer: {tokenizer_file} has no tokenizer.json: name another folder, or the file"]
        )
    inner = tokenizers.Tokenizer.from_file(str(file))
    inner.no_padding()
    return lambda text: len(inner.encode(_SURROGATE.sub("\ufffd", text)).ids)


def _behind(prompt: Prompt | None, words: Tokenizer) -> Tokenizer:
    """What counts the tokens of texts behind a prompt. It has another name, as their vectors are others."""
    if prompt is None:
        return words
    left = None if words.max_tokens is None else words.max_tokens - len(words.starts(prompt.text))
    if left is not None and left < 1:
        has = f"the prompt before each document has {len(words.starts(prompt.text))} tokens"
        raise ConfigError([f"embedding.prompts: {has}, and the model reads {words.max_tokens}: shorten it"])
    room = None if words.characters is None else words.characters - len(prompt.text)
    if room is not None and room < 1:
        raise ConfigError(
            [
                f"embedding.prompts: the prompt before each document has {len(prompt.text)} characters, and the model "
                f"takes texts of {words.characters}: shorten it"
            ]
        )
    return replace(words, name=words.name + prompt.mark, max_tokens=left, characters=room)


def _bare(embedding: Embedding) -> Tokenizer:
    return tokenizer_of_remote(embedding.model, embedding.tokenizer) if embedding.remote else tokenizer(embedding.model)


def tokenizer_of_remote(model: str, given: Path | None) -> Tokenizer:
    """What counts the tokens of a model behind an endpoint: what is `given`, else the model's own, else `letters4`.

    See `tokenizer_of`, also of what it raises.
    """
    if given is not None:
        file = given.expanduser()
        return _from_file(file.parent.name, file, None) if file.is_file() else tokenizer(str(given))
    if model == HASH:
        return tokenizer(HASH)
    folder = path_here(model)
    if folder is not None and (folder / "tokenizer.json").is_file():
        return tokenizer(model)
    return LETTERS


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
        raise config_error(model, f"{folder} has no tokenizer.json", "save the model with a fast tokenizer")
    return _from_file(short_name(model), file, longest_input(folder))


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


def longest_input(folder: Path) -> int | None:
    """The model's longest input in tokens, as sentence-transformers finds it."""
    longest = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    if longest is None:
        limits = (
            read_json(folder / "config.json").get("max_position_embeddings"),
            read_json(folder / "tokenizer_config.json").get("model_max_length"),
        )
        longest = min((limit for limit in limits if limit is not None), default=None)
    return None if longest is None else int(longest)


def _words(text: str) -> list[int]:
    """Each word or sign with the white space before it, as byte-level tokenizers have it."""
    # one token lies right behind the other, whence findall, which makes no match objects
    starts = list(accumulate(map(len, _WORD.findall(text)), initial=0))
    starts.pop()
    return starts


def _letters(text: str) -> list[int]:
    """Up to four ASCII letters, or one other character, each with the white space before it."""
    return [found.start() for found in _LETTERS.finditer(text)]


LETTERS = Tokenizer("letters4", _letters, None)
"""What counts tokens where nobody knows the model's: see `tokenizer_of`."""


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
