"""Managed Service for Apache Flink: the zip that it takes, and the program in it."""
