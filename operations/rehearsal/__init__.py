"""`freshet bundle --rehearse`: a Flink cluster and a Python as the managed service has them, and the bundle on them."""
