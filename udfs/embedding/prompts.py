"""What stands before a question and before a document where a model distinguishes the two. Loads no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from core.config.embedding import Embedding, Prompt
from core.config.references import nearest
from core.errors import ConfigError
from udfs.embedding.model_files import HASH, model_path, path_here, read_json

Side = Literal["query", "document"]
"""What a text is: looked for with, or looked for."""

_SAVED_AS: Mapping[Side, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""Under which names models have them: those of sentence-transformers' `encode_query` and `encode_document`."""

_NONE = Prompt()


def prompt_of(embedding: Embedding, side: Side) -> Prompt:
    """What stands before a text of one side: as the pipeline file says it, else as the model's own files do.

    What those of a model behind an endpoint say isn't looked up: they needn't be on each of a job's machines.
    Raises ConfigError where a local model isn't found, or has no prompt of the name that the file gives.
    """
    text, name = getattr(embedding.prompts, side), getattr(embedding.prompt_names, side)
    if text is not None:
        return Prompt(text)
    if embedding.remote:
        return _NONE if name is None else Prompt(name=name)
    saved = _saved(embedding.model)
    if name is None:
        return Prompt(next(filter(None, (saved.get(each) for each in _SAVED_AS[side])), ""))
    if name not in saved:
        there = f"; did you mean {near}?" if (near := nearest(name, saved)) else ""
        has = f"{embedding.model} has {', '.join(sorted(saved)) or 'no prompts'}"
        raise ConfigError([f"embedding.prompt_names.{side} is {name!r}: {has}{there}"])
    return Prompt(saved[name])


def default_prompt(model: str) -> str:
    """What a local model puts before a text of unknown side; "" for nothing. Raises as `prompt_of`."""
    return _saved(model).get(str(_settings(model).get("default_prompt_name")), "")


def document_prompt(embedding: Embedding) -> Prompt | None:
    """The prompt before each document, as part of what made an index; None where no release put one there.

    Earlier ones put a model's default there, so an empty prompt of such a model is a change. Raises as `prompt_of`.
    """
    prompt = prompt_of(embedding, "document")
    bare = prompt == _NONE and (embedding.remote or not default_prompt(embedding.model))
    return None if bare else prompt


def prompts_described(embedding: Embedding) -> str:
    """The prompts in words, for people to read; "" where there are none. Raises as `prompt_of`."""
    given = {side: prompt for side in _SAVED_AS if (prompt := prompt_of(embedding, side)) != _NONE}
    if given:
        return "; ".join(f"before each {side} stands {prompt}" for side, prompt in given.items())
    has = [side for side in _SAVED_AS if _unsaid(embedding, side)] if embedding.remote else []
    if not has:
        return ""
    what = " and ".join(f"a {side}" for side in has)
    return f"the model has a prompt for {what}, which nobody sets: see embedding.prompts and embedding.prompt_names"


def _unsaid(embedding: Embedding, side: Side) -> bool:
    folder = path_here(embedding.model)
    return folder is not None and prompt_of(Embedding(model=str(folder)), side) != _NONE


def _saved(model: str) -> Mapping[str, str]:
    saved = _settings(model).get("prompts") or {}
    return {name: prompt for name, prompt in saved.items() if isinstance(prompt, str)}


def _settings(model: str) -> Mapping[str, Any]:
    if model == HASH:
        return {}
    return read_json(model_path(model) / "config_sentence_transformers.json")
