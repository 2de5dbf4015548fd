"""Ways that few rows take: dead letters, changed keys, sweeps, watermarks."""

from __future__ import annotations

from pyflink.datastream import DataStream, OutputTag

ASIDE_MS = 50
"""How long a row may lie in a buffer there. Each task has a thread for each of its outputs that wakes as often."""


def aside(stream: DataStream, tag: OutputTag) -> DataStream:
    """A side output of the stream."""
    return stream.get_side_output(tag).set_buffer_timeout(ASIDE_MS)
