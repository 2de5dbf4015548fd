"""`freshet demo chat`: a help desk that answers from rows as they are now, with a small model of this machine's."""
