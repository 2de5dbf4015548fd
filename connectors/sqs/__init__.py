"""Queues of SQS: received ahead, and deleted once a checkpoint has what came of a message."""
