"""The pipeline file: what each part of it may say, and what is found wrong in it."""
