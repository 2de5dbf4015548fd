"""KPIs of conversations that come with Freshet, in Flink SQL: a file each, to be read and copied."""
