"""`freshet status`: what a job says of itself, as a page and as a line."""
