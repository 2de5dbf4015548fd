"""`freshet chaos`: the store equals the source, whatever dies."""
