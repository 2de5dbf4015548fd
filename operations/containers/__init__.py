"""`freshet compose --rehearse`: a Compose file's services as processes."""
