"""From a change of a row to the plan of its document: templates, chunks, moves of keys, and what is not known yet."""
