"""KPIs of conversations in PostgreSQL: a table each."""
