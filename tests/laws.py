"""How hard properties are tried."""

import os

from cli.testing import QUICK


def examples(full: int) -> int:
    """How many examples a law tries: `full`, and at most 50 in a quick run."""
    return min(full, 50) if QUICK in os.environ else full
