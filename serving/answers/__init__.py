"""From passages to answers: contexts that are made of what is found, and what is asked of an answering model."""
