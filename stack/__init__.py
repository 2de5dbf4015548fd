"""The local stack: real servers on this machine, started, found and stopped."""
