"""What commands do, without a terminal: a pipeline's folder and state, its source and its servers."""
