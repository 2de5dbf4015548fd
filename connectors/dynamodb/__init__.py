"""DynamoDB: tables and streams that are read, and the store of profiles."""
