"""Objects in S3: read, listed, written."""
