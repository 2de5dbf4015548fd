"""The Flink jobs: wiring around the pure steps of `core`."""
