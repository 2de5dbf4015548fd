"""The systems Freshet reads from and writes to, one module a system."""
