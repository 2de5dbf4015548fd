"""Flink itself: its JVM, its settings, Python in its workers, and where figures go."""
