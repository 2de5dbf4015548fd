"""What there is a demo of; apart from the demo, so that the command line needn't load all of it."""

from enum import StrEnum


class DemoFeed(StrEnum):
    """What the demo reads."""

    DEBEZIUM = "debezium"
    S3 = "s3"
    DYNAMODB = "dynamodb"
    PROFILES = "profiles"
    CHAT = "chat"
    FEEDBACK = "feedback"
