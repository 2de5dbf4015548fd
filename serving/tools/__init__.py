"""Tools for agents, by the Model Context Protocol: the same lookups as over HTTP, for whoever's key it is."""
