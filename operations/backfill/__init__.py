"""`freshet backfill`: whatever a source holds already, sent to where the pipeline reads its changes."""
