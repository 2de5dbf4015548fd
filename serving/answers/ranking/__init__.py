"""What ranks passages anew by a question, wherever it is: a file each, and `opening.py`, which opens it."""
