"""`freshet status`: what a job says of itself, and the pipelines that ran in this folder."""
