"""Documents staged to a stream of Kinesis."""
