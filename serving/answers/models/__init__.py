"""Answering models, wherever they are: a file each, and `opening.py`, which opens what a server's file names."""
