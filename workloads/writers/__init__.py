"""Made-up changes written to AWS's services, for `freshet produce`, demos and benchmarks."""
