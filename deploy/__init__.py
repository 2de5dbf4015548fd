"""How Freshet's jobs get to where they run: imports what they are made of, and no command line."""
