"""Jobs that run: submitted, asked, stopped with a savepoint, and what their failures say."""
