"""How a text's writer feels: rules, a head on vectors, and models elsewhere."""
