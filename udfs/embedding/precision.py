"""Whether a model's vectors stay near enough when it is computed less exactly: tried on a few texts as it is opened."""

from __future__ import annotations

import numpy as np

from core.errors import ConfigError
from core.stores.contract import Vectors
from core.stores.verification import SAME_DIRECTION

PROBES = (
    "",
    "Freshet",
    "When can I come by?",
    "Wir liefern binnen drei Tagen, an Feiertagen etwas später.",
    "私たちは三日以内に配達します。",
    "SELECT count(*) FROM orders WHERE placed_at > now() - interval '7 days';",
    "The order was placed on the third of May, paid a day later, and left the warehouse within the hour. " * 4,
    "A refund takes five working days once the parcel is back; without its receipt it takes two weeks longer. " * 16,
)
"""Short and long, of several scripts: what a model is asked before it may round."""


def check_precision(model: str, precision: str, exact: Vectors, rounded: Vectors) -> None:
    """Raises ConfigError where a vector of the probes is too far from what float32 makes of them.

    exact, rounded  unit vectors of `PROBES`, of shape (probes, dimension)
    """
    # negated, so that NaN counts as another direction
    cosine = float(np.einsum("ij,ij->i", exact, rounded).min())
    if not cosine > SAME_DIRECTION:
        seen = f"a vector's cosine to float32's is {cosine:.4f}, below {SAME_DIRECTION}"
        raise ConfigError([f"embedding.precision: {model} doesn't stand {precision}, {seen}; set it to float32"])
