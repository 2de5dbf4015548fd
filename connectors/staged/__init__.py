"""Documents staged to a log, with their vectors: what a topic of Kafka and a stream of Kinesis have in common."""
