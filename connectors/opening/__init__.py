"""What a pipeline file names, opened: stores, sources, and the place of dead letters. Each kind has its entry here."""
