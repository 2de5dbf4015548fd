"""What a store promises, whose it is, and whether it holds what the source says."""
