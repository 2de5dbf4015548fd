"""What a change means. Pure: no Flink, no network, no clock, no model."""
