"""Whose a record is: identifiers, the rules that link them, and the identity graph that follows every change."""
