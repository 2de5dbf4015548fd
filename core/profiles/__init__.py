"""Records of one person merged into a profile, and what a store receives of it."""
