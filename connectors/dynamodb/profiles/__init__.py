"""Profiles in DynamoDB: what an item says, its table, and the writes that follow deliveries."""
