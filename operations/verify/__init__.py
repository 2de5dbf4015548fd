"""Is every store equal to the source? The passes behind `freshet verify`."""
