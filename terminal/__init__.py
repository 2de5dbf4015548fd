"""What a person sees of the operations: pages, tables, trees, bars and colours, a file a subject."""
