"""Made-up and recorded histories for demos, chaos, benchmarks and tests. Pure, and never shipped to a service."""
