"""Records of one person merged into a profile, and what a store is told of it."""
