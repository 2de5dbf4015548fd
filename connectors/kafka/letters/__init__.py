"""Dead letters in Kafka: read from their topic, and whether that has room for them."""
