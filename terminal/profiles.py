"""`freshet profile`: a profile as a table, what made it so as a tree, and who is like it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.tree import Tree

from core.config.profiles import Profiles
from core.identity.audit import Audit, Kind
from core.identity.identifiers import Identifier
from core.profiles.merging import Profile, Rule
from core.stores.contract import Hit
from operations.profiles import Explanation
from terminal.plain import shown

_SHORT = 12
"""Characters of an id that a table shows; `get` takes whole ones."""

_SAID = {
    Kind.MERGED: "merged with",
    Kind.SPLIT: "split off",
    Kind.RENAMED: "was called",
    Kind.CUT: "a link was cut, to",
    Kind.RESTORED: "a link was restored, to",
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


def tree(rules: Profiles, explanation: Explanation) -> Tree:
    """Why a profile is one, as people read it."""
    profile, members = explanation.profile, explanation.members
    why = Tree(f"[bold]{profile.profile_id}[/]")
    called = profile.identifiers[0] if profile.identifiers else None
    links = why.add("[bold]identifiers[/], strongest first" if called else "no identifier: one record by itself")
    for each in profile.identifiers:
        of = [member.record for member in members if each in member.identifiers]
        named = ", and names the profile" if each == called else ""
        links.add(f"{_said(each)} [dim]links {len(of)} record{'' if len(of) == 1 else 's'}{named}[/]")
    whole = sum(profile.records.values())
    some = "" if len(members) == whole else f" {len(members)} of {whole}"
    records = why.add(f"[bold]records[/]{some}")
    for member in members:
        branch = records.add(shown(member.record))
        for each in member.identifiers:
            branch.add(f"{_said(each)}{_off(each, explanation.elsewhere)}")
    values = why.add("[bold]values[/]")
    for name, value in profile.values.items():
        values.add(f"{name}: {shown(_shown(value))} [dim]{_rule(rules.merging[name])}[/]")
    events = why.add(f"[bold]history[/]{'' if explanation.history else ' none'}")
    for audit in explanation.history:
        events.add(_event(audit, profile.profile_id))
    return why


def alike(hits: Sequence[Hit]) -> Table | str:
    """Profiles that are like one, best first."""
    table = Table("score", "profile", "text", box=None, header_style="bold")
    for hit in hits:
        table.add_row(f"{hit.score:.3f}", shown(hit.document_id.partition("/")[2]), shown(" ".join(hit.text.split())))
    return table if hits else "there is no other profile"


def _off(each: Identifier, elsewhere: Mapping[Identifier, Profile | None]) -> str:
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
