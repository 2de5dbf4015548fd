"""`freshet backfill`: whatever a source holds already, told where the pipeline reads its changes."""
