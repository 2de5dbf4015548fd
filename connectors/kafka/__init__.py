"""Kafka: topics that are read, asked and written, and the topic of dead letters."""
