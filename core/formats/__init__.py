"""Feeds' wire formats: each module turns one `Event` into the changes it carries."""
