"""`freshet produce`: changes from a recording, or made up, written to what a pipeline reads."""
