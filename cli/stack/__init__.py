"""The local stack: real servers as child processes, on 127.0.0.1 alone."""
