"""Documents staged to a compacted topic of Kafka, with their vectors."""
