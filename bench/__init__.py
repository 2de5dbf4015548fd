"""What `freshet bench` measures: one module a measurement, all on real servers and the real job."""
