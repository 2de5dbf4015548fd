"""From passages to answers: what a model is given to answer from, and what becomes of its answers. Pure."""
