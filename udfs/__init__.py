"""What a model says. Arrow batches in, Arrow batches out; usable from plain Flink SQL too."""
