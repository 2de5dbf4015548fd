"""`freshet profile`: who is behind an identifier, what made them so; as trees and tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from rich.table import Table
from rich.tree import Tree

from connectors.opening import open_profiles
from core.config.pipeline import Pipeline
from core.config.profiles import Profiles
from core.errors import ConfigError, FreshetError
from core.identity.audit import Audit, Kind
from core.identity.identifiers import Identifier
from core.profiles.merging import Profile, Rule
from core.profiles.step import Placed
from core.stores.contract import ProfileStore
from operations.plain import shown

_SHORT = 12
"""Characters of an id that a table shows; `get` takes whole ones."""

_SAID = {
    Kind.MERGED: "merged with",
    Kind.SPLIT: "split off",
    Kind.RENAMED: "was called",
    Kind.CUT: "a link was cut, to",
    Kind.RESTORED: "a link was restored, to",
}


@contextmanager
def asked(pipeline: Pipeline, who: str) -> Iterator[tuple[Profiles, ProfileStore, Profile]]:
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


def as_json(profile: Profile) -> dict[str, Any]:
    """A profile as JSON."""
    return {
        "profile_id": profile.profile_id,
        "identifiers": [list(each) for each in profile.identifiers],
        "values": profile.values,
        "records": profile.records,
    }


def page(profile: Profile) -> Table:
    """A profile as people read it."""
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
    events = tree.add(f"[bold]history[/]{'' if history else ' none'}")
    for audit in history:
        events.add(_event(audit, profile.profile_id))
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
