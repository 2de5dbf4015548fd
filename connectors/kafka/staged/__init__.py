"""Documents staged to a compacted topic of Kafka."""
