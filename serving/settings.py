"""The file that says what is served, and the pipelines that it names; checked as pipeline files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from core.answers.template import OURS, Template, template
from core.config.answer import Answer
from core.config.conversations import Conversations
from core.config.file import Manual, checked
from core.config.pipeline import Pipeline
from core.config.source import Model, Name
from core.config.store import Store
from core.errors import ConfigError
from operations.pipeline_file import load
from serving.keys import read_keys
from serving.tokens import Tokens

_MANUAL = Manual("docs/serve.md has one", "docs/serve.md", "name, indexes, profiles and keys")

Connections = Field(8, ge=1, le=100)
"""How many may ask a store at once."""


class IndexSettings(Model):
    """A pipeline whose documents are searched, in one of its stores; None: its first."""

    pipeline: str = Field(min_length=1)
    store: str | None = None
    connections: int = Connections


class ProfilesSettings(Model):
    """A pipeline whose profiles are asked for."""

    pipeline: str = Field(min_length=1)
    connections: int = Connections


class FeedbackSettings(Model):
    """A pipeline whose KPIs are looked at."""

    pipeline: str = Field(min_length=1)
    connections: int = Field(2, ge=1, le=100)


class Settings(Model):
    """What a server serves. Paths begin at the file's own folder.

    keys    a file of them
    tokens  those of another party that let in; without keys and without these everyone is let in
    listeners  to changes, the most at once
    answer  how questions are answered from what is found
    conversations  where they are written
    """

    name: Name
    indexes: dict[Name, IndexSettings] = Field(default_factory=dict)
    profiles: ProfilesSettings | None = None
    feedback: FeedbackSettings | None = None
    keys: str | None = Field(None, min_length=1)
    tokens: Tokens | None = None
    listeners: int = Field(64, ge=0, le=200)
    answer: Answer = Answer()
    conversations: Conversations | None = None

    @model_validator(mode="after")
    def _serves_something(self) -> Settings:
        if not self.indexes and self.profiles is None and self.feedback is None:
            raise ValueError("none of indexes, profiles and feedback is set; there is nothing to serve")
        return self


@dataclass(frozen=True, slots=True)
class Served:
    """A file of settings with all that it names, read.

    pipelines  of the indexes, by the indexes' names
    people     the pipeline of profiles
    feedback   the pipeline of KPIs
    keys       the file of them, which is one; None: there are none
    template   of prompts
    """

    path: Path
    settings: Settings
    pipelines: dict[str, Pipeline]
    people: Pipeline | None
    feedback: Pipeline | None
    keys: Path | None
    template: Template

    @property
    def is_open(self) -> bool:
        """Whether everyone is let in."""
        return self.keys is None and self.settings.tokens is None


def read(path: Path) -> Served:
    """Read what is served. Raises ConfigError with one line a mistake, in whichever file; Unavailable as `load`."""
    settings = checked(path, Settings, _MANUAL)
    settings = settings.model_copy(update={"answer": _beside(path.parent, settings.answer)})
    problems: list[str] = []
    pipelines: dict[str, Pipeline] = {}
    for name, index in settings.indexes.items():
        place = f"indexes.{name}"
        if (pipeline := _pipeline(path, f"{place}.pipeline", index.pipeline, problems)) is not None:
            pipelines[name] = pipeline
            problems += _misfit(path, place, index, pipeline)
    people = None
    if (profiles := settings.profiles) is not None:
        people = _pipeline(path, "profiles.pipeline", profiles.pipeline, problems)
        if people is not None and people.profiles is None:
            makes = "it makes documents: name one that makes profiles"
            problems.append(f"{path}: profiles.pipeline is {profiles.pipeline!r}: {makes}")
    feedback = None
    if (kpis := settings.feedback) is not None:
        feedback = _pipeline(path, "feedback.pipeline", kpis.pipeline, problems)
        if feedback is not None and not feedback.makes_feedback:
            makes = f"it makes {feedback.kind}: name one that makes feedback"
            problems.append(f"{path}: feedback.pipeline is {kpis.pipeline!r}: {makes}")
    keys = None
    if settings.keys is not None:
        file = path.parent / settings.keys
        if not file.is_file():
            adding = f"`freshet serve-key add {settings.keys}` makes it"
            problems.append(f"{path}: keys is {settings.keys!r}: there is no such file; {adding}")
        else:
            read_keys(file)
            keys = file
    prompt = _template(path, settings.answer, problems)
    if problems:
        raise ConfigError(problems)
    return Served(path, settings, pipelines, people, feedback, keys, prompt)


def _beside(folder: Path, answer: Answer) -> Answer:
    """The settings with the paths of models' files from the server's file on; what may be a model's name stays one.

    Of a tokenizer's folder its file is named: clients read what counts, and of that the folder's own name alone.
    """
    found = answer
    if answer.tokenizer is not None and (place := folder / answer.tokenizer.expanduser()).exists():
        file = place / "tokenizer.json"
        found = found.model_copy(update={"tokenizer": file if file.is_file() else place})
    if (rerank := answer.rerank) is not None and rerank.folder is not None:
        named = rerank.folder.model_copy(update={"path": folder / rerank.folder.path.expanduser()})
        found = found.model_copy(update={"rerank": rerank.model_copy(update={"folder": named})})
    return found


def _template(path: Path, answer: Answer, problems: list[str]) -> Template:
    text = OURS
    try:
        if answer.prompt is not None:
            text = (path.parent / answer.prompt).read_text(encoding="utf-8")
        return template(text)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        problems.append(f"{path}: answer.prompt is {str(answer.prompt)!r}: {why}")
        return template(OURS)


def _pipeline(path: Path, place: str, named: str, problems: list[str]) -> Pipeline | None:
    file = path.parent / named
    if not file.is_file():
        problems.append(f"{path}: {place} is {named!r}: there is no such file")
        return None
    try:
        return load(file)
    except ConfigError as error:
        problems += error.problems
        return None


def _misfit(path: Path, place: str, index: IndexSettings, pipeline: Pipeline) -> list[str]:
    there = pipeline.vector_stores
    if not there:
        lacks = f"it names no store of vectors: {Store.some('vectors')}"
        return [f"{path}: {place}.pipeline is {index.pipeline!r}: {lacks}"]
    if index.store is not None and index.store not in there:
        return [f"{path}: {place}.store is {index.store!r}: it must be a store of that pipeline: {', '.join(there)}"]
    return []
