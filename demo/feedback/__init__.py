"""`freshet demo feedback`: conversations become rows that follow what people think of answers."""
