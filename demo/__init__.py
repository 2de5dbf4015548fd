"""`freshet demo`: each claim shown on real servers and real texts."""
