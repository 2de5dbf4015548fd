"""DynamoDB's stream records, from the stream itself or through Kinesis."""
