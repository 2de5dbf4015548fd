"""`python -m cli` is the command `freshet`."""

from cli.main import app

app()
