"""Made-up and recorded histories for demos, chaos, benchmarks and tests. None is shipped to a service."""
