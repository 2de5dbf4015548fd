"""`freshet profile`: who is behind an identifier, what made them so, and who is like them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from cli.pipeline_file import load
from cli.plain import shown
from connectors.opening import open_profiles
from core.config import Pipeline
from core.config_profiles import Profiles
from core.errors import ConfigError, FreshetError
from core.identifiers import Identifier
from core.identity_audit import Audit, Kind
from core.profiles import Profile, Rule
from core.profiles_delivery import TABLE
from core.profiles_step import Placed
from core.stores import ProfileStore

app = typer.Typer(name="profile", no_args_is_help=True, help="Ask who is who, of a pipeline of profiles.")

PipelineFile = Annotated[Path, typer.Argument(metavar="PIPELINE.YAML", help="The pipeline file.")]
Who = Annotated[
    str, typer.Argument(metavar="WHO", help="A profile's id, one that it had before, or an identifier: [TYPE=]VALUE.")
]
_SHORT = 12
"""Characters of an id that a table shows; `get` takes whole ones."""

_SAID = {
    Kind.MERGED: "merged with",
    Kind.SPLIT: "split off",
    Kind.RENAMED: "was called",
    Kind.CUT: "a link was cut, to",
    Kind.RESTORED: "a link was restored, to",
}


@app.command()
def get(
    pipeline: PipelineFile,
    who: Who,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with all it holds.")] = False,
) -> None:
    """A profile: its identifiers, what its records say together, and how many there are."""
    with _asked(load(pipeline), who) as (_, _, profile):
        if as_json:
            typer.echo(json.dumps(_as_json(profile), ensure_ascii=False))
        else:
            Console().print(_table(profile))


@app.command()
def explain(
    pipeline: PipelineFile,
    who: Who,
    records: Annotated[int, typer.Option(min=1, max=100_000, help="Show at most so many records.")] = 50,
    events: Annotated[int, typer.Option(min=0, max=100_000, help="Show at most so many events, the newest.")] = 20,
) -> None:
    """Why a profile is one: its records with what links them, the rules behind its values, and its history."""
    with _asked(load(pipeline), who) as (rules, store, profile):
        Console().print(explained(rules, store, profile, records, events), soft_wrap=True)


@app.command()
def neighbours(
    pipeline: PipelineFile,
    who: Who,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many profiles to answer with.")] = 5,
) -> None:
    """The profiles whose texts are nearest to this one's, by their vectors."""
    from cli.run import stores

    file = load(pipeline)
    with _asked(file, who) as (_, _, profile):
        there = stores(file)
        if not there:
            raise ConfigError(["store names no store of vectors: add pgvector or opensearch"])
        with closing(next(iter(there.values()))) as store:
            name = f"{TABLE}/{profile.profile_id}"
            stored = store.read([name]).get(name)
            if stored is None:
                raise FreshetError(f"profile {profile.profile_id} has no vector (yet, or its text is empty)")
            mean = stored.vectors.mean(axis=0)
            hits = store.search((mean / np.linalg.norm(mean)).astype(np.float32), k + len(stored.chunks), {})
    table = Table("score", "profile", "text", box=None, header_style="bold")
    for hit in [hit for hit in hits if hit.document_id != name][:k]:
        table.add_row(f"{hit.score:.3f}", shown(hit.document_id.partition("/")[2]), shown(" ".join(hit.text.split())))
    Console().print(table if table.row_count else "there is no other profile")


@contextmanager
def _asked(pipeline: Pipeline, who: str) -> Iterator[tuple[Profiles, ProfileStore, Profile]]:
    """The pipeline's rules, its store, and the profile that is asked for. Raises FreshetError where there is none."""
    if pipeline.profiles is None:
        raise ConfigError(["profiles is missing: this pipeline file makes documents"])
    with closing(open_profiles(pipeline)) as store:
        found = known(pipeline.profiles, store, who)
        if found is None:
            raise FreshetError(f"nobody is known by {who!r}: neither an id of a profile nor a linking identifier")
        yield pipeline.profiles, store, found


def known(rules: Profiles, store: ProfileStore, who: str) -> Profile | None:
    """The profile of this id, alias or identifier, `[TYPE=]VALUE`."""
    found = store.get(who)
    for each in _candidates(rules, who) if found is None else ():
        found = found or store.find(each)
    return found


