"""What a job counts: every figure by name, and a tally that a worker keeps."""
