"""What docs/identity.md says of FEBRL 3 is so."""

from __future__ import annotations

import pytest
import yaml

from bench import febrl
from tests.pages import ROOT, blocks

PAGE = ROOT / "docs" / "identity.md"


@pytest.fixture(scope="module")
def found() -> febrl.Figures:
    return febrl.measure(mistaken=0.1, seed=1)


def test_records_of_one_person_are_found_and_no_others(found: febrl.Figures) -> None:
    assert found.same == 6538
    assert found.precision >= 0.999
    assert found.recall >= 0.97
    assert found.largest <= 6


def test_what_was_mistaken_at_first_leaves_nothing_behind(found: febrl.Figures) -> None:
    at_once = febrl.measure(mistaken=0, seed=2)
    assert (at_once.changes, found.changes) == (5000, 5500)
    assert (at_once.linked, at_once.right, at_once.profiles) == (found.linked, found.right, found.profiles)


def test_the_page_has_the_rules_and_the_figures(found: febrl.Figures) -> None:
    shown = [yaml.safe_load(block.text) for block in blocks(PAGE) if block.language == "yaml"]
    assert febrl.PROFILES in [each.get("profiles") for each in shown]
    page = PAGE.read_text(encoding="utf-8")
    for figure in (f"{found.precision:.4f}", f"{found.recall:.4f}", f"{found.profiles:,}", f"{found.right:,}"):
        assert figure in page