def explained(rules: Profiles, store: ProfileStore, profile: Profile, records: int = 50, events: int = 20) -> Tree:
    """Why a profile is one, with at most so many of its records and of the events in its history."""
    members = store.members(profile.profile_id, records)
    history = store.history(profile.profile_id, events) if events else []
    elsewhere = {each: store.find(each) for each in sorted(_unlinked(profile, members))}
    return _tree(rules, profile, members, elsewhere, history)


def _candidates(rules: Profiles, who: str) -> list[Identifier]:
    """The identifiers that a text may be, strongest first; of a named type that one alone."""
    normalizers = rules.reading.normalizers
    named, equals, value = who.partition("=")
    asked = {named: value} if equals and named in normalizers else dict.fromkeys(normalizers, who)
    normal = ((kind, normalizers[kind](text)) for kind, text in asked.items())
    return [Identifier(kind, text) for kind, text in normal if text is not None]


def _as_json(profile: Profile) -> dict[str, Any]:
    return {
        "profile_id": profile.profile_id,
        "identifiers": [list(each) for each in profile.identifiers],
        "values": profile.values,
        "records": profile.records,
    }


def _table(profile: Profile) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("[bold]profile[/]", profile.profile_id)
    for each in profile.identifiers:
        table.add_row(f"[dim]{each.type}[/]", shown(each.value))
    for name, value in profile.values.items():
        table.add_row(name, shown(_shown(value)))
    records = ", ".join(f"{count} of {name}" for name, count in profile.records.items())
    table.add_row("[dim]records[/]", shown(records))
    return table


def _tree(
    rules: Profiles,
    profile: Profile,
    members: list[Placed],
    elsewhere: dict[Identifier, Profile | None],
    history: list[Audit],
) -> Tree:
    tree = Tree(f"[bold]{profile.profile_id}[/]")
    called = profile.identifiers[0] if profile.identifiers else None
    links = tree.add("[bold]identifiers[/], strongest first" if called else "no identifier: one record by itself")
    for each in profile.identifiers:
        of = [member.record for member in members if each in member.identifiers]
        named = ", and names the profile" if each == called else ""
        links.add(f"{_said(each)} [dim]links {len(of)} record{'' if len(of) == 1 else 's'}{named}[/]")
    whole = sum(profile.records.values())
    some = "" if len(members) == whole else f" {len(members)} of {whole}"
    records = tree.add(f"[bold]records[/]{some}")
    for member in members:
        branch = records.add(shown(member.record))
        for each in member.identifiers:
            branch.add(f"{_said(each)}{_off(each, elsewhere)}")
    values = tree.add("[bold]values[/]")
    for name, value in profile.values.items():
        values.add(f"{name}: {shown(_shown(value))} [dim]{_rule(rules.merging[name])}[/]")
    told = tree.add(f"[bold]history[/]{'' if history else ' none'}")
    for audit in history:
        told.add(_event(audit, profile.profile_id))
    return tree


def _unlinked(profile: Profile, members: list[Placed]) -> set[Identifier]:
    return {each for member in members for each in member.identifiers} - set(profile.identifiers)


def _off(each: Identifier, elsewhere: dict[Identifier, Profile | None]) -> str:
    """Why an identifier of a record doesn't link it here; nothing where it does."""
    if each not in elsewhere:
        return ""
    of = elsewhere[each]
    if of is None:
        return " [yellow]links nobody: too many have it[/]"
    return f" [yellow]is cut: it would break a limit together with {of.profile_id[:_SHORT]}, whose it is[/]"


def _event(audit: Audit, profile_id: str) -> str:
    others = ", ".join(name[:_SHORT] for name in (audit.profile_id, *audit.others) if name and name != profile_id)
    by = ", ".join(_said(each) for each in audit.identifiers)
    what = _SAID.get(audit.kind, audit.kind.value)
    if audit.kind in (Kind.MERGED, Kind.SPLIT, Kind.RENAMED) and audit.profile_id != profile_id:
        what = {Kind.MERGED: "became part of", Kind.SPLIT: "came from", Kind.RENAMED: "is called now"}[audit.kind]
    return f"{what} {others or 'itself'}{f' by {by}' if by else ''} [dim]{shown(audit.reason)}[/]"


def _said(each: Identifier) -> str:
    return f"[cyan]{each.type}[/] {shown(each.value)}"


def _rule(rule: Rule) -> str:
    return f"{rule.kind} {rule.most}" if rule.kind == "last" else rule.kind


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
